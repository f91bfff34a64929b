//! Surface distances in the unit of the voxel size: Hausdorff distances, average surface distances, surface Dice.
//!
//! The edge of a mask is the mask minus its erosion by the face cross (4 neighbours in 2-D, 6 in 3-D; an axis of extent
//! 1 has no neighbours), and everything outside the grid is background, so a mask that touches the border has an edge
//! there. Distances are exact distances between voxel centres, using the voxel size of the grid. They are computed
//! once, with one distance transform per mask on the box around both, and every metric follows from the same
//! [`SurfaceDistances`]. If the axes are not at right angles, a nearest-neighbour search in space is used, in 64 bits
//! on the host.
//!
//! Accuracy: the distances are those of [`Backend::distance`], rounded once to the backend's number type (relative
//! error below 2^-22 for f32 backends, 2^-50 for f64); means and percentiles are taken in f64.

use rayon::prelude::*;
use segcal_core::{Backend, Elem, Result};
use serde::{Deserialize, Serialize};

use crate::boxes::{Box3, LabelBoxes};
use crate::distance::{Points, SLACK, distance_field, index};
use crate::empty::{Emptiness, Outcome};
use crate::stats::{mean, percentile};
use crate::volume::{Grid, Label, Structure};

/// The surface distances of one structure in one case, or which mask is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// Neither mask is empty.
    Measured(SurfaceDistances),
    /// At least one mask is empty.
    Empty(Emptiness),
}

/// Distances from each edge voxel of one mask to the nearest edge voxel of the other, ascending; neither empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SurfaceDistances {
    to_reference: Vec<f64>,
    to_prediction: Vec<f64>,
}

impl Surface {
    /// Measures two masks `[d, h, w]` on the same grid.
    ///
    /// # Errors
    /// A voxel size is not positive, or the backend's device failed.
    ///
    /// # Panics
    /// A mask does not have the size of the grid.
    pub fn measure<B: Backend>(backend: &B, prediction: &[bool], reference: &[bool], grid: Grid) -> Result<Self> {
        assert_eq!((prediction.len(), reference.len()), (grid.voxels(), grid.voxels()), "masks on a grid");
        let boxes = (Box3::around(prediction, grid.spatial), Box3::around(reference, grid.spatial));
        Self::inside(backend, boxes, grid, |around| {
            [prediction, reference].map(|mask| around.cut(mask, grid.spatial, |inside| inside))
        })
    }

    /// Measures a structure of two label maps, using the boxes of their labels.
    pub(crate) fn of_structure<B: Backend>(
        backend: &B,
        structure: &Structure,
        prediction: (&[Label], &LabelBoxes),
        reference: (&[Label], &LabelBoxes),
        grid: Grid,
    ) -> Result<Self> {
        let boxes = (prediction.1.around(structure), reference.1.around(structure));
        Self::inside(backend, boxes, grid, |around| {
            [prediction.0, reference.0]
                .map(|labels| around.cut(labels, grid.spatial, |label| structure.contains(label)))
        })
    }

    /// Measures the masks that `cut` extracts from the box around both, unless one is empty.
    fn inside<B: Backend>(
        backend: &B,
        boxes: (Option<Box3>, Option<Box3>),
        grid: Grid,
        cut: impl Fn(Box3) -> [Vec<bool>; 2],
    ) -> Result<Self> {
        let grid = grid.checked()?;
        let (Some(a), Some(b)) = boxes else {
            return Ok(Self::Empty(Emptiness::of(boxes.0.is_some().into(), boxes.1.is_some().into())));
        };
        let around = a.union(b);
        let [prediction, reference] = cut(around);
        Ok(Self::Measured(Pair { prediction, reference, extents: around.extents() }.measure(backend, grid)?))
    }

    /// Which mask is empty.
    pub const fn emptiness(&self) -> Emptiness {
        match *self {
            Self::Measured(_) => Emptiness::Neither,
            Self::Empty(which) => which,
        }
    }

    /// Computes a metric from the distances; undefined if a mask is empty.
    pub fn figure(&self, figure: impl Fn(&SurfaceDistances) -> f64) -> Outcome {
        match self {
            Self::Measured(distances) => Outcome::Measured(figure(distances)),
            Self::Empty(which) => Outcome::new(*which, None),
        }
    }

    /// [`SurfaceDistances::nsd`]; 0 if exactly one mask is empty, because no edge voxel of the other is near it.
    pub fn nsd(&self, tolerance: f64) -> Outcome {
        match self {
            Self::Measured(distances) => Outcome::Measured(distances.nsd(tolerance)),
            Self::Empty(which) => Outcome::new(*which, (*which != Emptiness::Both).then_some(0.0)),
        }
    }
}

impl SurfaceDistances {
    /// The distances from the prediction's edge to the reference's, ascending.
    pub fn to_reference(&self) -> &[f64] {
        &self.to_reference
    }

