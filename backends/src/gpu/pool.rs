//! `max_pool` and its adjoint, which is a gather, so that overlapping windows need no atomic additions.

use segcal_core::{Shape, Window};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::Kernel;
use super::params::Params;
use super::text::ELEMENTWISE;

const PARAMS: &str = include_str!("shaders/pool.wgsl");

pub(super) static MAX_POOL: Kernel = Kernel {
    name: "max_pool",
    files: &[PARAMS, include_str!("shaders/max_pool.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["x"],
    writes: &["y", "index"],
};

pub(super) static MAX_UNPOOL: Kernel = Kernel {
    name: "max_unpool",
    files: &[PARAMS, include_str!("shaders/max_unpool.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["y", "index"],
    writes: &["x"],
};

/// The maximum of each window, and its index within the window.
pub(super) fn max_pool(
    context: &Context,
    (x, x_shape): (&Buffer, Shape),
    window: &Window,
    out: Shape,
) -> (Buffer, Buffer) {
    let (y, index) = (context.buffer("max_pool", out.len()), context.buffer("max_pool", out.len()));
    let params = params(x_shape, window, out);
    context.elementwise_into("max_pool", MAX_POOL.code([]), &[x], &[&y, &index], out.len(), params);
    (y, index)
}

/// Starts from zeros and adds each value at the position given by its index.
pub(super) fn max_unpool(
    context: &Context,
    (y, out): (&Buffer, Shape),
    index: &Buffer,
    window: &Window,
    x_shape: Shape,
) -> Buffer {
    context.elementwise("max_unpool", MAX_UNPOOL.code([]), &[y, index], x_shape.len(), params(x_shape, window, out))
}

/// The parameters of both: input, output, windows.
pub(super) fn params(x: Shape, window: &Window, out: Shape) -> Params {
    Params::default()
        .and_axes(["d", "h", "w"], x.spatial())
        .and_axes(["out_d", "out_h", "out_w"], out.spatial())
        .and_axes(["size_d", "size_h", "size_w"], window.size)
        .and_axes(["step_d", "step_h", "step_w"], window.stride)
}
