//! The band of voxels around the reference boundary.

use rayon::prelude::*;
use segcal_core::{Backend, Elem, Result};

use crate::surface::{SLACK, distance_field};
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
    let grid = grid.checked()?;
    assert_eq!(reference.len(), grid.voxels(), "labels on a grid");
    let boundary = boundary(reference, grid.spatial);
    if !boundary.par_iter().any(|&on| on) {
        return Ok(boundary);
    }
    let limit = band_mm * (1.0 + SLACK);
    let field = distance_field(backend, &boundary, grid.spatial, grid.spacing_mm)?;
    Ok(field.par_iter().map(|distance| distance.f64() <= limit).collect())
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
    fn one_label_has_no_boundary() {
        let grid = Grid::voxel_units([2, 2, 2]);
        assert_eq!(boundary_band(&Reference, &[1; 8], grid, 9.0).unwrap(), [false; 8]);
    }
}
