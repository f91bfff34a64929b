//! Post-hoc calibration: maps fitted on held-out logits that recalibrate a finished model.
//!
//! | map | parameters | keeps the label |
//! |---|---|---|
//! | [`Temperature`] | one | yes |
//! | [`ClassTemperature`] | one per class | no |
//! | [`VectorScaling`] | scale and bias per class | no |
//! | [`Platt`] | slope and intercept per class, one against the rest | no |
//! | [`Isotonic`] | a step-wise increasing function per class, one against the rest | no |
//!
//! Each is a small serde struct with `fit` on [`Samples`] and `apply` to a volume. Samples are streamed in chunks, as
//! often as the fit needs, so a cohort never has to be in memory; the caller decides which voxels (region, held-out
//! cases) they are. Fits are deterministic: sums run in a fixed order, whatever the number of threads.
//!
//! Every map works on logits `[k, d, h, w]`; [`logits_of`] makes them of stored probabilities.

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

/// Some voxels with known labels.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    logits: Probabilities<'a>,
    labels: &'a [Label],
}

impl<'a> Chunk<'a> {
    /// Logits `[k, n]` (or `[k, d, h, w]`) and their `n` reference labels.
    ///
    /// # Errors
    /// A label is not below the number of classes, or a logit is NaN or infinite.
    ///
    /// # Panics
    /// The sizes do not fit.
    pub fn new(logits: &'a [f32], labels: &'a [Label], classes: usize) -> Result<Self> {
        let logits = Probabilities::new(logits, classes);
        assert_eq!(logits.voxels(), labels.len(), "logits and labels");
        within(labels, classes, None)?;
        match logits.values().iter().find(|value| !value.is_finite()) {
            None => Ok(Self { logits, labels }),
            Some(value) => Err(Error::new(format!("a logit is {value}")).help("repair or leave out the case")),
        }
    }

    /// The reference labels.
    pub const fn labels(&self) -> &'a [Label] {
        self.labels
    }

    /// The logits, class after class.
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

/// Where the voxels of a fit come from: memory, or files read again for each pass.
pub trait Samples {
    /// Number of classes.
    fn classes(&self) -> usize;

    /// Shows every chunk, in the same order each time.
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
    /// From chunks of the same number of classes.
    ///
    /// # Panics
    /// A chunk has another number of classes.
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

/// Logits whose softmax are the given probabilities: `ln p`, with `p` below 2^-126 as 2^-126. In place.
pub fn logits_of(probabilities: &mut [f32]) {
    use rayon::prelude::*;
    probabilities.par_iter_mut().for_each(|p| *p = p.max(f32::MIN_POSITIVE).ln());
}

/// Logits whose sigmoid are the given probabilities, each of which is a problem of its own: `ln p - ln(1 - p)`, with `p` and
/// `1 - p` below 2^-126 as 2^-126. In place.
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

/// Divides scores of at least 0 by their sum; where all are 0 there is nothing to tell the classes apart.
fn to_shares(scores: &mut [f64]) {
    let sum: f64 = scores.iter().sum();
    let uniform = (scores.len() as f64).recip();
    for score in scores {
        *score = if sum > 0.0 { *score / sum } else { uniform };
    }
}

#[cfg(test)]
mod tests;
