//! Whether a model is calibrated on average, as far as its cases can tell.
//!
//! Taken from a region whose voxels are chosen without a look at the reference
//! ([`crate::calibration::Region::is_free_of_reference`]): there the true posterior has a confidence as high as its
//! accuracy, but for chance. Given the reference nobody is calibrated: of the voxels whose label is known to be a
//! structure, those that were doubtful before are all structure now.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, Interval};

/// Level of the interval: a calibrated model is called something else once in a hundred.
pub const LEVEL: f64 = 0.99;

/// Number of bootstrap replicates.
const REPLICATES: usize = 10_000;

/// What the excess of confidence over accuracy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The interval holds 0.
    Calibrated,
    /// The interval lies above 0.
    OverConfident,
    /// The interval lies below 0.
    UnderConfident,
    /// There are too few cases for an interval.
    Undecided,
}

impl Call {
    /// As it is said in a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calibrated => "calibrated",
            Self::OverConfident => "over-confident",
            Self::UnderConfident => "under-confident",
            Self::Undecided => "too few cases to tell",
        }
    }
}

/// The excess of confidence over accuracy with its interval, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Mean over cases of confidence less accuracy, with the studentised bootstrap interval over cases at [`LEVEL`].
    pub excess: Interval,
    /// What it says.
    pub call: Call,
}

impl Verdict {
    /// From confidence and accuracy of each case; cases without voxels are NaN and left out.
    ///
    /// # Panics
    /// The two differ in length.
    pub fn new(confidence: &[f64], accuracy: &[f64], seed: u64) -> Self {
        assert_eq!(confidence.len(), accuracy.len(), "paired values");
        let excess: Vec<f64> =
            confidence.iter().zip(accuracy).map(|(confidence, accuracy)| confidence - accuracy).collect();
        let excess = Bootstrap::studentised_mean(&excess, REPLICATES, seed, LEVEL);
        let call = match excess {
            Interval { lower, upper, .. } if !(lower.is_finite() && upper.is_finite()) => Call::Undecided,
            Interval { lower, .. } if lower > 0.0 => Call::OverConfident,
            Interval { upper, .. } if upper < 0.0 => Call::UnderConfident,
            _ => Call::Calibrated,
        };
        Self { excess, call }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_by_hand() {
        let call = |confidence: &[f64]| Verdict::new(confidence, &vec![0.5; confidence.len()], 0).call;
        assert_eq!(call(&[0.61, 0.6, 0.62, 0.59, 0.61]), Call::OverConfident);
        assert_eq!(call(&[0.41, 0.4, 0.42, 0.39, 0.41]), Call::UnderConfident);
        assert_eq!(call(&[0.51, 0.48, 0.52, 0.49, f64::NAN, 0.5]), Call::Calibrated);
        assert_eq!(call(&[0.7]), Call::Undecided);
    }
}
