// The maximum of each window and its index within the window, the first if several are equal; NaN counts as the largest
// value.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn element(i: u32) {
    let w = i % p.out_w * p.step_w;
    let h = i / p.out_w % p.out_h * p.step_h;
    let d = i / (p.out_w * p.out_h) % p.out_d * p.step_d;
    let plane = i / (p.out_w * p.out_h * p.out_d);
    let corner = ((plane * p.d + d) * p.h + h) * p.w + w;
    var best = x_at(corner);
    var best_place = 0u;
    var place = 0u;
    for (var kd = 0u; kd < p.size_d; kd++) {
        for (var kh = 0u; kh < p.size_h; kh++) {
            for (var kw = 0u; kw < p.size_w; kw++) {
                let value = x_at(corner + (kd * p.h + kh) * p.w + kw);
                if value > best || (is_nan(value) && !is_nan(best)) {
                    best = value;
                    best_place = place;
                }
                place++;
            }
        }
    }
    y_set(i, best);
    index_set(i, f32(best_place));
}
