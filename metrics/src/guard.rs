//! Detects whether an array holds probabilities or logits: evidence from one pass, and a verdict with its reason.

use std::fmt;

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::scan::{self, Scan, chunks};
use crate::volume::{BLOCK, Label, Probabilities};

/// Largest deviation from 1 of the sum over the classes of a voxel: half a step of 8-bit storage for each of five
/// classes. Values that are stored in 8 bits may deviate by half a step per class, whatever the number of classes.
const SUM_TOLERANCE: f64 = 1e-2;

/// Half a step of 8-bit storage of probabilities.
const HALF_STEP: f64 = 0.5 / 255.0;

/// Share of voxels that must agree before the array is classified as a kind; applies to the whole, to each structure
/// and to each predicted class.
const NEARLY_ALL: f64 = 0.999;

/// The whole numbers that represent a probability of 1: percent, 8 bits, 16 bits.
const FULL_SCALES: [f64; 3] = [100.0, 255.0, 65535.0];

/// Statistics collected in one pass over an array `[k, d, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Number of classes.
    pub classes: usize,
    /// Number of voxels.
    pub voxels: u64,
    /// Voxels with a NaN or infinite value.
    pub not_finite: u64,
    /// Smallest finite value.
    pub smallest: f32,
    /// Largest finite value.
    pub largest: f32,
    /// Voxels with a value outside [0, 1] by more than 1e-3.
    pub outside: u64,
    /// Largest accepted deviation of a sum from 1: 0.01, or half a step of 8-bit storage for each class if that is
    /// more.
    pub tolerance: f64,
    /// Whether every value is a whole number.
    pub whole: bool,
    /// Voxels whose values sum to 1 within the tolerance.
    pub sum_to_one: u64,
    /// Voxels whose exponentials sum to 1 within 1e-2: log-probabilities.
    pub exp_sum_to_one: u64,
    /// Voxels where every value is exactly 0 or 1.
    pub saturated: u64,
    /// Smallest sum over the classes of a voxel.
    pub smallest_sum: f64,
    /// Largest sum over the classes of a voxel.
    pub largest_sum: f64,
}

/// The kind of an array of class scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Values in [0, 1] that sum to 1 over the classes.
    Probabilities,
    /// Exactly 0 or 1 everywhere: a one-hot segmentation, without confidence.
    OneHot,
    /// Values in [0, 1] that do not sum to 1: independent sigmoid outputs.
    Independent,
    /// Values in [0, 1] that sum to less than 1 in many voxels and to more in none: padded with zeros, or without the
    /// background class.
    Incomplete,
    /// Values outside [0, 1] whose exponentials sum to 1.
    LogProbabilities,
    /// Non-negative values whose sum is the same in every voxel, but not 1; or whole numbers up to 100, 255 or 65535:
    /// percentages, or 8-bit or 16-bit numbers without their scale factor.
    Scaled,
    /// Values outside [0, 1].
    Logits,
    /// Contains NaN or infinity.
    Broken,
}

/// A verdict and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The kind of the array.
    pub kind: Kind,
    /// The reason, with numbers.
    pub reason: String,
}

impl Evidence {
    /// Collects the evidence in one pass over the voxels.
    pub fn new(scores: Probabilities<'_>) -> Self {
        let first = Self::within(scores, SUM_TOLERANCE);
        let wide = HALF_STEP * scores.classes() as f64 + 1e-6;
        let short = first.sum_to_one < first.voxels && first.outside == 0;
        if short && wide > SUM_TOLERANCE && stored_in_8_bits(scores) { Self::within(scores, wide) } else { first }
    }

    fn within(scores: Probabilities<'_>, tolerance: f64) -> Self {
        let voxels = scores.voxels();
        let blocks = (0..voxels.div_ceil(BLOCK)).into_par_iter();
        let parts = blocks.map(|block| {
            let (mut part, mut scan) = (Self::nothing(scores.classes(), tolerance), Scan::default());
            for at in chunks(block * BLOCK..((block + 1) * BLOCK).min(voxels)) {
                scan.read(scores, &at, &mut part.whole);
                part.add(&scan);
                // Log-probabilities are never positive.
                let exps = scan.exponentials(scores, &at, |it, i| it.sums[i].is_finite() && it.high[i] <= 1e-3);
                part.exp_sum_to_one += exps.iter().filter(|&sum| (sum - 1.0).abs() <= SUM_TOLERANCE).count() as u64;
            }
            part
        });
        parts.reduce(|| Self::nothing(scores.classes(), tolerance), Self::merge)
    }

