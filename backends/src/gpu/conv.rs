//! The convolution family as matrix products that never write out their factors.
//!
//! One tiled product serves all three. `conv` and `conv_transpose` are the same gather: the transposed convolution of
//! stride `s` is cut into its `s` phases per axis, each of which reads a fixed subset of the taps, so that no product
//! with a missing tap is formed. `conv_weight` cuts its long sum into parts that are added in a fixed order. Planes of
//! 3 x 3 with many channels go another way, see `winograd`.
//!
//! Accuracy: each output is a sum of f32 products in the order of memory (of the parts, for `conv_weight`); its error
//! is at most `terms * 2^-24` times the sum of the absolute products.

use segcal_core::{Geometry, Shape};

use super::buffer::Buffer;
use super::call::Call;
use super::context::Context;
use super::kernel::{Kernel, words};
use super::reduce;
use super::winograd::Plan;

pub(super) static CONV: Kernel = Kernel {
    name: "conv",
    files: &[include_str!("shaders/conv.wgsl"), include_str!("shaders/conv_tile.wgsl")],
    constants: &["ROWS", "COLUMNS", "DEPTH"],
    reads: &["x", "a"],
    writes: &["y"],
};

pub(super) static CONV_WEIGHT: Kernel = Kernel {
    name: "conv_weight",
    files: &[include_str!("shaders/conv_weight.wgsl"), include_str!("shaders/conv_tile.wgsl")],
    constants: &["ROWS", "COLUMNS", "DEPTH"],
    reads: &["x", "a"],
    writes: &["y"],
};

/// Rows, columns and depth of a tile. Each is 256 threads of 4 x 4 results and at most 10.6 KiB of shared memory, which
/// every WebGPU device has; the thin ones are for few channels.
pub(super) const TILES: [[usize; 3]; 4] = [[64, 64, 16], [32, 128, 16], [16, 256, 8], [8, 512, 4]];

/// Terms that a part of a weight gradient sums, at least.
const PART: usize = 1024;
/// Numbers of all partial weight gradients together, at most.
const PARTIAL: usize = 1 << 24;
/// A part that no sum is longer than: all terms in one.
const WHOLE: usize = (1 << 31) - 1;

/// The size of a matrix product.
struct Product {
    groups: usize,
    rows: usize,
    columns: usize,
    /// Terms of each sum.
    depth: usize,
    /// Terms that one workgroup sums.
    part: usize,
}

impl Product {
    /// The tile that leaves the fewest of its places unused.
    fn tile(&self) -> [usize; 3] {
        let padded = |&[rows, columns, _]: &[usize; 3]| {
            self.rows.next_multiple_of(rows) * self.columns.next_multiple_of(columns)
        };
        TILES.into_iter().min_by_key(padded).expect("there are tiles")
    }

    /// Records it: `arrays` are the columns' factor, the rows' factor and the result, `rest` what `Params` holds
    /// behind the sizes.
    fn dispatch(
        &self,
        context: &Context,
        op: &'static str,
        kernel: &'static Kernel,
        arrays: [&Buffer; 3],
        rest: &[i64],
    ) {
        let [rows, columns, depth] = self.tile();
        let (row_tiles, column_tiles) = (self.rows.div_ceil(rows), self.columns.div_ceil(columns));
        let parts = self.depth.div_ceil(self.part).max(1);
        let tiles = row_tiles * column_tiles * self.groups * parts;
        let head = [tiles, row_tiles, column_tiles, self.groups, self.rows, self.columns, self.depth, self.part];
        let mut params = words(head);
        params.extend(rest.iter().map(|&number| number as u32));
        let [x, a, y] = arrays;
        context.dispatch(&Call {
            op,
            code: kernel.code(words([rows, columns, depth])),
            reads: &[x, a],
            writes: &[y],
            params: &params,
            groups: tiles,
            operations: 2 * (self.groups * self.rows * self.columns * self.depth) as u64,
        });
    }
}

/// `y[n, o, p] = sum over c, t of x[n, g c_g + c, p stride - pad + t dilation] w[o, c, t]`.
pub(super) fn conv(
    context: &Context,
    (x, x_shape): (&Buffer, Shape),
    (w, w_shape): (&Buffer, Shape),
    geometry: &Geometry,
    out: Shape,
) -> Buffer {
    if let Some(plan) = Plan::forward(geometry, x_shape, w_shape, out).filter(Plan::pays) {
        return plan.run(context, "conv", x, w);
    }
    let y = context.buffer("conv", out.len());
    let taps = w_shape.voxels();
    let axes = std::array::from_fn(|axis| Axis {
        places: out.spatial()[axis],
        taps: w_shape.spatial()[axis],
        base: -(geometry.pad[axis] as i64),
        step: geometry.stride[axis] as i64,
        tap: geometry.dilation[axis] as i64,
        first: 0,
        by: 1,
        tap_start: 0,
        tap_by: 1,
    });
    let rows = w_shape.n() / geometry.groups;
    let weights = Weights { group: rows * w_shape.c() * taps, row: w_shape.c() * taps, channel: taps };
    let sizes = Sizes { groups: geometry.groups, rows, depth: w_shape.c(), x_shape, w_shape, out };
    gather(context, "conv", [x, w, &y], &sizes, &axes, &weights);
    y
}

