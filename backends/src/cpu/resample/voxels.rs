//! Sampling by any matrix, block by block of the result.

use segcal_core::{Interpolation, Sampling, Shape};

use super::super::isa::wide;
use super::super::{Array, Cpu};
use super::table::neighbours;

/// Number of voxels of a row that are located together.
const BLOCK: usize = 64;

/// The two voxels along one axis that each voxel of a block is interpolated from; weight 0 for those that do not
/// contribute.
struct Mixed {
    voxels: [[u32; BLOCK]; 2],
    weights: [[f32; BLOCK]; 2],
}

impl Mixed {
    const NONE: Self = Self { voxels: [[0; BLOCK]; 2], weights: [[0.0; BLOCK]; 2] };
}

wide! {
    /// Locates [`BLOCK`] voxels, starting at `[d, h, w]`, along one axis.
    fn locate(sampling: &Sampling, axis: usize, extent: usize, from: [usize; 3], mixed: &mut Mixed) {
        let [d, h, w] = from;
        let [a_d, a_h, a_w, offset] = sampling.matrix[axis];
        let row = a_d * d as f64 + a_h * h as f64;
        for i in 0..BLOCK {
            // The same order as in the reference, so that both round to the same nearest voxel.
            let source = row + a_w * (w + i) as f64 + offset;
            let both = neighbours(sampling, source, extent);
            for side in 0..2 {
                mixed.voxels[side][i] = both[side].0 as u32;
                mixed.weights[side][i] = both[side].1 as f32;
            }
        }
    }
}

/// Calls `visit` for each of the (at most eight) corners, with the offsets in a channel and the weights.
#[inline(always)]
fn for_each_corner(
    [along_d, along_h, along_w]: &[Mixed; 3],
    [_, h, w]: [usize; 3],
    sides: usize,
    mut visit: impl FnMut(usize, usize, f32),
) {
    for corner in 0..sides * sides * sides {
        let (side_d, side_h, side_w) = (corner / (sides * sides), corner / sides % sides, corner % sides);
        let voxels = [&along_d.voxels[side_d], &along_h.voxels[side_h], &along_w.voxels[side_w]];
        let weights = [&along_d.weights[side_d], &along_h.weights[side_h], &along_w.weights[side_w]];
        for i in 0..BLOCK {
            let place = (voxels[0][i] as usize * h + voxels[1][i] as usize) * w + voxels[2][i] as usize;
            visit(i, place, weights[0][i] * weights[1][i] * weights[2][i]);
        }
    }
}

/// How many voxels along an axis can contribute.
fn sides(interpolation: Interpolation) -> usize {
    match interpolation {
        Interpolation::Nearest => 1,
        Interpolation::Linear => 2,
    }
}

wide! {
    /// Interpolates a block of voxels of one channel.
    fn mix_block(volume: &[f32], extents: [usize; 3], axes: &[Mixed; 3], sides: usize, sum: &mut [f32; BLOCK]) {
        assert!(!volume.is_empty());
        let last = volume.len() - 1;
        for_each_corner(axes, extents, sides, |i, place, weight| {
            // SAFETY: the index is at most the last one.
            let value = unsafe { *volume.get_unchecked(place.min(last)) };
            sum[i] += if weight == 0.0 { 0.0 } else { weight * value };
        });
    }
}

/// Calls `visit` for each block of a plane of `y`, with its offset, its length and the voxels it is interpolated from.
fn for_each_block(
    sampling: &Sampling,
    extents: [usize; 3],
    [y_h, y_w]: [usize; 2],
    rows: std::ops::Range<usize>,
    mut visit: impl FnMut(usize, usize, &[Mixed; 3]),
) {
    let mut axes = [Mixed::NONE; 3];
    for row in rows {
        for w in (0..y_w).step_by(BLOCK) {
            for (axis, mixed) in axes.iter_mut().enumerate() {
                locate(sampling, axis, extents[axis], [row / y_h, row % y_h, w], mixed);
            }
            visit(row * y_w + w, BLOCK.min(y_w - w), &axes);
        }
    }
}

/// Resamples by any matrix, block by block of the result.
pub(super) fn by_voxel(cpu: &Cpu, (x, x_shape): Array<'_>, sampling: &Sampling, y: &mut [f32], out: Shape) {
    let [y_d, y_h, y_w] = out.spatial();
    let (extents, sides) = (x_shape.spatial(), sides(sampling.interpolation));
    cpu.chunks(y, y_w, |row, y| {
        let (plane, row) = (row / (y_h * y_d), row % (y_h * y_d));
        let volume = &x[plane * x_shape.voxels()..][..x_shape.voxels()];
        for_each_block(sampling, extents, [y_h, y_w], row..row + 1, |start, len, axes| {
            let mut sum = [0.0; BLOCK];
            mix_block(volume, extents, axes, sides, &mut sum);
            y[start % y_w..][..len].copy_from_slice(&sum[..len]);
        });
    });
}

/// The adjoint for any matrix: each channel separately, in the order of the blocks of `y`.
pub(super) fn scatter(cpu: &Cpu, (y, y_shape): Array<'_>, sampling: &Sampling, x: &mut [f32], x_shape: Shape) {
    let [y_d, y_h, y_w] = y_shape.spatial();
    let (extents, sides) = (x_shape.spatial(), sides(sampling.interpolation));
    cpu.chunks(x, x_shape.voxels(), |plane, x| {
        let values = &y[plane * y_shape.voxels()..][..y_shape.voxels()];
        x.fill(0.0);
        for_each_block(sampling, extents, [y_h, y_w], 0..y_d * y_h, |start, len, axes| {
            let mut block = [0.0; BLOCK];
            block[..len].copy_from_slice(&values[start..start + len]);
            for_each_corner(axes, extents, sides, |i, place, weight| {
                if weight != 0.0 && i < len {
                    x[place] += weight * block[i];
                }
            });
        });
    });
}
