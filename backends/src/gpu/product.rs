//! Matrix products that never materialise their factors, as used by the convolutions.
//!
//! Rows are the channels of the result, columns its positions, and depth the summed terms. One tiled shader serves
//! `conv`, `conv_transpose` and `conv_weight`; the shader code in front of it locates columns and terms in memory.

use segcal_core::{Geometry, Shape};

use super::buffer::Buffer;
use super::call::Call;
use super::context::Context;
use super::kernel::Kernel;
use super::params::Params;

pub(super) static CONV: Kernel = Kernel {
    name: "conv",
    files: &[include_str!("shaders/conv.wgsl"), include_str!("shaders/conv_tile.wgsl")],
    constants: &["ROWS", "COLUMNS", "DEPTH"],
    reads: &["x", "a"],
    writes: &["y"],
};

/// Rows, columns and depth of a tile. Each tile takes 256 threads of 4 x 4 results and at most 10.6 KiB of shared
/// memory, which every WebGPU device has; the tiles with few rows are for few channels.
pub(super) const TILES: [[usize; 3]; 4] = [[64, 64, 16], [32, 128, 16], [16, 256, 8], [8, 512, 4]];

/// A part that is longer than any sum: all terms are in one part.
const WHOLE: usize = (1 << 31) - 1;

/// The size of a matrix product.
pub(super) struct Product {
    pub(super) groups: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Terms of each sum.
    pub(super) depth: usize,
    /// Number of terms that one workgroup sums.
    pub(super) part: usize,
}

impl Product {
    /// The tile that leaves the fewest of its elements unused.
    fn tile(&self) -> [usize; 3] {
        let padded = |&[rows, columns, _]: &[usize; 3]| {
            self.rows.next_multiple_of(rows) * self.columns.next_multiple_of(columns)
        };
        TILES.into_iter().min_by_key(padded).expect("there are tiles")
    }

    /// Records the product: `arrays` are the factor of the columns, the factor of the rows and the result.
    pub(super) fn dispatch(
        &self,
        context: &Context,
        op: &'static str,
        kernel: &'static Kernel,
        arrays: [&Buffer; 3],
        rest: Params,
    ) {
        let tile = self.tile();
        let tiles = self.counts(tile)[0];
        let [x, a, y] = arrays;
        context.dispatch(&Call {
            op,
            code: kernel.code(tile.map(|extent| extent as u32)),
            reads: &[x, a],
            writes: &[y],
            params: &self.params(rest),
            groups: tiles,
            operations: 2 * (self.groups * self.rows * self.columns * self.depth) as u64,
        });
    }

    /// Number of tiles in total, along the rows and along the columns.
    fn counts(&self, [rows, columns, _]: [usize; 3]) -> [usize; 3] {
        let (row_tiles, column_tiles) = (self.rows.div_ceil(rows), self.columns.div_ceil(columns));
        let parts = self.depth.div_ceil(self.part).max(1);
        [row_tiles * column_tiles * self.groups * parts, row_tiles, column_tiles]
    }

    /// The parameters of the shader: the sizes of the product, followed by `rest`.
    pub(super) fn params(&self, rest: Params) -> Params {
        let [tiles, row_tiles, column_tiles] = self.counts(self.tile());
        Params::sizes([("tiles", tiles), ("row_tiles", row_tiles), ("column_tiles", column_tiles)])
            .and_sizes([("groups", self.groups), ("rows", self.rows), ("columns", self.columns)])
            .and_sizes([("depth", self.depth), ("part", self.part)])
            .and(rest)
    }
}

/// `y[n, o, p] = sum over c, t of x[n, g c_g + c, p stride - pad + t dilation] w[o, c, t]`.
pub(super) fn direct(
    context: &Context,
    op: &'static str,
    (x, x_shape): (&Buffer, Shape),
    (w, w_shape): (&Buffer, Shape),
    geometry: &Geometry,
    out: Shape,
) -> Buffer {
    let y = context.buffer(op, out.len());
    let (sizes, axes, weights) = forward(x_shape, w_shape, geometry, out);
    gather(context, op, [x, w, &y], &sizes, &axes, &weights);
    y
}

