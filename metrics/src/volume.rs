//! Volumes as flat slices: grids, labels, probabilities.
//!
//! A volume is a slice in `[d, h, w]` order, `w` fastest; class probabilities are a slice in `[k, d, h, w]` order. A
//! separate [`Grid`] holds the extents and the voxel size, in the same order.

use rayon::prelude::*;
use segcal_core::{Error, Result};

/// A reference or predicted label: 0 is the background, `k` the k-th structure.
pub type Label = u16;

/// Number of labels.
const MOST_CLASSES: usize = Label::MAX as usize + 1;

/// Voxels per task of the parallel loops. Fixed, so that sums do not depend on the number of threads.
pub(crate) const BLOCK: usize = 1 << 16;

/// Extents and voxel size of a volume, both in `[d, h, w]` order. 2-D data has `d = 1`.
///
/// All distances have the unit of the voxel size: mm if it is known, voxels with [`Grid::voxel_units`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Number of voxels along `[d, h, w]`.
    pub spatial: [usize; 3],
    /// Distance between neighbouring voxels along `[d, h, w]`.
    pub spacing: [f64; 3],
    /// The step vectors, if they are not at right angles.
    steps: Option<[[f64; 3]; 3]>,
}

/// Two axes count as being at right angles if the cosine of their angle is at most this: 0.006 degrees, a shift of a
/// tenth of a voxel over a thousand.
const RIGHT_ANGLE: f64 = 1e-4;

impl Grid {
    /// Creates a grid whose axes are at right angles.
    pub const fn new(spatial: [usize; 3], spacing: [f64; 3]) -> Self {
        Self { spatial, spacing, steps: None }
    }

    /// Creates a grid with voxels of size 1, so that distances are in voxel units.
    pub const fn voxel_units(spatial: [usize; 3]) -> Self {
        Self::new(spatial, [1.0; 3])
    }

    /// Creates a grid from its step vectors along `[d, h, w]`, such as the columns of an affine matrix; it may be
    /// sheared.
    pub fn of_steps(spatial: [usize; 3], steps: [[f64; 3]; 3]) -> Self {
        let spacing = steps.map(|step| dot(step, step).sqrt());
        let grid = Self { spatial, spacing, steps: Some(steps) };
        if grid.largest_cosine() > RIGHT_ANGLE { grid } else { Self::new(spatial, spacing) }
    }

    /// The grid of a box with the same voxels.
    pub(crate) const fn with_extents(self, spatial: [usize; 3]) -> Self {
        Self { spatial, ..self }
    }

    fn largest_cosine(&self) -> f64 {
        let Some(steps) = self.steps else { return 0.0 };
        let cosine = |(a, b): (usize, usize)| dot(steps[a], steps[b]).abs() / (self.spacing[a] * self.spacing[b]);
        [(0, 1), (0, 2), (1, 2)].into_iter().map(cosine).fold(0.0, f64::max)
    }

    /// Whether the axes are not at right angles.
    pub const fn is_sheared(&self) -> bool {
        self.steps.is_some()
    }

    /// Deviation of the axes from right angles, in degrees; 0 if they are at right angles.
    pub fn shear_degrees(&self) -> f64 {
        self.largest_cosine().min(1.0).asin().to_degrees()
    }

    /// Number of voxels.
    pub const fn voxels(&self) -> usize {
        self.spatial[0] * self.spatial[1] * self.spatial[2]
    }

    /// Position of a voxel's centre relative to that of the first voxel.
    pub fn position(&self, at: [usize; 3]) -> [f64; 3] {
        match self.steps {
            None => std::array::from_fn(|axis| at[axis] as f64 * self.spacing[axis]),
            Some(steps) => std::array::from_fn(|side| (0..3).map(|axis| at[axis] as f64 * steps[axis][side]).sum()),
        }
    }