    /// The distances from the reference's edge to the prediction's, ascending.
    pub fn to_prediction(&self) -> &[f64] {
        &self.to_prediction
    }

    /// Hausdorff distance: the largest distance in either direction.
    pub fn hd(&self) -> f64 {
        percentile(&self.to_reference, 100.0).max(percentile(&self.to_prediction, 100.0))
    }

    /// The larger of the two directed 95th percentiles (MONAI, MetricsReloaded).
    pub fn hd95_max(&self) -> f64 {
        percentile(&self.to_reference, 95.0).max(percentile(&self.to_prediction, 95.0))
    }

    /// The 95th percentile of the pooled distances of both directions (MedPy, and therefore the papers).
    pub fn hd95_pooled(&self) -> f64 {
        let mut pooled = [self.to_reference.as_slice(), &self.to_prediction].concat();
        pooled.sort_unstable_by(f64::total_cmp);
        percentile(&pooled, 95.0)
    }

    /// Average surface distance from the prediction to the reference.
    pub fn asd(&self) -> f64 {
        mean(self.to_reference.iter().copied())
    }

    /// Average surface distance from the reference to the prediction.
    pub fn asd_reverse(&self) -> f64 {
        mean(self.to_prediction.iter().copied())
    }

    /// Average symmetric surface distance: the mean of the pooled distances of both directions.
    pub fn assd(&self) -> f64 {
        let sum = self.to_reference.iter().sum::<f64>() + self.to_prediction.iter().sum::<f64>();
        sum / (self.to_reference.len() + self.to_prediction.len()) as f64
    }

    /// Mean average surface distance: the mean of the two directed means.
    pub fn masd(&self) -> f64 {
        f64::midpoint(self.asd(), self.asd_reverse())
    }

    /// Normalised surface dice: the share of the edge voxels of both masks that are within `tolerance` of the other
    /// edge (a distance equal to the tolerance counts as within).
    ///
    /// The elements are edge voxels, each counted once.
    pub fn nsd(&self, tolerance: f64) -> f64 {
        let limit = tolerance * (1.0 + SLACK);
        let within = |distances: &[f64]| distances.partition_point(|&distance| distance <= limit);
        let total = self.to_reference.len() + self.to_prediction.len();
        (within(&self.to_reference) + within(&self.to_prediction)) as f64 / total as f64
    }
}

/// Two masks on the box around both.
struct Pair {
    prediction: Vec<bool>,
    reference: Vec<bool>,
    extents: [usize; 3],
}

impl Pair {
    /// Computes the distances between the edges.
    fn measure<B: Backend>(&self, backend: &B, grid: Grid) -> Result<SurfaceDistances> {
        let (prediction, reference) = rayon::join(
            || edge(&self.prediction, self.extents, grid.spatial),
            || edge(&self.reference, self.extents, grid.spatial),
        );
        let grid = grid.with_extents(self.extents);
        Ok(SurfaceDistances {
            to_reference: nearest(backend, &prediction, &reference, grid)?,
            to_prediction: nearest(backend, &reference, &prediction, grid)?,
        })
    }
}

/// Edge voxels of a mask inside a box of the grid; outside the box is background, as it is outside the grid.
fn edge(mask: &[bool], [_, height, width]: [usize; 3], spatial: [usize; 3]) -> Vec<bool> {
    let strides = [height * width, width, 1];
    // A grid with a single voxel has no axis; that voxel is an edge.
    let single = spatial == [1; 3];
    let depth = mask.len() / strides[0];
    let extents = [depth, height, width];
    let interior = |at: [usize; 3], offset: usize| {
        !single
            && (0..3).all(|axis| {
                let border = at[axis] == 0 || at[axis] + 1 == extents[axis];
                spatial[axis] == 1 || (!border && mask[offset - strides[axis]] && mask[offset + strides[axis]])
            })
    };
    let mut edge = vec![false; mask.len()];
    edge.par_chunks_mut(strides[0]).enumerate().for_each(|(d, slice)| {
        for (at, out) in slice.iter_mut().enumerate() {
            let offset = d * strides[0] + at;
            *out = mask[offset] && !interior([d, at / width, at % width], offset);
        }
    });
    edge
}

/// Distances from each voxel of `from` to the nearest voxel of `to`, ascending.
fn nearest<B: Backend>(backend: &B, from: &[bool], to: &[bool], grid: Grid) -> Result<Vec<f64>> {
    let mut distances: Vec<f64> = if grid.is_sheared() {
        let points = Points::new(to, grid);
        let inside = (0..from.len()).into_par_iter().filter(|&voxel| from[voxel]);
        inside.map(|voxel| points.distance(grid.position(index(voxel, grid.spatial)))).collect()
    } else {
        let field = distance_field(backend, to, grid)?;
        field.iter().zip(from).filter(|&(_, &inside)| inside).map(|(distance, _)| distance.f64()).collect()
    };
    distances.par_sort_unstable_by(f64::total_cmp);
    Ok(distances)
}

#[cfg(test)]
mod tests;
