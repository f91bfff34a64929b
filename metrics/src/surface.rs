//! Surface distances in millimetres: Hausdorff distances, average surface distances, surface Dice.
//!
//! The edge of a mask is the mask minus its erosion by the face cross (4 neighbours in 2-D, 6 in 3-D; an axis of
//! extent 1 has no neighbours), and outside the grid is background, so a mask that touches the border has an edge
//! there. Distances run between voxel centres, exactly, with the voxel size of the grid. They are computed once, one
//! distance transform per mask on the box around both, and every figure follows from the same [`SurfaceDistances`].
//!
//! Accuracy: the distances are those of [`Backend::distance`], rounded once to the backend's number type (relative
//! error below 2^-22 for f32 backends, 2^-50 for f64); means and percentiles are taken in f64.

use rayon::prelude::*;
use segcal_core::{Backend, Elem, Result, Shape};
use serde::{Deserialize, Serialize};

use crate::empty::{Emptiness, Outcome};
use crate::volume::Grid;

/// Relative slack in comparisons of a distance with a given tolerance, so that a distance that equals it up to
/// rounding counts as within.
pub(crate) const SLACK: f64 = 1e-6;

/// The surface distances of one structure in one case, or which mask is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// Both masks hold voxels.
    Measured(SurfaceDistances),
    /// There is nothing to measure to or from.
    Empty(Emptiness),
}

/// Distances from each edge voxel of one mask to the nearest edge voxel of the other, in mm, ascending; neither empty.
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
    /// A mask does not have as many voxels as the grid.
    pub fn measure<B: Backend>(backend: &B, prediction: &[bool], reference: &[bool], grid: Grid) -> Result<Self> {
        let grid = grid.checked()?;
        assert_eq!((prediction.len(), reference.len()), (grid.voxels(), grid.voxels()), "masks on a grid");
        let boxes = (Box3::around(prediction, grid.spatial), Box3::around(reference, grid.spatial));
        let (Some(a), Some(b)) = boxes else {
            return Ok(Self::Empty(Emptiness::of(boxes.0.is_some().into(), boxes.1.is_some().into())));
        };
        let region = a.union(b);
        let (prediction, reference) = rayon::join(
            || edge(prediction, grid.spatial, region),
            || edge(reference, grid.spatial, region), //
        );
        Ok(Self::Measured(SurfaceDistances {
            to_reference: distances(backend, &prediction, &reference, region, grid.spacing_mm)?,
            to_prediction: distances(backend, &reference, &prediction, region, grid.spacing_mm)?,
        }))
    }

    /// Which mask is empty.
    pub const fn emptiness(&self) -> Emptiness {
        match *self {
            Self::Measured(_) => Emptiness::Neither,
            Self::Empty(which) => which,
        }
    }

    /// A figure of the distances; without a value where a mask is empty.
    pub fn figure(&self, figure: impl Fn(&SurfaceDistances) -> f64) -> Outcome {
        match self {
            Self::Measured(distances) => Outcome::Measured(figure(distances)),
            Self::Empty(which) => Outcome::new(*which, None),
        }
    }

    /// [`SurfaceDistances::nsd`]; 0 where only one mask is empty, since nothing of the other lies near it.
    pub fn nsd(&self, tolerance_mm: f64) -> Outcome {
        match self {
            Self::Measured(distances) => Outcome::Measured(distances.nsd(tolerance_mm)),
            Self::Empty(which) => Outcome::new(*which, (*which != Emptiness::Both).then_some(0.0)),
        }
    }
}

impl SurfaceDistances {
    /// The distances from the prediction's edge to the reference's, ascending, in mm.
    pub fn to_reference(&self) -> &[f64] {
        &self.to_reference
    }

    /// The distances from the reference's edge to the prediction's, ascending, in mm.
    pub fn to_prediction(&self) -> &[f64] {
        &self.to_prediction
    }

    /// Hausdorff distance: the largest distance of either direction, mm.
    pub fn hd(&self) -> f64 {
        percentile(&self.to_reference, 100.0).max(percentile(&self.to_prediction, 100.0))
    }

    /// The larger of the two directed 95th percentiles, mm (MONAI, MetricsReloaded).
    pub fn hd95_max(&self) -> f64 {
        percentile(&self.to_reference, 95.0).max(percentile(&self.to_prediction, 95.0))
    }

    /// The 95th percentile of the distances of both directions together, mm (MedPy, and so the papers).
    pub fn hd95_pooled(&self) -> f64 {
        let mut pooled = [self.to_reference.as_slice(), &self.to_prediction].concat();
        pooled.sort_unstable_by(f64::total_cmp);
        percentile(&pooled, 95.0)
    }

    /// Average surface distance from the prediction to the reference, mm.
    pub fn asd(&self) -> f64 {
        mean(&self.to_reference)
    }

    /// Average surface distance from the reference to the prediction, mm.
    pub fn asd_reverse(&self) -> f64 {
        mean(&self.to_prediction)
    }

    /// Average symmetric surface distance: the mean of the distances of both directions together, mm.
    pub fn assd(&self) -> f64 {
        let sum = self.to_reference.iter().sum::<f64>() + self.to_prediction.iter().sum::<f64>();
        sum / (self.to_reference.len() + self.to_prediction.len()) as f64
    }

    /// Mean average surface distance: the mean of the two directed means, mm.
    pub fn masd(&self) -> f64 {
        f64::midpoint(self.asd(), self.asd_reverse())
    }