    const fn nothing(classes: usize, tolerance: f64) -> Self {
        Self {
            classes,
            tolerance,
            whole: true,
            voxels: 0,
            not_finite: 0,
            smallest: f32::INFINITY,
            largest: f32::NEG_INFINITY,
            outside: 0,
            sum_to_one: 0,
            exp_sum_to_one: 0,
            saturated: 0,
            smallest_sum: f64::INFINITY,
            largest_sum: f64::NEG_INFINITY,
        }
    }

    fn add(&mut self, scan: &Scan) {
        let ranges = scan.low.iter().zip(&scan.high).zip(&scan.saturated);
        for (&sum, ((&low, &high), &saturated)) in scan.sums.iter().zip(ranges) {
            self.voxels += 1;
            if !sum.is_finite() {
                self.not_finite += 1;
                continue;
            }
            (self.smallest, self.largest) = (self.smallest.min(low), self.largest.max(high));
            self.smallest_sum = self.smallest_sum.min(sum);
            self.largest_sum = self.largest_sum.max(sum);
            self.outside += u64::from(low < -1e-3 || high > 1.0 + 1e-3);
            self.sum_to_one += u64::from((sum - 1.0).abs() <= self.tolerance);
            self.saturated += u64::from(saturated);
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.voxels += other.voxels;
        self.whole &= other.whole;
        self.not_finite += other.not_finite;
        self.smallest = self.smallest.min(other.smallest);
        self.largest = self.largest.max(other.largest);
        self.outside += other.outside;
        self.sum_to_one += other.sum_to_one;
        self.exp_sum_to_one += other.exp_sum_to_one;
        self.saturated += other.saturated;
        self.smallest_sum = self.smallest_sum.min(other.smallest_sum);
        self.largest_sum = self.largest_sum.max(other.largest_sum);
        self
    }

    fn nearly_all(&self, count: u64) -> bool {
        nearly_all(count, self.voxels)
    }

    /// The number that represents a probability of 1, if all values are whole numbers up to 100, 255 or 65535, with or
    /// without the background class.
    pub fn full_scale(&self) -> Option<f64> {
        let rounding = 0.5 * self.classes as f64;
        let reached = |&scale: &f64| self.largest_sum >= 0.9 * scale && self.largest_sum <= scale + rounding;
        let scaled = self.whole && self.not_finite == 0 && self.smallest >= 0.0;
        FULL_SCALES.into_iter().find(reached).filter(|_| scaled)
    }

    /// Classifies the array and gives the reason.
    pub fn verdict(&self) -> Verdict {
        let range = format!("values from {} to {}", self.smallest, self.largest);
        let percent = |count: u64| 100.0 * count as f64 / self.voxels as f64;
        let sums = format!("{:.1} % of the voxels sum to 1", percent(self.sum_to_one));
        let (kind, reason) = if self.not_finite > 0 {
            (Kind::Broken, format!("{} of {} voxels contain NaN or infinity", self.not_finite, self.voxels))
        } else if let Some(scale) = self.full_scale() {
            let sums = format!("{:.0} to {:.0}", self.smallest_sum, self.largest_sum);
            (Kind::Scaled, format!("whole {range}; their sums range from {sums}, where {scale} represents 1"))
        } else if self.outside > 0 && self.smallest >= 0.0 && self.largest_sum <= 1.02 * self.smallest_sum {
            (
                Kind::Scaled,
                format!("{range}; their sums range from {:.4} to {:.4}", self.smallest_sum, self.largest_sum),
            )
        } else if self.outside > 0 && self.nearly_all(self.exp_sum_to_one) {
            (Kind::LogProbabilities, format!("{range}, and the exponentials sum to 1"))
        } else if self.outside > 0 {
            (Kind::Logits, format!("{range}: {} voxels lie outside [0, 1]; {sums}", self.outside))
        } else if !self.nearly_all(self.sum_to_one) && self.largest_sum <= 1.0 + self.tolerance {
            (Kind::Incomplete, format!("{range}, but only {sums}; the others sum to less"))
        } else if !self.nearly_all(self.sum_to_one) {
            (Kind::Independent, format!("{range}, but only {sums}"))
        } else if self.saturated == self.voxels {
            (Kind::OneHot, format!("{range}: every value is exactly 0 or 1"))
        } else {
            (Kind::Probabilities, format!("{range}; {sums}; {:.1} % are exactly 0 or 1", percent(self.saturated)))
        };
        Verdict { kind, reason }
    }

    /// Checks that an array passed as probabilities holds probabilities.
    ///
    /// # Errors
    /// It is something else: logits, log-probabilities, sigmoid outputs, or not finite. A one-hot segmentation passes,
    /// because its values are probabilities; use [`Evidence::verdict`] to warn about it.
    pub fn expect_probabilities(&self) -> Result<()> {
        let Verdict { kind, reason } = self.verdict();
        match kind.remedy() {
            None => Ok(()),
            Some(remedy) => Err(Error::new(format!("these are {kind}, not probabilities: {reason}")).help(remedy)),
        }
    }

    /// Checks the probabilities of a case as a whole, within each structure of the reference and within each predicted
    /// class: a rare structure may be invalid everywhere and still be less than a thousandth of the voxels. Returns the
    /// number of voxels, at most a thousandth of each part, that do not sum to 1 and are tolerated. Reference labels
    /// without a class (that of ignored voxels) are not checked.
    ///
    /// # Errors
    /// As [`Evidence::expect_probabilities`], for the whole or for a part.
    pub fn expect_parts(&self, scores: Probabilities<'_>, reference: Option<&[Label]>) -> Result<u64> {
        self.expect_probabilities()?;
        let off = self.voxels - self.sum_to_one;
        if off == 0 {
            return Ok(0);
        }
        let predicted = scores.argmax();
        self.expect_part(scores, &predicted, "predicted as class")?;
        if let Some(reference) = reference {
            self.expect_part(scores, reference, "of structure")?;
        }
        Ok(off)
    }

    fn expect_part(&self, scores: Probabilities<'_>, labels: &[Label], what: &str) -> Result<()> {
        let nothing = || vec![[0_u64; 3]; self.classes];
        let blocks = (0..labels.len().div_ceil(BLOCK)).into_par_iter();
        let counted = blocks.fold(nothing, |mut counts, block| {
            let mut sums = Vec::new();
            for at in chunks(block * BLOCK..((block + 1) * BLOCK).min(labels.len())) {
                scan::sums(scores, &at, &mut sums);
                for (&label, &sum) in labels[at].iter().zip(&sums) {
                    let Some([all, below, above]) = counts.get_mut(usize::from(label)) else { continue };
                    *all += 1;
                    *below += u64::from(sum < 1.0 - self.tolerance);
                    *above += u64::from(sum > 1.0 + self.tolerance);
                }
            }
            counts
        });
        let counts = counted.reduce(nothing, |mut a, b| {
            a.iter_mut().flatten().zip(b.into_iter().flatten()).for_each(|(own, new)| *own += new);
            a
        });
        for (label, [all, below, above]) in counts.into_iter().enumerate() {
            if !nearly_all(all - below - above, all) {
                let kind = if above > 0 { Kind::Independent } else { Kind::Incomplete };
                let off = below + above;
                let problem = format!(
                    "these are {kind}, not probabilities: {off} of the {all} voxels {what} {label} do not sum to 1"
                );
                return Err(Error::new(problem).help(kind.remedy().unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// Checks that an array passed as logits can be logits.
    ///
    /// # Errors
    /// It is not finite, or its values already are (scaled) probabilities.
    pub fn expect_logits(&self) -> Result<()> {
        let Verdict { kind, reason } = self.verdict();
        let remedy = match kind {
            Kind::Logits | Kind::LogProbabilities | Kind::Independent | Kind::Incomplete => return Ok(()),
            Kind::Probabilities | Kind::OneHot => "give them with --probabilities",
            Kind::Scaled => {
                "divide them by their sum and give them with --probabilities; if the background class is missing, add --background implied"
            }
            Kind::Broken => "repair or exclude the case",
        };
        Err(Error::new(format!("these are {kind}, not logits: {reason}")).help(remedy))
    }
}

impl Kind {
    /// How to turn the array into probabilities; `None` if it already holds them.
    const fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::Probabilities | Self::OneHot => return None,
            Self::Logits => "give them with --logits",
            Self::Scaled => "divide them by their sum; if the background class is missing, add --background implied",
            Self::LogProbabilities => "give them with --logits: the softmax of log-probabilities is the probabilities",
            Self::Independent => {
                "add a background class and normalise over the classes; sigmoid outputs of overlapping regions need a \
                 dataset.json that names the regions and regions_class_order (--dataset)"
            }
            Self::Incomplete => {
                "set the background to 1 minus the sum of the other classes, in padded voxels too; if the background class \
                 is missing, add --background implied"
            }
            Self::Broken => "repair or exclude the case",
        })
    }
}

fn nearly_all(count: u64, of: u64) -> bool {
    count as f64 >= NEARLY_ALL * of as f64
}

/// Whether every value is a multiple of 1/255.
fn stored_in_8_bits(scores: Probabilities<'_>) -> bool {
    scores.values().par_iter().all(|&value| {
        let steps = f64::from(value) * 255.0;
        (steps - steps.round()).abs() < 1e-3
    })
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probabilities => "probabilities",
            Self::OneHot => "a one-hot segmentation",
            Self::Independent => "independent (sigmoid) outputs",
            Self::Incomplete => "incomplete probabilities",
            Self::LogProbabilities => "log-probabilities",
            Self::Scaled => "scaled probabilities",
            Self::Logits => "logits",
            Self::Broken => "values with NaN or infinity",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(values: &[f32]) -> Evidence {
        Evidence::new(Probabilities::new(values, 2))
    }

    #[test]
    fn every_kind() {
        let cases: [(&[f32], Kind); 8] = [
            (&[0.3, 1.0, 0.7, 0.0], Kind::Probabilities),
            (&[0.0, 1.0, 1.0, 0.0], Kind::OneHot),
            (&[0.3, 0.9, 0.3, 0.9], Kind::Independent),
            (&[0.3, 0.0, 0.7, 0.0], Kind::Incomplete),
            (&[0.25_f32.ln(), 0.1_f32.ln(), 0.75_f32.ln(), 0.9_f32.ln()], Kind::LogProbabilities),
            (&[-3.0, 2.0, 3.0, -2.0], Kind::Logits),
            (&[30.0, 100.0, 70.0, 0.0], Kind::Scaled),
            (&[0.3, f32::NAN, 0.7, 0.5], Kind::Broken),
        ];
        for (values, kind) in cases {
            let evidence = evidence(values);
            assert_eq!(evidence.verdict().kind, kind, "{evidence:?}");
            let accepted = matches!(kind, Kind::Probabilities | Kind::OneHot);
            assert_eq!(evidence.expect_probabilities().is_ok(), accepted, "{kind}");
            let logits = matches!(kind, Kind::Logits | Kind::LogProbabilities | Kind::Independent | Kind::Incomplete);
            assert_eq!(evidence.expect_logits().is_ok(), logits, "{kind}");
        }
    }

    #[test]
    fn probabilities_stored_in_8_bits_pass() {
        let stored = |p: f32| (p * 255.0).round() / 255.0;
        let p: Vec<f32> = (0..200).map(|i| i as f32 / 199.0).collect();
        let values: Vec<f32> = p.iter().map(|&p| stored(p)).chain(p.iter().map(|&p| stored(1.0 - p))).collect();
        assert_eq!(evidence(&values).verdict().kind, Kind::Probabilities);
    }

    #[test]
    fn the_message_names_the_remedy() {
        let error = evidence(&[-3.0, 2.0, 3.0, -2.0]).expect_probabilities().unwrap_err().to_string();
        assert!(error.contains("logits") && error.contains("-3 to 3") && error.contains("--logits"), "{error}");
    }
}