/// The sizes of a convolution, and how it traverses its arrays.
pub(super) fn forward(x_shape: Shape, w_shape: Shape, geometry: &Geometry, out: Shape) -> (Sizes, [Axis; 3], Weights) {
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
    (sizes, axes, weights)
}

/// Along one axis: the positions of the result that one dispatch computes, and what each tap reads.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    /// Position `j` of `places` is at `first + j by` in the result.
    pub(super) places: usize,
    pub(super) first: usize,
    pub(super) by: usize,
    /// Tap `i` of `taps` is tap `tap_start + i tap_by` of the weight.
    pub(super) taps: usize,
    pub(super) tap_start: usize,
    pub(super) tap_by: usize,
    /// Tap `i` of position `j` reads the source at `base + j step + i tap`.
    pub(super) base: i64,
    pub(super) step: i64,
    pub(super) tap: i64,
}

/// Distances in the weight between groups, result channels and summed channels.
pub(super) struct Weights {
    pub(super) group: usize,
    pub(super) row: usize,
    pub(super) channel: usize,
}

/// Channels and shapes of a convolution in either direction.
pub(super) struct Sizes {
    pub(super) groups: usize,
    /// Result channels of a group.
    pub(super) rows: usize,
    /// Summed channels of a group.
    pub(super) depth: usize,
    pub(super) x_shape: Shape,
    pub(super) w_shape: Shape,
    pub(super) out: Shape,
}

/// Computes the positions selected by `axes`, in all samples and channels of the result.
pub(super) fn gather(
    context: &Context,
    op: &'static str,
    arrays: [&Buffer; 3],
    sizes: &Sizes,
    axes: &[Axis; 3],
    weights: &Weights,
) {
    sizes.product(axes).dispatch(context, op, &CONV, arrays, gather_params(sizes, axes, weights));
}

impl Sizes {
    /// The product for the positions and taps selected by `axes`.
    pub(super) fn product(&self, axes: &[Axis; 3]) -> Product {
        Product {
            groups: self.groups,
            rows: self.rows,
            columns: self.out.n() * axes.iter().map(|axis| axis.places).product::<usize>(),
            depth: self.depth * axes.iter().map(|axis| axis.taps).product::<usize>(),
            part: WHOLE,
        }
    }
}

/// The parameters of `conv.wgsl` that follow those of the product.
pub(super) fn gather_params(sizes: &Sizes, axes: &[Axis; 3], weights: &Weights) -> Params {
    let &[_, _, d, h, w] = &sizes.w_shape.strides();
    let start: usize = axes.iter().zip([d, h, w]).map(|(axis, step)| axis.tap_start * step).sum();
    let a_steps: [usize; 3] = std::array::from_fn(|axis| axes[axis].tap_by * [d, h, w][axis]);
    Params::default()
        .and_axes(["places_d", "places_h", "places_w"], axes.map(|axis| axis.places))
        .and_axes(["taps_d", "taps_h", "taps_w"], axes.map(|axis| axis.taps))
        .and_sizes([("x_channels", sizes.x_shape.c()), ("x_group", sizes.depth)])
        .and_axes(["x_d", "x_h", "x_w"], sizes.x_shape.spatial())
        .and_steps(["base_d", "base_h", "base_w"], axes.map(|axis| axis.base))
        .and_steps(["step_d", "step_h", "step_w"], axes.map(|axis| axis.step))
        .and_steps(["tap_d", "tap_h", "tap_w"], axes.map(|axis| axis.tap))
        .and_sizes([("a_group", weights.group), ("a_row", weights.row)])
        .and_sizes([("a_channel", weights.channel), ("a_start", start)])
        .and_axes(["a_d", "a_h", "a_w"], a_steps)
        .and_sizes([("y_channels", sizes.out.c())])
        .and_axes(["y_d", "y_h", "y_w"], sizes.out.spatial())
        .and_axes(["first_d", "first_h", "first_w"], axes.map(|axis| axis.first))
        .and_axes(["by_d", "by_h", "by_w"], axes.map(|axis| axis.by))
}
