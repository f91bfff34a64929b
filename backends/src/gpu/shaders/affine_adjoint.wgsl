// x[v] = the sum over all o of y[o] times the weight of v in the interpolation at o. For each row of the output grid,
// the positions along w that can reach v are bounded first; the weights then decide.
struct Range {
    low: f32,
    high: f32,
}

fn float(a: Fixed) -> f32 {
    return f32(a.whole) + f32(a.part) / 4294967296.0;
}

// The part of `range` where start + slope o is within reach of the voxel, with a margin for rounding.
fn narrow(range: Range, start: Fixed, slope: Fixed, voxel: u32, extent: u32) -> Range {
    let a = float(slope);
    if abs(a) < 1e-6 {
        return range;
    }
    // Repeated edges are reached from any distance.
    let below = select(f32(voxel) - 1.0, -1e9, CLAMPED == 1u && voxel == 0u);
    let above = select(f32(voxel) + 1.0, 1e9, CLAMPED == 1u && voxel + 1u == extent);
    let c = float(start);
    let margin = 1.0 + 1e-5 * (abs(c) + f32(extent)) / abs(a);
    let one = (below - c) / a;
    let other = (above - c) / a;
    return Range(max(range.low, min(one, other) - margin), min(range.high, max(one, other) + margin));
}

fn element(i: u32) {
    let v = vec3<u32>(i / (p.w * p.h) % p.d, i / p.w % p.h, i % p.w);
    let plane = i / (p.w * p.h * p.d);
    var sum = 0.0;
    for (var od = 0u; od < p.out_d; od++) {
        for (var oh = 0u; oh < p.out_h; oh++) {
            let first = vec3<u32>(od, oh, 0u);
            var range = Range(0.0, f32(p.out_w) - 1.0);
            range = narrow(range, source_d(first), fixed(p.dw), v.x, p.d);
            range = narrow(range, source_h(first), fixed(p.hw), v.y, p.h);
            range = narrow(range, source_w(first), fixed(p.ww), v.z, p.w);
            for (var ow = u32(max(range.low, 0.0)); range.low <= range.high && ow <= u32(range.high); ow++) {
                let o = vec3<u32>(od, oh, ow);
                let weight = share(mixture(source_d(o), p.d), i32(v.x))
                    * share(mixture(source_h(o), p.h), i32(v.y))
                    * share(mixture(source_w(o), p.w), i32(v.z));
                if weight != 0.0 {
                    sum += weight * y_at(((plane * p.out_d + od) * p.out_h + oh) * p.out_w + ow);
                }
            }
        }
    }
    x_set(i, sum);
}
