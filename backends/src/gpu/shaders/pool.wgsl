// Windows of `size` at every `step` places of d x h x w; there are out_d x out_h x out_w of them.
struct Params {
    count: u32,
    d: u32, h: u32, w: u32,
    out_d: u32, out_h: u32, out_w: u32,
    size_d: u32, size_h: u32, size_w: u32,
    step_d: u32, step_h: u32, step_w: u32,
}
