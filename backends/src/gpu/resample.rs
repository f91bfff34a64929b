//! `resample` and its adjoint, both as gathers in a fixed order.
//!
//! If no axis depends on another, the weights are three small sparse matrices. They are computed on the host in f64,
//! exactly as in the reference, and cached on the device; the adjoint uses their transposes. A matrix that mixes axes
//! is evaluated on the device in fixed point.

use segcal_core::{Border, Interpolation, Sampling, Shape};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::Kernel;
use super::params::Params;
use super::text::ELEMENTWISE;

const AFFINE: &str = include_str!("shaders/affine.wgsl");

pub(super) static SEPARABLE: Kernel = Kernel {
    name: "resample",
    files: &[include_str!("shaders/resample.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["x", "table"],
    writes: &["y"],
};

pub(super) static AFFINE_FORWARD: Kernel = Kernel {
    name: "affine",
    files: &[AFFINE, include_str!("shaders/affine_forward.wgsl"), ELEMENTWISE],
    constants: &["LINEAR", "CLAMPED"],
    reads: &["x"],
    writes: &["y"],
};

pub(super) static AFFINE_ADJOINT: Kernel = Kernel {
    name: "affine_adjoint",
    files: &[AFFINE, include_str!("shaders/affine_adjoint.wgsl"), ELEMENTWISE],
    constants: &["LINEAR", "CLAMPED"],
    reads: &["y"],
    writes: &["x"],
};

/// `y[n, c, o] = x[n, c, .]` at the source coordinate of `o`.
pub(super) fn resample(context: &Context, (x, x_shape): (&Buffer, Shape), sampling: &Sampling, out: Shape) -> Buffer {
    if sampling.separable().is_some() {
        return separable(context, "resample", x, sampling, [x_shape, out], false);
    }
    let params = affine(sampling, x_shape, out);
    context.elementwise("resample", AFFINE_FORWARD.code(flags(sampling)), &[x], out.len(), params)
}

/// The adjoint of [`resample`].
pub(super) fn resample_adjoint(
    context: &Context,
    (y, out): (&Buffer, Shape),
    sampling: &Sampling,
    x_shape: Shape,
) -> Buffer {
    if sampling.separable().is_some() {
        return separable(context, "resample_adjoint", y, sampling, [x_shape, out], true);
    }
    let params = affine(sampling, x_shape, out);
    context.elementwise("resample_adjoint", AFFINE_ADJOINT.code(flags(sampling)), &[y], x_shape.len(), params)
}

/// Resamples along each axis independently; with `adjoint`, from `y` to `x`.
fn separable(
    context: &Context,
    op: &'static str,
    from: &Buffer,
    sampling: &Sampling,
    [x_shape, y_shape]: [Shape; 2],
    adjoint: bool,
) -> Buffer {
    let (x, y) = (x_shape.spatial(), y_shape.spatial());
    let (rows, columns) = if adjoint { (x, y) } else { (y, x) };
    // Room for the row offsets and for two entries per output position along each axis.
    let sizes: [usize; 3] = std::array::from_fn(|axis| rows[axis] + 1 + 4 * y[axis]);
    let starts = [0, sizes[0], sizes[0] + sizes[1]];
    let table = context.table(key(sampling, x, y, adjoint), || {
        let mut table = Vec::new();
        for axis in 0..3 {
            table.extend(matrix(sampling, axis, x[axis], y[axis], adjoint));
            table.resize(starts[axis] + sizes[axis], 0.0);
        }
        table
    });
    let len = if adjoint { x_shape.len() } else { y_shape.len() };
    context.elementwise(op, SEPARABLE.code([]), &[from, &table], len, table_params(rows, columns, starts))
}

/// The parameters of the shader that multiplies by tables: rows and columns of the matrices, and the offset of each
/// matrix.
pub(super) fn table_params(rows: [usize; 3], columns: [usize; 3], starts: [usize; 3]) -> Params {
    Params::default()
        .and_axes(["out_d", "out_h", "out_w"], rows)
        .and_axes(["d", "h", "w"], columns)
        .and_axes(["table_d", "table_h", "table_w"], starts)
}

/// Whether to interpolate linearly, and whether to repeat the edges.
fn flags(sampling: &Sampling) -> [u32; 2] {
    [u32::from(sampling.interpolation == Interpolation::Linear), u32::from(sampling.border == Border::Clamp)]
}

/// Everything that the table depends on, as words.
fn key(sampling: &Sampling, x: [usize; 3], y: [usize; 3], adjoint: bool) -> Vec<u32> {
    let kind = [u32::from(adjoint)].into_iter().chain(flags(sampling));
    let numbers = sampling.matrix.iter().flatten().map(|number| number.to_bits());
    let halves = numbers.flat_map(|bits| [bits as u32, (bits >> 32) as u32]);
    let extents = x.into_iter().chain(y).map(|extent| extent as u32);
    kind.chain(extents).chain(halves).collect()
}

/// The sparse matrix of one axis by rows: the offset of each row, then the entries.
fn matrix(sampling: &Sampling, axis: usize, x_extent: usize, y_extent: usize, adjoint: bool) -> Vec<f32> {
    let mut rows = vec![Vec::new(); if adjoint { x_extent } else { y_extent }];
    for o in 0..y_extent {
        let coordinate = sampling.matrix[axis][axis] * o as f64 + sampling.matrix[axis][3];
        for (voxel, weight) in neighbours(sampling, coordinate, x_extent) {
            let (row, column) = if adjoint { (voxel, o) } else { (o, voxel) };
            rows[row].push((column, weight));
        }
    }
    let mut starts = vec![(rows.len() + 1) as f32];
    let mut entries = Vec::new();
    for row in &rows {
        entries.extend(row.iter().flat_map(|&(column, weight)| [column as f32, weight as f32]));
        starts.push((rows.len() + 1 + entries.len()) as f32);
    }
    starts.extend(entries);
    starts
}

/// The voxels along one axis that a source coordinate is interpolated from, with their weights. Voxels of weight 0 and
/// voxels outside the grid are left out.
fn neighbours(sampling: &Sampling, coordinate: f64, extent: usize) -> impl Iterator<Item = (usize, f64)> {
    let s = match sampling.border {
        Border::Clamp => coordinate.clamp(0.0, extent as f64 - 1.0),
        Border::Zero => coordinate,
    };
    let candidates = match sampling.interpolation {
        Interpolation::Nearest => [((s + 0.5).floor(), 1.0), (0.0, 0.0)],
        Interpolation::Linear => [(s.floor(), 1.0 - (s - s.floor())), (s.floor() + 1.0, s - s.floor())],
    };
    let kept = move |&(voxel, weight): &(f64, f64)| weight != 0.0 && (0.0..extent as f64).contains(&voxel);
    candidates.into_iter().filter(kept).map(|(voxel, weight)| (voxel as usize, weight))
}

/// The parameters of the shaders for matrices that mix axes.
pub(super) fn affine(sampling: &Sampling, x: Shape, y: Shape) -> Params {
    let reach = |row: &[f64; 4]| -> f64 {
        row[3].abs() + (0..3).map(|axis| row[axis].abs() * y.spatial()[axis] as f64).sum::<f64>()
    };
    let limit = f64::from(1 << 30);
    assert!(sampling.matrix.iter().all(|row| reach(row) < limit), "resample: the matrix reaches beyond 2^30 voxels");
    let sizes =
        Params::default().and_axes(["out_d", "out_h", "out_w"], y.spatial()).and_axes(["d", "h", "w"], x.spatial());
    let names = ["dd", "dh", "dw", "d0", "hd", "hh", "hw", "h0", "wd", "wh", "ww", "w0"];
    let numbers = names.into_iter().zip(sampling.matrix.as_flattened());
    numbers.fold(sizes, |params, (name, &number)| params.and_fixed(name, number))
}
