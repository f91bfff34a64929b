// The most frequent value of each window; of several, the smallest in the total order.
struct Params {
    count: u32,
    d: u32, h: u32, w: u32,
    out_d: u32, out_h: u32, out_w: u32,
    size_d: u32, size_h: u32, size_w: u32,
    rank: u32,
}

fn key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return bits ^ select(0x80000000u, 0xffffffffu, bits >= 0x80000000u);
}

// Place of the j-th value of a window relative to its corner.
fn inside(j: u32) -> u32 {
    let kw = j % p.size_w;
    let kh = j / p.size_w % p.size_h;
    let kd = j / (p.size_w * p.size_h);
    return (kd * p.h + kh) * p.w + kw;
}

fn element(i: u32) {
    let w = i % p.out_w;
    let h = i / p.out_w % p.out_h;
    let d = i / (p.out_w * p.out_h) % p.out_d;
    let plane = i / (p.out_w * p.out_h * p.out_d);
    let corner = ((plane * p.d + d) * p.h + h) * p.w + w;
    let size = p.size_d * p.size_h * p.size_w;
    var best = x_at(corner);
    var most = 0u;
    for (var j = 0u; j < size; j++) {
        let value = x_at(corner + inside(j));
        var equal = 0u;
        for (var other = 0u; other < size; other++) {
            equal += u32(x_at(corner + inside(other)) == value);
        }
        // A NaN equals nothing, not even itself, but it is there once.
        equal = max(equal, 1u);
        if equal > most || (equal == most && key(value) < key(best)) {
            best = value;
            most = equal;
        }
    }
    y_set(i, best);
}
