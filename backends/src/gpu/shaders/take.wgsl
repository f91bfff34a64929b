// y[i] = table[index[i]]; 0 if the index is not that of an entry.

fn element(i: u32) {
    let number = index_at(i);
    let inside = number >= 0.0 && number < f32(p.entries) && floor(number) == number;
    var value = 0.0;
    if inside {
        value = table_at(u32(number));
    }
    y_set(i, value);
}
