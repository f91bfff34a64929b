//! Post-hoc calibration: maps fitted on held-out logits that recalibrate a finished model.
//!
//! | map | parameters | preserves the label |
//! |---|---|---|
//! | [`Temperature`] | one | yes |
//! | [`ClassTemperature`] | one per class | no |
//! | [`VectorScaling`] | scale and bias per class | no |
//! | [`Platt`] | slope and intercept per class, one against the rest | no |
//! | [`Isotonic`] | a step-wise increasing function per class, one against the rest | no |
//!
//! Each map is a small serde struct with `fit`, which takes [`Samples`], and `apply`, which transforms a volume.
//! Samples are streamed in chunks, as often as the fit needs, so a cohort never has to be in memory; the caller selects
//! the voxels (region, held-out cases). Fits are deterministic: sums are added in a fixed order, whatever the number of
//! threads.
//!
//! Every map takes logits `[k, d, h, w]`; [`logits_of`] computes them from stored probabilities.

mod isotonic;
mod newton;
mod platt;
mod temperature;
mod vector;

pub use isotonic::{Isotonic, StepFunction};
pub use newton::Fit;
pub use platt::Platt;
pub use temperature::Temperature;
pub use vector::{ClassTemperature, VectorScaling};

use segcal_core::{Error, Result};

use crate::overlap::within;
use crate::volume::{Label, Probabilities};

/// A chunk of voxels with known labels.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    logits: Probabilities<'a>,
    labels: &'a [Label],
}

impl<'a> Chunk<'a> {
    /// Creates a chunk from logits `[k, n]` (or `[k, d, h, w]`) and their `n` reference labels.
    ///
    /// # Errors
    /// A label is not below the number of classes, or a logit is NaN or infinite.
    ///
    /// # Panics
    /// The sizes do not match.
    pub fn new(logits: &'a [f32], labels: &'a [Label], classes: usize) -> Result<Self> {
        let logits = Probabilities::new(logits, classes);
        assert_eq!(logits.voxels(), labels.len(), "logits and labels");
        within(labels, classes, None)?;
        match logits.values().iter().find(|value| !value.is_finite()) {
            None => Ok(Self { logits, labels }),
            Some(value) => Err(Error::new(format!("a logit is {value}")).help("repair or exclude the case")),
        }
    }

    /// The reference labels.
    pub const fn labels(&self) -> &'a [Label] {
        self.labels
    }

    /// The logits, class by class.
    pub const fn logits(&self) -> Probabilities<'a> {
        self.logits
    }

    /// Copies the logits of one voxel.
    fn read(&self, voxel: usize, into: &mut [f64]) {
        for (k, value) in into.iter_mut().enumerate() {
            *value = f64::from(self.logits.values()[k * self.labels.len() + voxel]);
        }
    }
}

/// The source of the voxels of a fit: memory, or files that are read again for each pass.
pub trait Samples {
    /// Number of classes.
    fn classes(&self) -> usize;

    /// Calls `visitor` with every chunk, in the same order each time.
    ///
    /// # Errors
    /// A chunk cannot be read.
    fn visit(&mut self, visitor: &mut dyn FnMut(Chunk<'_>)) -> Result<()>;
}

/// Samples that are in memory.
#[derive(Clone, Debug)]
pub struct InMemory<'a> {
    classes: usize,
    chunks: Vec<Chunk<'a>>,
}

impl<'a> InMemory<'a> {
    /// Creates samples from chunks with the same number of classes.
    ///
    /// # Panics
    /// A chunk has a different number of classes.
    pub fn new(classes: usize, chunks: Vec<Chunk<'a>>) -> Self {
        assert!(chunks.iter().all(|chunk| chunk.logits.classes() == classes), "chunks of {classes} classes");
        Self { classes, chunks }
    }
}

impl Samples for InMemory<'_> {
    fn classes(&self) -> usize {
        self.classes
    }

    fn visit(&mut self, visitor: &mut dyn FnMut(Chunk<'_>)) -> Result<()> {
        self.chunks.iter().for_each(|&chunk| visitor(chunk));
        Ok(())
    }
}

/// Replaces probabilities by logits whose softmax gives these probabilities: `ln p`, where `p` below 2^-126 counts as
/// 2^-126.
pub fn logits_of(probabilities: &mut [f32]) {
    use rayon::prelude::*;
    probabilities.par_iter_mut().for_each(|p| *p = p.max(f32::MIN_POSITIVE).ln());
}

/// Replaces independent probabilities by logits whose sigmoid gives these probabilities: `ln p - ln(1 - p)`, where `p`
/// and `1 - p` below 2^-126 count as 2^-126.
#[expect(clippy::cast_possible_truncation, reason = "logits are stored in 32 bits")]
pub fn log_odds_of(probabilities: &mut [f32]) {
    use rayon::prelude::*;
    let ln = |p: f64| p.max(f64::from(f32::MIN_POSITIVE)).ln();
    probabilities.par_iter_mut().for_each(|p| *p = (ln(f64::from(*p)) - ln(1.0 - f64::from(*p))) as f32);
}

/// Number of voxels whose label differs between two label maps.
///
/// # Panics
/// The maps differ in length.
pub fn changed_labels(before: &[Label], after: &[Label]) -> usize {
    assert_eq!(before.len(), after.len(), "label maps");
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

/// Divides non-negative scores by their sum; if all are 0, the result is uniform.
fn to_shares(scores: &mut [f64]) {
    let sum: f64 = scores.iter().sum();
    let uniform = (scores.len() as f64).recip();
    for score in scores {
        *score = if sum > 0.0 { *score / sum } else { uniform };
    }
}

#[cfg(test)]
mod tests;
