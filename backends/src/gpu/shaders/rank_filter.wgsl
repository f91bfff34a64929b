// The k-th smallest of each window, found bit by bit: the largest key that at most k keys are smaller than.
struct Params {
    count: u32,
    d: u32, h: u32, w: u32,
    out_d: u32, out_h: u32, out_w: u32,
    size_d: u32, size_h: u32, size_w: u32,
    rank: u32,
}

// Bits whose unsigned order is the total order of floats: -NaN, -inf, ..., -0, 0, ..., inf, NaN.
fn key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return bits ^ select(0x80000000u, 0xffffffffu, bits >= 0x80000000u);
}

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
    let w = i % p.out_w;
    let h = i / p.out_w % p.out_h;
    let d = i / (p.out_w * p.out_h) % p.out_d;
    let plane = i / (p.out_w * p.out_h * p.out_d);
    let corner = ((plane * p.d + d) * p.h + h) * p.w + w;
    var found = 0u;
    for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
        if smaller(corner, found | bit) <= p.rank {
            found |= bit;
        }
    }
    y_set(i, from_key(found));
}
