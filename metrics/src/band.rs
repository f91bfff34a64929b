//! The band of voxels around the boundaries of a label map.

use rayon::prelude::*;
use segcal_core::{Backend, Elem, Result};

use crate::boxes::Box3;
use crate::distance::{Points, SLACK, distance_field, index};
use crate::volume::{Grid, Label};

/// Voxels within `band` of a boundary of a label map: of the reference for [`crate::calibration::Region::Boundary`], of
/// the prediction for [`crate::calibration::Region::Near`].
///
/// A boundary voxel has a face neighbour with another label. This covers both sides of each boundary between two
/// labels, including the background; the border of the grid and the border to voxels with the label `ignored` are not
/// boundaries. The band contains every voxel whose centre is at most `band`, in the unit of the voxel size, from the
/// centre of a boundary voxel; a band of 0 contains only the boundary voxels. Distances are as in [`crate::surface`]; a
/// distance that equals `band` up to rounding is within.
///
/// # Errors
/// A voxel size is not positive, or the backend's device failed.
///
/// # Panics
/// The number of labels is not the number of voxels of the grid.
pub fn boundary_band<B: Backend>(
    backend: &B,
    labels: &[Label],
    ignored: Option<Label>,
    grid: Grid,
    band: f64,
) -> Result<Vec<bool>> {
    let grid = grid.checked()?;
    assert_eq!(labels.len(), grid.voxels(), "labels on a grid");
    let boundary = boundary(labels, ignored, grid.spatial);
    if grid.is_sheared() { Ok(in_space(&boundary, grid, band)) } else { in_slabs(backend, boundary, grid, band, SLAB) }
}

/// Computes the band by nearest-neighbour search in space.
fn in_space(boundary: &[bool], grid: Grid, band: f64) -> Vec<bool> {
    let (points, limit) = (Points::new(boundary, grid), band * (1.0 + SLACK));
    let within = |voxel: usize| points.reaches(grid.position(index(voxel, grid.spatial)), limit);
    (0..boundary.len()).into_par_iter().map(within).collect()
}

/// Computes the band by the backend's distance transform, in slabs of about this many voxels.
#[expect(clippy::cast_possible_truncation, reason = "between 0 and a billion")]
fn in_slabs<B: Backend>(backend: &B, boundary: Vec<bool>, grid: Grid, band: f64, voxels: usize) -> Result<Vec<bool>> {
    let Some(whole) = Box3::around(&boundary, grid.spatial) else { return Ok(boundary) };
    // The band around a voxel extends at most this many voxels along each axis.
    let reach = grid.spacing.map(|size| (band * (1.0 + SLACK) / size).min(1e9) as usize + 1);
    let whole = whole.widened(reach, grid.spatial);
    let plane = whole.extents()[1] * whole.extents()[2];
    let thickness = (voxels / plane).max(2 * reach[0]).max(1);
    // Boundary and band share one byte per voxel, because the probabilities already fill the memory.
    let mut bits: Vec<u8> = boundary.into_iter().map(u8::from).collect();
    for first in (whole.start[0]..whole.end[0]).step_by(thickness) {
        let last = (first + thickness).min(whole.end[0]);
        let slab = Box3 { start: [first, whole.start[1], whole.start[2]], end: [last, whole.end[1], whole.end[2]] };
        mark(backend, grid, band, slab, slab.widened([reach[0], 0, 0], grid.spatial), &mut bits)?;
    }
    Ok(bits.into_iter().map(|bits| bits & BAND != 0).collect())
}

/// Voxels per slab, so that the distances of a large volume need not all be in memory at once.
const SLAB: usize = 1 << 20;

/// Flag bits of a voxel: on the boundary, in the band.
const BOUNDARY: u8 = 1;
const BAND: u8 = 2;

/// Marks the voxels of `slab` that are within the band of a boundary voxel; `around` contains all relevant boundary
/// voxels.
fn mark<B: Backend>(backend: &B, grid: Grid, band: f64, slab: Box3, around: Box3, bits: &mut [u8]) -> Result<()> {
    let marks = around.cut(bits, grid.spatial, |bits| bits & BOUNDARY != 0);
    if !marks.contains(&true) {
        return Ok(());
    }
    let [_, height, width] = grid.spatial;
    let [_, rows, columns] = around.extents();
    let limit = band * (1.0 + SLACK);
    let field = distance_field(backend, &marks, grid.with_extents(around.extents()))?;
    for d in slab.start[0]..slab.end[0] {
        for h in slab.start[1]..slab.end[1] {
            let from = ((d - around.start[0]) * rows + h - around.start[1]) * columns;
            let first = (d * height + h) * width + around.start[2];
            let line = bits[first..first + columns].iter_mut();
            line.zip(&field[from..])
                .filter(|(_, distance)| distance.f64() <= limit)
                .for_each(|(bits, _)| *bits |= BAND);
        }
    }
    Ok(())
}