    /// Normalised surface dice: the share of the edge voxels of both masks that lie within `tolerance_mm` of the other
    /// edge (a distance equal to the tolerance counts as within).
    ///
    /// The elements are edge voxels, each counting once.
    pub fn nsd(&self, tolerance_mm: f64) -> f64 {
        let limit = tolerance_mm * (1.0 + SLACK);
        let within = |distances: &[f64]| distances.partition_point(|&distance| distance <= limit);
        let total = self.to_reference.len() + self.to_prediction.len();
        (within(&self.to_reference) + within(&self.to_prediction)) as f64 / total as f64
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Percentile of ascending values by linear interpolation between closest ranks: at rank `(n - 1) percent / 100`.
///
/// # Panics
/// There is no value.
pub fn percentile(ascending: &[f64], percent: f64) -> f64 {
    let rank = (ascending.len() - 1) as f64 * percent / 100.0;
    let below = ascending[rank.floor() as usize];
    let above = ascending[rank.ceil() as usize];
    let part = rank - rank.floor();
    // Interpolating from the nearer end makes both ends exact.
    if part < 0.5 { below + (above - below) * part } else { above - (above - below) * (1.0 - part) }
}

/// A box of voxels, `[start, end)` per axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Box3 {
    pub(crate) start: [usize; 3],
    pub(crate) end: [usize; 3],
}

impl Box3 {
    fn union(self, other: Self) -> Self {
        Self {
            start: std::array::from_fn(|axis| self.start[axis].min(other.start[axis])),
            end: std::array::from_fn(|axis| self.end[axis].max(other.end[axis])),
        }
    }

    /// With this many voxels more on each side, inside the grid.
    pub(crate) fn widened(self, by: [usize; 3], spatial: [usize; 3]) -> Self {
        Self {
            start: std::array::from_fn(|axis| self.start[axis].saturating_sub(by[axis])),
            end: std::array::from_fn(|axis| (self.end[axis] + by[axis]).min(spatial[axis])),
        }
    }

    pub(crate) fn extents(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.end[axis] - self.start[axis])
    }

    /// The smallest box that holds the mask; `None` for an empty one.
    pub(crate) fn around(mask: &[bool], [_, height, width]: [usize; 3]) -> Option<Self> {
        let slices = mask.par_chunks((height * width).max(1)).enumerate();
        let boxes = slices.filter_map(|(d, slice)| {
            let rows = slice.chunks(width).enumerate();
            rows.filter_map(|(h, row)| {
                let first = row.iter().position(|&inside| inside)?;
                let last = row.iter().rposition(|&inside| inside)?;
                Some(Self { start: [d, h, first], end: [d + 1, h + 1, last + 1] })
            })
            .reduce(Self::union)
        });
        boxes.reduce_with(Self::union)
    }
}

/// Edge voxels of a mask inside a box that holds the whole mask, as a volume of the box's extents.
fn edge(mask: &[bool], spatial: [usize; 3], region: Box3) -> Vec<bool> {
    let strides = [spatial[1] * spatial[2], spatial[2], 1];
    let [depth, height, width] = region.extents();
    let mut edge = vec![false; depth * height * width];
    // A grid of a single voxel has no axis at all; that voxel is an edge.
    let single = spatial == [1; 3];
    let interior = |at: [usize; 3], offset: usize| {
        !single
            && (0..3).all(|axis| {
                let border = at[axis] == 0 || at[axis] + 1 == spatial[axis];
                spatial[axis] == 1 || (!border && mask[offset - strides[axis]] && mask[offset + strides[axis]])
            })
    };
    edge.par_chunks_mut(height * width).enumerate().for_each(|(d, slice)| {
        for (h, row) in slice.chunks_mut(width).enumerate() {
            let [d, h] = [d + region.start[0], h + region.start[1]];
            for (w, out) in row.iter_mut().enumerate() {
                let at = [d, h, w + region.start[2]];
                let offset = at[0] * strides[0] + at[1] * strides[1] + at[2];
                *out = mask[offset] && !interior(at, offset);
            }
        }
    });
    edge
}

/// Distances from each voxel of `from` to the nearest of `to`, ascending.
fn distances<B: Backend>(
    backend: &B,
    from: &[bool],
    to: &[bool],
    region: Box3,
    spacing_mm: [f64; 3],
) -> Result<Vec<f64>> {
    let field = distance_field(backend, to, region.extents(), spacing_mm)?;
    let mut distances: Vec<f64> =
        field.iter().zip(from).filter(|&(_, &inside)| inside).map(|(distance, _)| distance.f64()).collect();
    distances.par_sort_unstable_by(f64::total_cmp);
    Ok(distances)
}

/// The distance from each voxel to the nearest marked one, by the backend.
pub(crate) fn distance_field<B: Backend>(
    backend: &B,
    mask: &[bool],
    extents: [usize; 3],
    spacing_mm: [f64; 3],
) -> Result<Vec<B::Elem>> {
    let shape = Shape::new(1, 1, extents[0], extents[1], extents[2]);
    let marks = mask.par_iter().map(|&inside| if inside { B::Elem::ONE } else { B::Elem::ZERO }).collect();
    let buffer = backend.upload(marks);
    backend.download(&backend.distance((&buffer, shape), spacing_mm))
}

#[cfg(test)]
mod tests;
