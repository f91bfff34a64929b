// conv_weight. Rows are the output channels, columns the input channels and taps, depth the positions of the output in
// all samples, split into parts that different workgroups sum; `a` is the gradient of the output.

fn x_column(group: u32, column: u32) -> vec4<i32> {
    let plane = p.taps_h * p.taps_w;
    let channel = column / (plane * p.taps_d);
    return vec4<i32>(
        i32(column / plane % p.taps_d) * p.tap_d,
        i32(column / p.taps_w % p.taps_h) * p.tap_h,
        i32(column % p.taps_w) * p.tap_w,
        i32(channel * p.x_d * p.x_h * p.x_w),
    );
}

fn x_term(group: u32, k: u32) -> vec4<i32> {
    let plane = p.places_h * p.places_w;
    let channel = k / (plane * p.places_d) * p.x_channels + group * p.x_group;
    return vec4<i32>(
        p.base_d + i32(k / plane % p.places_d) * p.step_d,
        p.base_h + i32(k / p.places_w % p.places_h) * p.step_h,
        p.base_w + i32(k % p.places_w) * p.step_w,
        i32(channel * p.x_d * p.x_h * p.x_w),
    );
}

fn a_term(group: u32, k: u32) -> u32 {
    return k / p.a_row * p.a_channels * p.a_row + k % p.a_row;
}

fn a_group(group: u32) -> u32 {
    return group * p.rows * p.a_row;
}

fn store(group: u32, part: u32, row: u32, column: u32, value: f32) {
    y_set(((part * p.groups + group) * p.rows + row) * p.columns + column, value);
}
