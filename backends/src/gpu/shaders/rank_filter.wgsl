// The k-th smallest of each window, found bit by bit: the largest key such that at most k keys are smaller.

fn from_key(k: u32) -> f32 {
    return bitcast<f32>(k ^ select(0xffffffffu, 0x80000000u, k >= 0x80000000u));
}

fn smaller(corner: u32, than: u32) -> u32 {
    var found = 0u;
    for (var kd = 0u; kd < p.size_d; kd++) {
        for (var kh = 0u; kh < p.size_h; kh++) {
            for (var kw = 0u; kw < p.size_w; kw++) {
                found += u32(key(x_at(corner + (kd * p.h + kh) * p.w + kw)) < than);
            }
        }
    }
    return found;
}

fn element(i: u32) {
    let corner = corner_of(i);
    var found = 0u;
    for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
        if smaller(corner, found | bit) <= p.rank {
            found |= bit;
        }
    }
    y_set(i, from_key(found));
}
