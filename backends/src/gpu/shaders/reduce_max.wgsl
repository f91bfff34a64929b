// A NaN counts as the largest. It is told by its bits: a compiler may assume that there is none.
fn combine(a: f32, b: f32) -> f32 {
    let nan = (bitcast<u32>(b) & 0x7fffffffu) > 0x7f800000u;
    return select(a, b, b > a || nan);
}
