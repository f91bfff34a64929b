//! Whether a model is calibrated on average, judged from its cases.
//!
//! The verdict uses a region that is selected independently of the reference
//! ([`crate::calibration::Region::is_free_of_reference`]): there the confidence of the true posterior equals its
//! accuracy, up to chance. Conditional on the reference even the true posterior is not calibrated: among voxels whose
//! reference label is a structure, the uncertain ones all belong to the structure as well.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, Interval};

/// Level of the interval: a calibrated model gets another verdict once in a hundred.
pub const LEVEL: f64 = 0.99;

/// Number of bootstrap replicates.
const REPLICATES: usize = 10_000;

/// The verdict about the excess of confidence over accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The interval contains 0.
    Calibrated,
    /// The interval is above 0.
    OverConfident,
    /// The interval is below 0.
    UnderConfident,
    /// There are too few cases for an interval.
    Undecided,
}

impl Call {
    /// The wording used in a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calibrated => "calibrated",
            Self::OverConfident => "over-confident",
            Self::UnderConfident => "under-confident",
            Self::Undecided => "too few cases to tell",
        }
    }
}

/// The excess of confidence over accuracy with its interval, and the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Mean over cases of confidence minus accuracy, with the studentised bootstrap interval over cases at [`LEVEL`].
    pub excess: Interval,
    /// The verdict.
    pub call: Call,
}

impl Verdict {
    /// Computes the verdict from the confidence and accuracy of each case; cases without voxels are NaN and are
    /// ignored.
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
