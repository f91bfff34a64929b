//! The band of voxels around the reference boundary.

use rayon::prelude::*;
use segcal_core::{Backend, Elem, Result};

use crate::surface::{Box3, SLACK, distance_field};
use crate::volume::{Grid, Label};

/// Voxels within `band_mm` of the reference boundary, for [`super::Region::Boundary`].
///
/// A boundary voxel has a face neighbour with another label (both sides of each boundary between two labels, the
/// background among them; the border of the grid is no boundary). The band holds every voxel whose centre is at most
/// `band_mm` from the centre of a boundary voxel; a band of 0 is the boundary voxels themselves. Distances as in
/// [`crate::surface`]; one that equals `band_mm` up to rounding is within.
///
/// # Errors
/// A voxel size is not positive, or the backend's device failed.
///
/// # Panics
/// The labels do not fill the grid.
pub fn boundary_band<B: Backend>(backend: &B, reference: &[Label], grid: Grid, band_mm: f64) -> Result<Vec<bool>> {
    in_slabs(backend, reference, grid, band_mm, SLAB)
}

fn in_slabs<B: Backend>(
    backend: &B,
    reference: &[Label],
    grid: Grid,
    band_mm: f64,
    voxels: usize,
) -> Result<Vec<bool>> {
    let grid = grid.checked()?;
    assert_eq!(reference.len(), grid.voxels(), "labels on a grid");
    let boundary = boundary(reference, grid.spatial);
    let Some(whole) = Box3::around(&boundary, grid.spatial) else { return Ok(boundary) };
    // What is within the band of a voxel lies within so many voxels along each axis.
    let reach = grid.spacing_mm.map(|size| (band_mm * (1.0 + SLACK) / size).min(1e9) as usize + 1);
    let whole = whole.widened(reach, grid.spatial);
    let plane = whole.extents()[1] * whole.extents()[2];
    let thickness = (voxels / plane).max(2 * reach[0]).max(1);
    let mut band = vec![false; reference.len()];
    for first in (whole.start[0]..whole.end[0]).step_by(thickness) {
        let last = (first + thickness).min(whole.end[0]);
        let slab = Box3 { start: [first, whole.start[1], whole.start[2]], end: [last, whole.end[1], whole.end[2]] };
        mark(backend, &boundary, grid, band_mm, slab, slab.widened([reach[0], 0, 0], grid.spatial), &mut band)?;
    }
    Ok(band)
}

/// Voxels of a slab, so that the distances of a large volume need not be in memory at once.
const SLAB: usize = 1 << 20;

/// Marks the voxels of `slab` within the band of a boundary voxel of `around`, which holds all that matter.
fn mark<B: Backend>(
    backend: &B,
    boundary: &[bool],
    grid: Grid,
    band_mm: f64,
    slab: Box3,
    around: Box3,
    band: &mut [bool],
) -> Result<()> {
    let [_, height, width] = grid.spatial;
    let [_, rows, columns] = around.extents();
    let place = |d: usize, h: usize| (d * height + h) * width + around.start[2];
    let lines = (around.start[0]..around.end[0]).flat_map(|d| (around.start[1]..around.end[1]).map(move |h| (d, h)));
    let marks: Vec<bool> = lines.flat_map(|(d, h)| &boundary[place(d, h)..place(d, h) + columns]).copied().collect();
    if !marks.contains(&true) {
        return Ok(());
    }
    let limit = band_mm * (1.0 + SLACK);
    let field = distance_field(backend, &marks, around.extents(), grid.spacing_mm)?;
    for d in slab.start[0]..slab.end[0] {
        for h in slab.start[1]..slab.end[1] {
            let from = ((d - around.start[0]) * rows + h - around.start[1]) * columns;
            let line = band[place(d, h)..place(d, h) + columns].iter_mut();
            line.zip(&field[from..]).for_each(|(on, distance)| *on = distance.f64() <= limit);
        }
    }
    Ok(())
}

/// Voxels with a face neighbour of another label.
fn boundary(labels: &[Label], spatial: [usize; 3]) -> Vec<bool> {
    let strides = [spatial[1] * spatial[2], spatial[2], 1];
    let differs = |offset: usize| {
        (0..3).any(|axis| {
            let place = offset / strides[axis] % spatial[axis];
            let before = place > 0 && labels[offset - strides[axis]] != labels[offset];
            before || (place + 1 < spatial[axis] && labels[offset + strides[axis]] != labels[offset])
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
        let grid = Grid { spatial: [1, 1, 10], spacing_mm: [1.0, 1.0, 0.5] };
        let band = |band_mm| {
            let band = boundary_band(&Reference, &labels, grid, band_mm).unwrap();
            band.iter().map(|&on| if on { '#' } else { '.' }).collect::<String>()
        };
        assert_eq!(band(0.0), "...#####..");
        assert_eq!(band(0.49), "...#####..");
        assert_eq!(band(0.5), "..#######.");
        assert_eq!(band(1.0), ".#########");
    }

    #[test]
    fn slabs_are_the_whole_distance_transform() {
        let spatial = [40, 9, 10];
        let rng = segcal_core::Rng::new(3);
        let voxels = spatial.iter().product::<usize>();
        let labels: Vec<Label> = (0..voxels).map(|voxel| Label::from(rng.uniform(voxel as u64) < 3e-3)).collect();
        for (spacing_mm, band_mm) in [([3.0, 1.0, 0.7], 5.0), ([0.5, 1.0, 1.0], 0.0), ([1.0; 3], 1e6)] {
            let grid = Grid { spatial, spacing_mm };
            let marks = boundary(&labels, spatial);
            let field = distance_field(&Reference, &marks, spatial, spacing_mm).unwrap();
            let expected: Vec<bool> = field.iter().map(|distance| *distance <= band_mm * (1.0 + SLACK)).collect();
            for voxels in [1, 300, SLAB] {
                let band = in_slabs(&Reference, &labels, grid, band_mm, voxels).unwrap();
                assert!(band == expected, "{band_mm} mm, slabs of {voxels} voxels");
            }
        }
    }

    #[test]
    fn one_label_has_no_boundary() {
        let grid = Grid::voxel_units([2, 2, 2]);
        assert_eq!(boundary_band(&Reference, &[1; 8], grid, 9.0).unwrap(), [false; 8]);
    }
}
