//! `max_pool` and its adjoint, which gathers, so that overlapping windows need no atomic additions.

use segcal_core::{Shape, Window};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::{Code, Kernel};

const ELEMENTWISE: &str = include_str!("shaders/elementwise.wgsl");

pub(super) static MAX_POOL: Kernel = Kernel {
    name: "max_pool",
    files: &[include_str!("shaders/max_pool.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["x"],
    writes: &["y", "index"],
};

pub(super) static MAX_UNPOOL: Kernel = Kernel {
    name: "max_unpool",
    files: &[include_str!("shaders/max_unpool.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["y", "index"],
    writes: &["x"],
};

/// Maximum of each window, and its place in the window.
pub(super) fn max_pool(
    context: &Context,
    (x, x_shape): (&Buffer, Shape),
    window: &Window,
    out: Shape,
) -> (Buffer, Buffer) {
    let (y, index) = (context.buffer("max_pool", out.len()), context.buffer("max_pool", out.len()));
    let params = params(out.len(), x_shape, window, out);
    context.elementwise("max_pool", Code::File(&MAX_POOL, Vec::new()), &[x], &[&y, &index], &params, out.len());
    (y, index)
}

/// Zero, plus each value at the place its index names.
pub(super) fn max_unpool(
    context: &Context,
    (y, out): (&Buffer, Shape),
    index: &Buffer,
    window: &Window,
    x_shape: Shape,
) -> Buffer {
    let x = context.buffer("max_unpool", x_shape.len());
    let params = params(x_shape.len(), x_shape, window, out);
    context.elementwise("max_unpool", Code::File(&MAX_UNPOOL, Vec::new()), &[y, index], &[&x], &params, x_shape.len());
    x
}

fn params(count: usize, x: Shape, window: &Window, out: Shape) -> Vec<u32> {
    let axes = [x.spatial(), out.spatial(), window.size, window.stride];
    std::iter::once(count).chain(axes.into_iter().flatten()).map(|number| number as u32).collect()
}
