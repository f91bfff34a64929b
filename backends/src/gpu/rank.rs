//! `rank_filter`.

use segcal_core::{Rank, Shape};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::{ELEMENTWISE, Kernel, words};

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

/// The value of the given rank in each window that fits.
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
    let axes = [x_shape.spatial(), out.spatial(), size];
    let params = words(axes.into_iter().flatten().chain([number]));
    context.elementwise("rank_filter", kernel.code([]), &[x], out.len(), &params)
}
