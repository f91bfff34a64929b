//! Distances between voxel centres: distance fields computed by the backend, and nearest-neighbour search in space for
//! sheared grids.

use rayon::prelude::*;
use segcal_core::{Backend, Elem, Result, Shape};

use crate::volume::Grid;

/// Relative slack when a distance is compared with a tolerance, so that a distance that equals it up to rounding counts
/// as within.
pub(crate) const SLACK: f64 = 1e-6;

/// The distance from each voxel of the grid to the nearest marked voxel, computed by the backend. The axes of the grid
/// must be at right angles.
pub(crate) fn distance_field<B: Backend>(backend: &B, mask: &[bool], grid: Grid) -> Result<Vec<B::Elem>> {
    let [d, h, w] = grid.spatial;
    let marks: Vec<B::Elem> =
        mask.par_iter().map(|&inside| if inside { B::Elem::ONE } else { B::Elem::ZERO }).collect();
    let buffer = backend.upload(marks);
    let distances = backend.distance((&buffer, Shape::new(1, 1, d, h, w)), grid.spacing);
    // As large as the result, and no longer needed.
    drop(buffer);
    backend.download(&distances)
}

/// Index of a voxel along each axis.
pub(crate) const fn index(voxel: usize, [_, height, width]: [usize; 3]) -> [usize; 3] {
    [voxel / (height * width), voxel / width % height, voxel % width]
}

/// Points in space, as a balanced k-d tree: the middle element of a slice is the root, split along the axis given by
/// the depth modulo 3.
pub(crate) struct Points(Vec<[f64; 3]>);

impl Points {
    /// The centres of the marked voxels.
    pub(crate) fn new(mask: &[bool], grid: Grid) -> Self {
        let marked = (0..mask.len()).filter(|&voxel| mask[voxel]);
        let mut points: Vec<[f64; 3]> = marked.map(|voxel| grid.position(index(voxel, grid.spatial))).collect();
        arrange(&mut points, 0);
        Self(points)
    }

    /// Whether any point is within this distance.
    pub(crate) fn reaches(&self, from: [f64; 3], limit: f64) -> bool {
        // Points further away are skipped, and a distance equal to the limit counts.
        let just_beyond = (limit * limit).next_up();
        let mut best = just_beyond;
        search(&self.0, 0, from, &mut best);
        best < just_beyond
    }

    /// Distance to the nearest point; infinite if there is none.
    pub(crate) fn distance(&self, from: [f64; 3]) -> f64 {
        let mut best = f64::INFINITY;
        search(&self.0, 0, from, &mut best);
        best.sqrt()
    }
}

fn arrange(points: &mut [[f64; 3]], axis: usize) {
    if points.len() > 1 {
        let middle = points.len() / 2;
        points.select_nth_unstable_by(middle, |a, b| a[axis].total_cmp(&b[axis]));
        let (low, high) = points.split_at_mut(middle);
        let next = (axis + 1) % 3;
        rayon::join(|| arrange(low, next), || arrange(&mut high[1..], next));
    }
}

/// Lowers `best`, a squared distance, to that of the nearest point if that is smaller.
fn search(points: &[[f64; 3]], axis: usize, from: [f64; 3], best: &mut f64) {
    if points.is_empty() {
        return;
    }
    let (low, rest) = points.split_at(points.len() / 2);
    let (root, high) = (rest[0], &rest[1..]);
    *best = best.min((0..3).map(|side| (from[side] - root[side]).powi(2)).sum());
    let ahead = from[axis] - root[axis];
    let (near, far) = if ahead < 0.0 { (low, high) } else { (high, low) };
    search(near, (axis + 1) % 3, from, best);
    if ahead * ahead < *best {
        search(far, (axis + 1) % 3, from, best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segcal_core::Rng;

    #[test]
    fn the_tree_finds_what_trying_every_point_finds() {
        let rng = Rng::new(4);
        let grid = Grid::of_steps([6, 7, 8], [[2.0, 0.3, 0.0], [0.0, 1.0, 0.4], [0.1, 0.0, 0.8]]);
        let mask: Vec<bool> = (0..grid.voxels()).map(|voxel| rng.uniform(voxel as u64) < 0.1).collect();
        let points = Points::new(&mask, grid);
        for voxel in 0..grid.voxels() {
            let from = grid.position(index(voxel, grid.spatial));
            let squared = |to: &[f64; 3]| (0..3).map(|side| (from[side] - to[side]).powi(2)).sum::<f64>();
            let expected = points.0.iter().map(squared).fold(f64::INFINITY, f64::min).sqrt();
            assert_eq!(points.distance(from), expected);
        }
        assert_eq!(Points::new(&[false], Grid::voxel_units([1; 3])).distance([0.0; 3]), f64::INFINITY);
    }
}
