//! `distance`: the squared distance is a minimum of sums over the axes, so that each axis is minimised in turn.

use segcal_core::{Shape, axis};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::{Code, Kernel};

pub(super) static DISTANCE: Kernel = Kernel {
    name: "distance",
    files: &[include_str!("shaders/distance.wgsl"), include_str!("shaders/elementwise.wgsl")],
    constants: &["FIRST", "LAST"],
    reads: &["x"],
    writes: &["y"],
};

/// Distance from each voxel to the nearest marked voxel of its volume.
pub(super) fn distance(context: &Context, (mask, shape): (&Buffer, Shape), spacing: [f64; 3]) -> Buffer {
    let mut current = mask.clone();
    for (number, along) in [axis::W, axis::H, axis::D].into_iter().enumerate() {
        let next = context.buffer("distance", shape.len());
        let numbers = [shape.len(), shape.dims()[along], shape.strides()[along]];
        let mut params = numbers.map(|number| number as u32).to_vec();
        params.push((spacing[along - axis::D] as f32).to_bits());
        let code = Code::File(&DISTANCE, vec![u32::from(number == 0), u32::from(number == 2)]);
        context.elementwise("distance", code, &[&current], &[&next], &params, shape.len());
        current = next;
    }
    current
}
