//! `rank_filter`.

use segcal_core::{Rank, Shape};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::Kernel;
use super::params::Params;
use super::text::ELEMENTWISE;

const WINDOW: &str = include_str!("shaders/rank_window.wgsl");

pub(super) static RANK_FILTER: Kernel = Kernel {
    name: "rank_filter",
    files: &[WINDOW, include_str!("shaders/rank_filter.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["x"],
    writes: &["y"],
};

pub(super) static MODE_FILTER: Kernel = Kernel {
    name: "mode_filter",
    files: &[WINDOW, include_str!("shaders/mode_filter.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["x"],
    writes: &["y"],
};

/// The value of the given rank in each window that fits inside `x`.
pub(super) fn rank_filter(
    context: &Context,
    (x, x_shape): (&Buffer, Shape),
    size: [usize; 3],
    rank: Rank,
    out: Shape,
) -> Buffer {
    let (kernel, number) = match rank {
        Rank::Nth(number) => (&RANK_FILTER, number),
        Rank::Mode => (&MODE_FILTER, 0),
    };
    context.elementwise("rank_filter", kernel.code([]), &[x], out.len(), params(x_shape, size, number, out))
}

/// The parameters of both filters.
pub(super) fn params(x: Shape, size: [usize; 3], rank: usize, out: Shape) -> Params {
    Params::default()
        .and_axes(["d", "h", "w"], x.spatial())
        .and_axes(["out_d", "out_h", "out_w"], out.spatial())
        .and_axes(["size_d", "size_h", "size_w"], size)
        .and_sizes([("rank", rank)])
}
