// y[o] = x[start + o].
fn element(i: u32) {
    y_set(i, x_at(whole(i)));
}
