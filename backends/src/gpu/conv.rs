//! The convolutions as matrix products that never materialise their factors.
//!
//! One tiled product serves all three. `conv` and `conv_transpose` are the same gather: a transposed convolution of
//! stride `s` is split into `s` phases per axis, each of which reads a fixed subset of the taps, so no products with
//! missing taps are computed. `conv_weight` splits its long sum into parts that are added in a fixed order.
//! Convolutions of 3 x 3 planes with many channels use another algorithm, see `winograd`.
//!
//! Accuracy: each output is a sum of f32 products in memory order (in the order of the parts for `conv_weight`); its
//! error is at most `terms * 2^-24` times the sum of the absolute products.

use segcal_core::{Geometry, Shape};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::Kernel;
use super::params::Params;
use super::product::{self, Axis, Product, Sizes, Weights, gather};
use super::reduce;
use super::winograd::Plan;

pub(super) static CONV_WEIGHT: Kernel = Kernel {
    name: "conv_weight",
    files: &[include_str!("shaders/conv_weight.wgsl"), include_str!("shaders/conv_tile.wgsl")],
    constants: &["ROWS", "COLUMNS", "DEPTH"],
    reads: &["x", "a"],
    writes: &["y"],
};

/// Minimum number of terms that a part of a weight gradient sums.
const PART: usize = 1024;
/// Maximum number of values in all partial weight gradients together.
const PARTIAL: usize = 1 << 24;
/// `y[n, o, p] = sum over c, t of x[n, g c_g + c, p stride - pad + t dilation] w[o, c, t]`.
pub(super) fn conv(
    context: &Context,
    (x, x_shape): (&Buffer, Shape),
    (w, w_shape): (&Buffer, Shape),
    geometry: &Geometry,
    out: Shape,
) -> Buffer {
    match Plan::forward(geometry, x_shape, w_shape, out).filter(Plan::pays) {
        Some(plan) => plan.run(context, "conv", x, w),
        None => product::direct(context, "conv", (x, x_shape), (w, w_shape), geometry, out),
    }
}

/// The adjoint of [`conv`] with respect to its input.
pub(super) fn conv_transpose(
    context: &Context,
    (y, y_shape): (&Buffer, Shape),
    (w, w_shape): (&Buffer, Shape),
    geometry: &Geometry,
    x_shape: Shape,
) -> Buffer {
    if let Some(plan) = Plan::transpose(geometry, y_shape, w_shape, x_shape).filter(Plan::pays) {
        return plan.run(context, "conv_transpose", y, w);
    }
    let x = context.buffer("conv_transpose", x_shape.len());
    let taps = w_shape.voxels();
    let outputs = w_shape.n() / geometry.groups;
    let weights = Weights { group: outputs * w_shape.c() * taps, row: taps, channel: w_shape.c() * taps };
    let sizes =
        Sizes { groups: geometry.groups, rows: w_shape.c(), depth: outputs, x_shape: y_shape, w_shape, out: x_shape };
    let [phases_d, phases_h, phases_w] =
        [0, 1, 2].map(|axis| phases(geometry, axis, w_shape.spatial()[axis], x_shape.spatial()[axis]));
    for &d in &phases_d {
        for &h in &phases_h {
            for &w_axis in &phases_w {
                gather(context, "conv_transpose", [y, w, &x], &sizes, &[d, h, w_axis], &weights);
            }
        }
    }
    x
}

/// The phases of a transposed convolution along one axis: position `p = r + j stride` is reached by the taps `t` with
/// `t dilation = r + pad` modulo the stride, every `stride / gcd`-th one, from the output position
/// `(p + pad - t dilation) / stride`.
fn phases(geometry: &Geometry, axis: usize, taps: usize, extent: usize) -> Vec<Axis> {
    let (stride, pad, dilation) = (geometry.stride[axis], geometry.pad[axis], geometry.dilation[axis]);
    let by = stride / gcd(stride, dilation);
    let phase = |r: usize| {
        let tap_start = (0..by.min(taps)).find(|t| t * dilation % stride == (r + pad) % stride);
        let first_tap = tap_start.unwrap_or(0);
        let reached = (r + pad) as i64 - (first_tap * dilation) as i64;
        Axis {
            places: (extent - r).div_ceil(stride),
            first: r,
            by: stride,
            taps: tap_start.map_or(0, |start| (taps - start).div_ceil(by)),
            tap_start: first_tap,
            tap_by: by,
            base: reached.div_euclid(stride as i64),
            step: 1,
            tap: -((by * dilation / stride) as i64),
        }
    };
    (0..stride.min(extent)).map(phase).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The adjoint of [`conv`] with respect to its weight.
pub(super) fn conv_weight(
    context: &Context,
    (x, x_shape): (&Buffer, Shape),
    (y, y_shape): (&Buffer, Shape),
    geometry: &Geometry,
    w_shape: Shape,
) -> Buffer {
    let (product, params) = weight_product(x_shape, y_shape, geometry, w_shape);
    let parts = product.depth.div_ceil(product.part).max(1);
    let partial = context.buffer("conv_weight", parts * w_shape.len());
    product.dispatch(context, "conv_weight", &CONV_WEIGHT, [x, y, &partial], params);
    reduce::sum_blocks(context, partial, w_shape.len(), parts)
}

/// The matrix product of a weight gradient, in parts, and the parameters of `conv_weight.wgsl`.
pub(super) fn weight_product(x_shape: Shape, y_shape: Shape, geometry: &Geometry, w_shape: Shape) -> (Product, Params) {
    let depth = y_shape.n() * y_shape.voxels();
    let most_parts = (PARTIAL / w_shape.len().max(1)).clamp(1, 1024);
    let part = depth.div_ceil(most_parts).max(PART);
    let product = Product {
        groups: geometry.groups,
        rows: w_shape.n() / geometry.groups,
        columns: w_shape.c() * w_shape.voxels(),
        depth,
        part,
    };
    let params = Params::default()
        .and_axes(["places_d", "places_h", "places_w"], y_shape.spatial())
        .and_axes(["taps_d", "taps_h", "taps_w"], w_shape.spatial())
        .and_sizes([("x_channels", x_shape.c()), ("x_group", w_shape.c())])
        .and_axes(["x_d", "x_h", "x_w"], x_shape.spatial())
        .and_steps(["base_d", "base_h", "base_w"], geometry.pad.map(|pad| -(pad as i64)))
        .and_steps(["step_d", "step_h", "step_w"], geometry.stride.map(|stride| stride as i64))
        .and_steps(["tap_d", "tap_h", "tap_w"], geometry.dilation.map(|dilation| dilation as i64))
        .and_sizes([("a_channels", y_shape.c()), ("a_row", y_shape.voxels())]);
    (product, params)
}