    /// Distance between the centres of opposite corner voxels, the largest distance inside the grid.
    pub fn diagonal(&self) -> f64 {
        let last = self.spatial.map(|extent| extent.saturating_sub(1));
        // The four diagonals of a sheared grid differ.
        let corner =
            |far: usize, flip: usize| std::array::from_fn(|axis| if far >> axis & 1 == flip { last[axis] } else { 0 });
        let length = |far: usize| {
            let (a, b) = (self.position(corner(far, 1)), self.position(corner(far, 0)));
            (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt()
        };
        if self.is_sheared() { (4..8).map(length).fold(0.0, f64::max) } else { length(7) }
    }

    /// Returns the grid if its voxel sizes are valid.
    ///
    /// # Errors
    /// A voxel size is not a positive finite number.
    pub fn checked(self) -> Result<Self> {
        match self.spacing.iter().find(|size| !(size.is_finite() && **size > 0.0)) {
            None => Ok(self),
            Some(size) => Err(Error::new(format!("voxel size {size} is not a positive number"))
                .help("correct the header, or specify the voxel size")),
        }
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| a[axis] * b[axis]).sum()
}

/// Class probabilities of one volume, `[k, d, h, w]`.
#[derive(Clone, Copy, Debug)]
pub struct Probabilities<'a> {
    values: &'a [f32],
    classes: usize,
}

impl<'a> Probabilities<'a> {
    /// Interprets `values` as `classes` consecutive volumes.
    ///
    /// # Panics
    /// There is no class, `values` does not divide into that many volumes, or there are more classes than labels.
    pub fn new(values: &'a [f32], classes: usize) -> Self {
        assert!(classes > 0 && values.len().is_multiple_of(classes), "{} values, {classes} classes", values.len());
        assert!(classes <= MOST_CLASSES, "{classes} classes, but labels go up to {}", Label::MAX);
        Self { values, classes }
    }

    /// Number of classes `k`, including the background.
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// Number of voxels of one class.
    pub const fn voxels(&self) -> usize {
        self.values.len() / self.classes
    }

    /// All values, class by class.
    pub const fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The volume of class `k`.
    pub fn class(&self, k: usize) -> &'a [f32] {
        &self.values[k * self.voxels()..(k + 1) * self.voxels()]
    }

    /// The class with the largest probability at each voxel, the first in case of ties. Also works for logits.
    #[expect(clippy::cast_possible_truncation, reason = "at most MOST_CLASSES classes")]
    pub fn argmax(&self) -> Vec<Label> {
        let mut labels = vec![0; self.voxels()];
        labels.par_chunks_mut(BLOCK).enumerate().for_each(|(block, labels)| {
            let start = block * BLOCK;
            let mut best = self.class(0)[start..start + labels.len()].to_vec();
            for k in 1..self.classes {
                let class = &self.class(k)[start..start + labels.len()];
                raise(&mut best, labels, class, k as Label);
            }
        });
        labels
    }
}

/// Updates `best` and `labels` where `class` is larger than `best`.
pub(crate) fn raise(best: &mut [f32], labels: &mut [Label], class: &[f32], k: Label) {
    /// With many classes, most are nowhere the largest within this many voxels; checking that is faster than updating.
    const FEW: usize = 256;
    for ((best, labels), class) in best.chunks_mut(FEW).zip(labels.chunks_mut(FEW)).zip(class.chunks(FEW)) {
        // Counting instead of searching avoids branches, so the loop vectorises.
        if best.iter().zip(class).map(|(best, value)| u16::from(value > best)).sum::<u16>() == 0 {
            continue;
        }
        for ((best, label), &value) in best.iter_mut().zip(labels).zip(class) {
            let larger = value > *best;
            *best = if larger { value } else { *best };
            *label = if larger { k } else { *label };
        }
    }
}

/// Turns logits `[k, d, h, w]` into probabilities in place: `p_k = exp(l_k - m) / sum_j exp(l_j - m)`, `m` the largest.
///
/// It is computed in f64 and rounded once, so each value is within one f32 rounding of the exact softmax.
///
/// # Panics
/// There is no class, or `values` does not divide into `classes` volumes.
pub fn softmax(values: &mut [f32], classes: usize) {
    map_voxels(values, classes, |scores| {
        log_sum_exp(scores);
    });
}

