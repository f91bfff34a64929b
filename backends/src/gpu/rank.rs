//! `rank_filter`.

use segcal_core::{Rank, Shape};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::{Code, Kernel};

const ELEMENTWISE: &str = include_str!("shaders/elementwise.wgsl");

pub(super) static RANK_FILTER: Kernel = Kernel {
    name: "rank_filter",
    files: &[include_str!("shaders/rank_filter.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["x"],
    writes: &["y"],
};

pub(super) static MODE_FILTER: Kernel = Kernel {
    name: "mode_filter",
    files: &[include_str!("shaders/mode_filter.wgsl"), ELEMENTWISE],
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
    let y = context.buffer("rank_filter", out.len());
    let axes = [x_shape.spatial(), out.spatial(), size];
    let numbers = std::iter::once(out.len()).chain(axes.into_iter().flatten()).chain([number]);
    let params: Vec<u32> = numbers.map(|number| number as u32).collect();
    context.elementwise("rank_filter", Code::File(kernel, Vec::new()), &[x], &[&y], &params, out.len());
    y
}