/// Voxels with a face neighbour that has another label, where neither of the two is ignored.
fn boundary(labels: &[Label], ignored: Option<Label>, spatial: [usize; 3]) -> Vec<bool> {
    let strides = [spatial[1] * spatial[2], spatial[2], 1];
    let differs = |voxel: usize| {
        let own = labels[voxel];
        let other = |neighbour: usize| labels[neighbour] != own && Some(labels[neighbour]) != ignored;
        Some(own) != ignored
            && (0..3).any(|axis| {
                let at = voxel / strides[axis] % spatial[axis];
                (at > 0 && other(voxel - strides[axis])) || (at + 1 < spatial[axis] && other(voxel + strides[axis]))
            })
    };
    (0..labels.len()).into_par_iter().map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use segcal_core::Reference;

    #[test]
    fn a_band_in_one_dimension() {
        let labels = [0, 0, 0, 0, 1, 1, 2, 0, 0, 0];
        let grid = Grid::new([1, 1, 10], [1.0, 1.0, 0.5]);
        let band = |band| {
            let band = boundary_band(&Reference, &labels, None, grid, band).unwrap();
            band.iter().map(|&on| if on { '#' } else { '.' }).collect::<String>()
        };
        assert_eq!(band(0.0), "...#####..");
        assert_eq!(band(0.49), "...#####..");
        assert_eq!(band(0.5), "..#######.");
        assert_eq!(band(1.0), ".#########");
    }

    #[test]
    fn the_border_of_ignored_voxels_is_no_boundary() {
        let grid = Grid::voxel_units([1, 1, 8]);
        let band = boundary_band(&Reference, &[0, 0, 1, 1, 9, 9, 2, 2], Some(9), grid, 0.0).unwrap();
        assert_eq!(band, [false, true, true, false, false, false, false, false]);
    }

    #[test]
    fn a_sheared_grid_is_searched_in_space() {
        let rng = segcal_core::Rng::new(5);
        let grid = Grid::of_steps([6, 7, 8], [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.7, 0.0, 1.0]]);
        let labels: Vec<Label> =
            (0..grid.voxels()).map(|voxel| Label::from(rng.uniform(voxel as u64) < 0.01)).collect();
        let marks = boundary(&labels, None, grid.spatial);
        let apart = |a: usize, b: usize| {
            let (a, b) = (grid.position(index(a, grid.spatial)), grid.position(index(b, grid.spatial)));
            (0..3).map(|side| (a[side] - b[side]).powi(2)).sum::<f64>().sqrt()
        };
        let near = |voxel| (0..marks.len()).any(|other| marks[other] && apart(voxel, other) <= 1.5);
        let expected: Vec<bool> = (0..grid.voxels()).map(near).collect();
        assert_eq!(boundary_band(&Reference, &labels, None, grid, 1.5).unwrap(), expected);
    }

    #[test]
    fn slabs_are_the_whole_distance_transform() {
        let spatial = [40, 9, 10];
        let rng = segcal_core::Rng::new(3);
        let voxels = spatial.iter().product::<usize>();
        let labels: Vec<Label> = (0..voxels).map(|voxel| Label::from(rng.uniform(voxel as u64) < 3e-3)).collect();
        for (spacing, band) in [([3.0, 1.0, 0.7], 5.0), ([0.5, 1.0, 1.0], 0.0), ([1.0; 3], 1e6)] {
            let grid = Grid::new(spatial, spacing);
            let marks = boundary(&labels, None, spatial);
            let field = distance_field(&Reference, &marks, grid).unwrap();
            let expected: Vec<bool> = field.iter().map(|distance| *distance <= band * (1.0 + SLACK)).collect();
            for voxels in [1, 300, SLAB] {
                let found = in_slabs(&Reference, marks.clone(), grid, band, voxels).unwrap();
                assert!(found == expected, "a band of {band}, slabs of {voxels} voxels");
            }
        }
    }

    #[test]
    fn one_label_has_no_boundary() {
        let grid = Grid::voxel_units([2, 2, 2]);
        assert_eq!(boundary_band(&Reference, &[1; 8], None, grid, 9.0).unwrap(), [false; 8]);
    }
}