/// The adjoint of [`conv`] in its input.
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

/// Along one axis: the places of the result that one dispatch makes, and what each tap of it reads.
#[derive(Clone, Copy)]
struct Axis {
    /// Place `j` of `places` lies at `first + j by` in the result.
    places: usize,
    first: usize,
    by: usize,
    /// Tap `i` of `taps` is tap `tap_start + i tap_by` of the weight.
    taps: usize,
    tap_start: usize,
    tap_by: usize,
    /// Tap `i` of place `j` reads the source at `base + j step + i tap`.
    base: i64,
    step: i64,
    tap: i64,
}

/// The phases of a transposed convolution along one axis: place `p = r + j stride` is reached by the taps `t` with
/// `t dilation = r + pad` modulo the stride, every `stride / gcd`-th one, from the output place
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

/// Distances in the weight between groups, result channels and summed channels.
struct Weights {
    group: usize,
    row: usize,
    channel: usize,
}

/// Channels and shapes of a convolution in either direction.
struct Sizes {
    groups: usize,
    /// Result channels of a group.
    rows: usize,
    /// Summed channels of a group.
    depth: usize,
    x_shape: Shape,
    w_shape: Shape,
    out: Shape,
}

/// The places that `axes` name, in all samples and channels of the result.
fn gather(context: &Context, op: &'static str, arrays: [&Buffer; 3], sizes: &Sizes, axes: &[Axis; 3], w: &Weights) {
    let product = Product {
        groups: sizes.groups,
        rows: sizes.rows,
        columns: sizes.out.n() * axes.iter().map(|axis| axis.places).product::<usize>(),
        depth: sizes.depth * axes.iter().map(|axis| axis.taps).product::<usize>(),
        part: WHOLE,
    };
    let steps = &sizes.w_shape.strides()[2..];
    let start: usize = axes.iter().zip(steps).map(|(axis, step)| axis.tap_start * step).sum();
    let mut rest = Vec::new();
    rest.extend(axes.map(|axis| axis.places as i64));
    rest.extend(axes.map(|axis| axis.taps as i64));
    rest.extend([sizes.x_shape.c() as i64, sizes.depth as i64]);
    rest.extend(sizes.x_shape.spatial().map(|extent| extent as i64));
    rest.extend(axes.map(|axis| axis.base));
    rest.extend(axes.map(|axis| axis.step));
    rest.extend(axes.map(|axis| axis.tap));
    rest.extend([w.group, w.row, w.channel, start].map(|number| number as i64));
    rest.extend(axes.iter().zip(steps).map(|(axis, step)| (axis.tap_by * step) as i64));
    rest.push(sizes.out.c() as i64);
    rest.extend(sizes.out.spatial().map(|extent| extent as i64));
    rest.extend(axes.map(|axis| axis.first as i64));
    rest.extend(axes.map(|axis| axis.by as i64));
    product.dispatch(context, op, &CONV, arrays, &rest);
}

/// The adjoint of [`conv`] in its weight.
pub(super) fn conv_weight(
    context: &Context,
    (x, x_shape): (&Buffer, Shape),
    (y, y_shape): (&Buffer, Shape),
    geometry: &Geometry,
    w_shape: Shape,
) -> Buffer {
    let depth = y_shape.n() * y_shape.voxels();
    let most_parts = (PARTIAL / w_shape.len().max(1)).clamp(1, 1024);
    let part = depth.div_ceil(most_parts).max(PART);
    let parts = depth.div_ceil(part).max(1);
    let product = Product {
        groups: geometry.groups,
        rows: w_shape.n() / geometry.groups,
        columns: w_shape.c() * w_shape.voxels(),
        depth,
        part,
    };
    let mut rest = Vec::new();
    rest.extend(y_shape.spatial().map(|extent| extent as i64));
    rest.extend(w_shape.spatial().map(|extent| extent as i64));
    rest.extend([x_shape.c() as i64, w_shape.c() as i64]);
    rest.extend(x_shape.spatial().map(|extent| extent as i64));
    rest.extend(geometry.pad.map(|pad| -(pad as i64)));
    rest.extend(geometry.stride.map(|stride| stride as i64));
    rest.extend(geometry.dilation.map(|dilation| dilation as i64));
    rest.extend([y_shape.c() as i64, y_shape.voxels() as i64]);
    let partial = context.buffer("conv_weight", parts * w_shape.len());
    product.dispatch(context, "conv_weight", &CONV_WEIGHT, [x, y, &partial], &rest);
    reduce::sum_blocks(context, partial, w_shape.len(), parts)
}
