// log(1 + x). In [-1/2, 1] by 2 atanh(x / (2 + x)) as a series, which does not cancel and does not depend on the
// order in which a compiler adds; outside, log itself is accurate.
fn log1p_(x: f32) -> f32 {
    if x < -0.5 || x > 1.0 {
        return log(1.0 + x);
    }
    let s = x / (2.0 + x);
    let q = s * s;
    let tail = 1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0 + q * (1.0 / 15.0 + q * (1.0 / 17.0))));
    return 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * tail))));
}

// x^y for x >= 0, with 0^0 = 1 and 0^y infinite for y < 0; WGSL leaves both open.
fn pow_(x: f32, y: f32) -> f32 {
    if y == 0.0 {
        return 1.0;
    }
    if x == 0.0 {
        return select(x, 1.0 / x, y < 0.0);
    }
    return pow(x, y);
}
