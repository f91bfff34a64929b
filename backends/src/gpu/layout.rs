//! `slice` and `place`: cutting boxes out and putting them together.

use segcal_core::{Index, Shape};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::Kernel;
use super::params::Params;
use super::text::ELEMENTWISE;

const WALK: &str = include_str!("shaders/walk.wgsl");

pub(super) static SLICE: Kernel = Kernel {
    name: "slice",
    files: &[WALK, include_str!("shaders/slice.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["x"],
    writes: &["y"],
};

pub(super) static PLACE: Kernel = Kernel {
    name: "place",
    files: &[WALK, include_str!("shaders/place.wgsl"), ELEMENTWISE],
    constants: &["ADD"],
    reads: &["x"],
    writes: &["y"],
};

/// `y[o] = x[start + o]`.
pub(super) fn slice(context: &Context, (x, x_shape): (&Buffer, Shape), start: Index, out: Shape) -> Buffer {
    context.elementwise("slice", SLICE.code([]), &[x], out.len(), walk(out, x_shape, start))
}

/// Starts from zeros and adds every part at its start, in the order of the list.
pub(super) fn place(context: &Context, parts: &[((&Buffer, Shape), Index)], out: Shape) -> Buffer {
    let y = context.buffer("place", out.len());
    let boxes: Vec<(Shape, Index)> = parts.iter().map(|&((_, shape), start)| (shape, start)).collect();
    let disjoint = are_disjoint(&boxes);
    let covered: usize = boxes.iter().map(|(shape, _)| shape.len()).sum();
    if !(disjoint && covered == out.len()) {
        context.clear(&y);
    }
    for &((part, shape), start) in parts {
        let code = PLACE.code([u32::from(!disjoint)]);
        context.elementwise_into("place", code, &[part], &[&y], shape.len(), walk(shape, out, start));
    }
    y
}

/// The parameters of an iteration over `inner`, a box that begins at `start` in `outer`.
pub(super) fn walk(inner: Shape, outer: Shape, start: Index) -> Params {
    let ([_, c, d, h, w], steps) = (inner.dims(), outer.strides());
    let names = ["step_n", "step_c", "step_d", "step_h", "step_w"];
    let steps: [_; 5] = std::array::from_fn(|axis| (names[axis], steps[axis]));
    let inner = Params::sizes([("c", c), ("d", d), ("h", h), ("w", w)]);
    inner.and_sizes(steps).and_sizes([("start", outer.offset(start))])
}

/// Whether no two boxes overlap.
fn are_disjoint(boxes: &[(Shape, Index)]) -> bool {
    let overlap = |(a, a_start): &(Shape, Index), (b, b_start): &(Shape, Index)| {
        (0..5).all(|axis| {
            a_start[axis] < b_start[axis] + b.dims()[axis] && b_start[axis] < a_start[axis] + a.dims()[axis]
        })
    };
    boxes.iter().enumerate().all(|(number, one)| !boxes[..number].iter().any(|other| overlap(one, other)))
}
