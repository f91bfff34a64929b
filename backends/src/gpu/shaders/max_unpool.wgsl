// Each element of x gathers from the windows that cover it and whose index refers to it, in memory order.

// The first window along an axis that reaches `place`.
fn first(place: u32, size: u32, step: u32) -> u32 {
    return select(0u, (place - size) / step + 1u, place >= size);
}

fn element(i: u32) {
    let w = i % p.w;
    let h = i / p.w % p.h;
    let d = i / (p.w * p.h) % p.d;
    let plane = i / (p.w * p.h * p.d);
    var sum = 0.0;
    for (var od = first(d, p.size_d, p.step_d); od < min(d / p.step_d + 1u, p.out_d); od++) {
        for (var oh = first(h, p.size_h, p.step_h); oh < min(h / p.step_h + 1u, p.out_h); oh++) {
            for (var ow = first(w, p.size_w, p.step_w); ow < min(w / p.step_w + 1u, p.out_w); ow++) {
                let own = ((d - od * p.step_d) * p.size_h + h - oh * p.step_h) * p.size_w + w - ow * p.step_w;
                let window = ((plane * p.out_d + od) * p.out_h + oh) * p.out_w + ow;
                if index_at(window) == f32(own) {
                    sum += y_at(window);
                }
            }
        }
    }
    x_set(i, sum);
}
