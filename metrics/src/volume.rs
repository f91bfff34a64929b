//! Volumes as flat slices: grids, labels, probabilities.
//!
//! A volume is a slice in `[d, h, w]` order, `w` fastest; class probabilities are a slice in `[k, d, h, w]` order. The
//! extents and the voxel size travel beside it in a [`Grid`], in the same order.

use rayon::prelude::*;
use segcal_core::{Error, Result};

/// A reference or predicted label: 0 is the background, `k` the k-th structure.
pub type Label = u16;

/// Voxels per task of the parallel loops. Fixed, so that sums do not depend on the number of threads.
pub(crate) const BLOCK: usize = 1 << 16;

/// Extents and voxel size of a volume, both in `[d, h, w]` order. 2-D data has `d = 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Number of voxels along `[d, h, w]`.
    pub spatial: [usize; 3],
    /// Voxel size along `[d, h, w]` in millimetres.
    pub spacing_mm: [f64; 3],
}

impl Grid {
    /// A grid with voxels of size 1, so that distances come out in voxel units.
    pub const fn voxel_units(spatial: [usize; 3]) -> Self {
        Self { spatial, spacing_mm: [1.0; 3] }
    }

    /// Number of voxels.
    pub const fn voxels(&self) -> usize {
        self.spatial[0] * self.spatial[1] * self.spatial[2]
    }

    /// Distance between the centres of opposite corner voxels, in mm: no distance inside the grid is longer.
    pub fn diagonal_mm(&self) -> f64 {
        let side = |axis: usize| (self.spatial[axis].saturating_sub(1)) as f64 * self.spacing_mm[axis];
        (0..3).map(|axis| side(axis).powi(2)).sum::<f64>().sqrt()
    }

    /// The grid, if its voxel sizes are usable.
    ///
    /// # Errors
    /// A voxel size is not a positive finite number.
    pub fn checked(self) -> Result<Self> {
        match self.spacing_mm.iter().find(|size| !(size.is_finite() && **size > 0.0)) {
            None => Ok(self),
            Some(size) => Err(Error::new(format!("voxel size {size} mm is not a positive number"))
                .help("correct the header, or give the voxel size by hand")),
        }
    }
}

/// Class probabilities of one volume, `[k, d, h, w]`.
#[derive(Clone, Copy, Debug)]
pub struct Probabilities<'a> {
    values: &'a [f32],
    classes: usize,
}

impl<'a> Probabilities<'a> {
    /// Reads `values` as `classes` volumes one after the other.
    ///
    /// # Panics
    /// There is no class, or `values` does not divide into that many volumes.
    pub fn new(values: &'a [f32], classes: usize) -> Self {
        assert!(classes > 0 && values.len().is_multiple_of(classes), "{} values, {classes} classes", values.len());
        Self { values, classes }
    }

    /// Number of classes `k`, the background among them.
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// Number of voxels of one class.
    pub const fn voxels(&self) -> usize {
        self.values.len() / self.classes
    }

    /// All values, class after class.
    pub const fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The volume of class `k`.
    pub fn class(&self, k: usize) -> &'a [f32] {
        &self.values[k * self.voxels()..(k + 1) * self.voxels()]
    }

    /// The class of largest probability at each voxel; of equals the first. Works for logits too.
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

/// Where `class` is larger than `best`, takes it and its label.
pub(crate) fn raise(best: &mut [f32], labels: &mut [Label], class: &[f32], k: Label) {
    for ((best, label), &value) in best.iter_mut().zip(labels).zip(class) {
        let larger = value > *best;
        *best = if larger { value } else { *best };
        *label = if larger { k } else { *label };
    }
}

/// Turns logits `[k, d, h, w]` into probabilities in place: `p_k = exp(l_k - m) / sum_j exp(l_j - m)`, `m` the largest.
///
/// Computed in f64 and rounded once, so each value is within one f32 rounding of the exact softmax.
///
/// # Panics
/// There is no class, or `values` does not divide into `classes` volumes.
pub fn softmax(values: &mut [f32], classes: usize) {
    map_voxels(values, classes, |scores| {
        log_sum_exp(scores);
    });
}

/// `ln sum exp` of some numbers, which become their softmax.
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

/// Replaces the scores of each voxel of a volume `[k, d, h, w]` in place, without a copy of the volume; `map` gets them in
/// class order and overwrites them.
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
    /// Name in reports.
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
        let grid = Grid { spatial: [1, 4, 5], spacing_mm: [9.0, 1.0, 1.0] };
        assert_eq!(grid.diagonal_mm(), 5.0);
        assert!(Grid { spacing_mm: [1.0, 0.0, 1.0], ..grid }.checked().is_err());
    }

    #[test]
    fn unions_of_labels() {
        let [_, core, whole] = Structure::brats();
        assert_eq!(core.mask(&[0, 1, 2, 3]), [false, true, false, true]);
        assert_eq!(whole.mask(&[0, 1, 2, 3]), [false, true, true, true]);
    }
}
