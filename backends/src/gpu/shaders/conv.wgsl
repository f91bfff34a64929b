// conv and conv_transpose. Rows are the channels of the result, columns its positions in all samples, depth the
// channels and taps that are summed; `a` is the weight. Positions and taps are arithmetic sequences: along each axis
// the result has positions first + j by, and tap i of position j reads x at base + j step + i tap.

// [sample, d, h, w] of a column.
fn place(column: u32) -> vec4<u32> {
    let plane = p.places_h * p.places_w;
    return vec4<u32>(
        column / (plane * p.places_d),
        column / plane % p.places_d,
        column / p.places_w % p.places_h,
        column % p.places_w,
    );
}

fn x_column(group: u32, column: u32) -> vec4<i32> {
    let at = place(column);
    let channel = at.x * p.x_channels + group * p.x_group;
    return vec4<i32>(
        p.base_d + i32(at.y) * p.step_d,
        p.base_h + i32(at.z) * p.step_h,
        p.base_w + i32(at.w) * p.step_w,
        i32(channel * p.x_d * p.x_h * p.x_w),
    );
}

// [channel, tap along d, h, w] of a term.
fn split(k: u32) -> vec4<u32> {
    let plane = p.taps_h * p.taps_w;
    let taps = plane * p.taps_d;
    return vec4<u32>(k / taps, k / plane % p.taps_d, k / p.taps_w % p.taps_h, k % p.taps_w);
}

fn x_term(group: u32, k: u32) -> vec4<i32> {
    let at = split(k);
    let offset = at.x * p.x_d * p.x_h * p.x_w;
    return vec4<i32>(i32(at.y) * p.tap_d, i32(at.z) * p.tap_h, i32(at.w) * p.tap_w, i32(offset));
}

fn a_term(group: u32, k: u32) -> u32 {
    let at = split(k);
    return at.x * p.a_channel + p.a_start + at.y * p.a_d + at.z * p.a_h + at.w * p.a_w;
}

fn a_group(group: u32) -> u32 {
    return group * p.a_group;
}

fn store(group: u32, part: u32, row: u32, column: u32, value: f32) {
    let at = place(column);
    let channel = at.x * p.y_channels + group * p.rows + row;
    let d = p.first_d + at.y * p.by_d;
    let h = p.first_h + at.z * p.by_h;
    let w = p.first_w + at.w * p.by_w;
    y_set(((channel * p.y_d + d) * p.y_h + h) * p.y_w + w, value);
}