/// Returns `ln sum exp` of some numbers and replaces them by their softmax.
pub(crate) fn log_sum_exp(values: &mut [f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    for value in values.iter_mut() {
        *value /= sum;
    }
    largest + sum.ln()
}

/// Replaces the scores of each voxel of a volume `[k, d, h, w]` in place, without copying the volume; `map` receives
/// the scores of a voxel in class order and overwrites them.
#[expect(clippy::cast_possible_truncation, reason = "scores are stored in 32 bits")]
pub(crate) fn map_voxels(values: &mut [f32], classes: usize, map: impl Fn(&mut [f64]) + Sync) {
    let voxels = Probabilities::new(values, classes).voxels();
    let mut blocks: Vec<Vec<&mut [f32]>> = (0..voxels.div_ceil(BLOCK)).map(|_| Vec::with_capacity(classes)).collect();
    for class in values.chunks_mut(voxels.max(1)) {
        for (block, part) in class.chunks_mut(BLOCK).enumerate() {
            blocks[block].push(part);
        }
    }
    blocks.par_iter_mut().for_each(|rows| {
        let mut scores = vec![0.0_f64; classes];
        for i in 0..rows[0].len() {
            for (score, row) in scores.iter_mut().zip(rows.iter()) {
                *score = f64::from(row[i]);
            }
            map(&mut scores);
            for (score, row) in scores.iter().zip(rows.iter_mut()) {
                row[i] = *score as f32;
            }
        }
    });
}

/// A named structure: one label, or the union of several.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Structure {
    /// Name used in reports.
    pub name: String,
    /// The labels that belong to it.
    pub labels: Vec<Label>,
}

impl Structure {
    /// The structure of a single label, named after its number.
    pub fn single(label: Label) -> Self {
        Self { name: label.to_string(), labels: vec![label] }
    }

    /// The nested regions of BraTS from the labels 1 (necrosis), 2 (oedema), 3 (enhancing): ET = 3, TC = 1 or 3,
    /// WT = 1, 2 or 3.
    pub fn brats() -> [Self; 3] {
        let region = |name: &str, labels: &[Label]| Self { name: name.into(), labels: labels.into() };
        [region("ET", &[3]), region("TC", &[1, 3]), region("WT", &[1, 2, 3])]
    }

    /// Whether a label belongs to the structure.
    pub fn contains(&self, label: Label) -> bool {
        self.labels.contains(&label)
    }

    /// The voxels of a label map that belong to the structure.
    pub fn mask(&self, labels: &[Label]) -> Vec<bool> {
        match *self.labels.as_slice() {
            [only] => labels.par_iter().map(|&label| label == only).collect(),
            _ => labels.par_iter().map(|&label| self.contains(label)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argmax_takes_the_first_of_equals() {
        let values = [0.5, 0.2, 0.5, 0.3, 0.0, 0.5];
        assert_eq!(Probabilities::new(&values, 3).argmax(), [0, 2]);
    }

    #[test]
    fn softmax_of_one_and_three() {
        let mut values = vec![0.0, 2.0, 3.0_f32.ln(), 2.0];
        softmax(&mut values, 2);
        let close = |a: f32, b: f32| (a - b).abs() < 1e-7;
        assert!(close(values[0], 0.25) && close(values[2], 0.75), "{values:?}");
        assert_eq!((values[1], values[3]), (0.5, 0.5));
    }

    #[test]
    fn diagonal_is_the_longest_distance() {
        let grid = Grid::new([1, 4, 5], [9.0, 1.0, 1.0]);
        assert_eq!(grid.diagonal(), 5.0);
        assert!(Grid::new(grid.spatial, [1.0, 0.0, 1.0]).checked().is_err());
        // 3 + 1 to the side along the shear, 3 - 1 against it.
        let sheared = Grid::of_steps([1, 2, 2], [[2.0, 0.0, 0.0], [0.0, 4.0, 3.0], [0.0, 0.0, 1.0]]);
        assert_eq!((sheared.spacing, sheared.diagonal()), ([2.0, 5.0, 1.0], 32.0_f64.sqrt()));
        assert!((sheared.shear_degrees() - 36.87).abs() < 0.01);
        let turned = Grid::of_steps([2, 2, 2], [[0.0, 0.0, 2.0], [0.0, 3.0, 0.0], [1.0, 0.0, 0.0]]);
        assert_eq!(turned, Grid::new([2, 2, 2], [2.0, 3.0, 1.0]));
    }

    #[test]
    fn unions_of_labels() {
        let [_, core, whole] = Structure::brats();
        assert_eq!(core.mask(&[0, 1, 2, 3]), [false, true, false, true]);
        assert_eq!(whole.mask(&[0, 1, 2, 3]), [false, true, true, true]);
    }
}
