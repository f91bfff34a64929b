// The geometry of resampling by a matrix that mixes axes, in fixed point: coordinates are exact to 2^-32 voxel, so the
// same voxels are found whatever the order of additions and the rounding of the device. The parameters `dd` to `w0` are
// three rows [a_d, a_h, a_w, offset], each with an integer part and a fraction in units of 2^-32.

struct Fixed {
    whole: i32,
    part: u32,
}

// The voxel below a coordinate, its weight and the weight of the next voxel.
struct Mixture {
    voxel: i32,
    weight: f32,
    next: f32,
}

fn plus(a: Fixed, b: Fixed) -> Fixed {
    let part = a.part + b.part;
    return Fixed(a.whole + b.whole + i32(part < a.part), part);
}

fn times(a: Fixed, n: u32) -> Fixed {
    let low = (a.part & 0xffffu) * (n & 0xffffu);
    let one = (a.part & 0xffffu) * (n >> 16u);
    let other = (a.part >> 16u) * (n & 0xffffu);
    let middle = (low >> 16u) + (one & 0xffffu) + (other & 0xffffu);
    let carried = (a.part >> 16u) * (n >> 16u) + (one >> 16u) + (other >> 16u) + (middle >> 16u);
    return Fixed(a.whole * i32(n) + i32(carried), (low & 0xffffu) | (middle << 16u));
}

fn fixed(number: vec2<u32>) -> Fixed {
    return Fixed(i32(number.x), number.y);
}

fn row(a: vec2<u32>, b: vec2<u32>, c: vec2<u32>, offset: vec2<u32>, o: vec3<u32>) -> Fixed {
    let along = plus(times(fixed(a), o.x), times(fixed(b), o.y));
    return plus(along, plus(times(fixed(c), o.z), fixed(offset)));
}

// The source coordinates of an output voxel.
fn source_d(o: vec3<u32>) -> Fixed {
    return row(p.dd, p.dh, p.dw, p.d0, o);
}

fn source_h(o: vec3<u32>) -> Fixed {
    return row(p.hd, p.hh, p.hw, p.h0, o);
}

fn source_w(o: vec3<u32>) -> Fixed {
    return row(p.wd, p.wh, p.ww, p.w0, o);
}

fn mixture(coordinate: Fixed, extent: u32) -> Mixture {
    var s = coordinate;
    if CLAMPED == 1u {
        if s.whole < 0 {
            s = Fixed(0, 0u);
        }
        if s.whole >= i32(extent) - 1 {
            s = Fixed(i32(extent) - 1, 0u);
        }
    }
    if LINEAR == 0u {
        return Mixture(plus(s, Fixed(0, 0x80000000u)).whole, 1.0, 0.0);
    }
    let part = f32(s.part) / 4294967296.0;
    return Mixture(s.whole, 1.0 - part, part);
}

// The weight of a voxel in an interpolation.
fn share(m: Mixture, voxel: i32) -> f32 {
    return select(select(0.0, m.next, m.voxel + 1 == voxel), m.weight, m.voxel == voxel);
}
