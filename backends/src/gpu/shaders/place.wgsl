// y[start + i] = x[i], or += where parts overlap.
fn element(i: u32) {
    let place = whole(i);
    if ADD == 1u {
        y_set(place, y_at(place) + x_at(i));
    } else {
        y_set(place, x_at(i));
    }
}
