// The most frequent value of each window; on a tie, the smallest in the total order.

// Offset of the j-th value of a window relative to its corner.
fn inside(j: u32) -> u32 {
    let kw = j % p.size_w;
    let kh = j / p.size_w % p.size_h;
    let kd = j / (p.size_w * p.size_h);
    return (kd * p.h + kh) * p.w + kw;
}

fn element(i: u32) {
    let corner = corner_of(i);
    let size = p.size_d * p.size_h * p.size_w;
    var best = x_at(corner);
    var most = 0u;
    for (var j = 0u; j < size; j++) {
        let value = x_at(corner + inside(j));
        var equal = 0u;
        for (var other = 0u; other < size; other++) {
            equal += u32(x_at(corner + inside(other)) == value);
        }
        // A NaN equals nothing, not even itself, but it occurs once.
        equal = max(equal, 1u);
        if equal > most || (equal == most && key(value) < key(best)) {
            best = value;
            most = equal;
        }
    }
    y_set(i, best);
}
