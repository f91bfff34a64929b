//! `distance`: the squared distance is a minimum of sums over the axes, so each axis is minimised in turn.

use segcal_core::{Shape, axis};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::Kernel;
use super::params::Params;
use super::text::ELEMENTWISE;

pub(super) static DISTANCE: Kernel = Kernel {
    name: "distance",
    files: &[include_str!("shaders/distance.wgsl"), ELEMENTWISE],
    constants: &["FIRST", "LAST"],
    reads: &["x"],
    writes: &["y"],
};

/// Distance from each voxel to the nearest marked voxel of its volume.
pub(super) fn distance(context: &Context, (mask, shape): (&Buffer, Shape), spacing: [f64; 3]) -> Buffer {
    let mut current = mask.clone();
    for (number, along) in [axis::W, axis::H, axis::D].into_iter().enumerate() {
        let params = params(shape, along, spacing[along - axis::D]);
        let code = DISTANCE.code([u32::from(number == 0), u32::from(number == 2)]);
        current = context.elementwise("distance", code, &[&current], shape.len(), params);
    }
    current
}

/// The parameters of a pass along one axis.
pub(super) fn params(shape: Shape, along: usize, spacing: f64) -> Params {
    let sizes = [("extent", shape.dims()[along]), ("step", shape.strides()[along])];
    Params::sizes(sizes).and_number("spacing", spacing)
}
