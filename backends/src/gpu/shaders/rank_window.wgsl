// The windows of a filter with stride 1.

// Bits whose unsigned order is the total order of floats: -NaN, -inf, ..., -0, 0, ..., inf, NaN.
fn key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return bits ^ select(0x80000000u, 0xffffffffu, bits >= 0x80000000u);
}

// Offset of the first value of the i-th window.
fn corner_of(i: u32) -> u32 {
    let w = i % p.out_w;
    let h = i / p.out_w % p.out_h;
    let d = i / (p.out_w * p.out_h) % p.out_d;
    let plane = i / (p.out_w * p.out_h * p.out_d);
    return ((plane * p.d + d) * p.h + h) * p.w + w;
}
