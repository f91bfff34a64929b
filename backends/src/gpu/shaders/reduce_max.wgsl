// NaN counts as the largest value. It is recognised by its bits, because a compiler may assume that there are no NaNs.
fn combine(a: f32, b: f32) -> f32 {
    let nan = (bitcast<u32>(b) & 0x7fffffffu) > 0x7f800000u;
    return select(a, b, b > a || nan);
}
