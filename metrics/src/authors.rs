//! The evaluation of the papers' public code, for comparison with published tables.
//!
//! It is computed per volume and differs from the project's own metrics as follows: only voxels whose reference label
//! is not 0 count; classwise metrics are means over the classes up to the largest label present, and a probability of
//! exactly 0 is in no bin; "TACE" is the thresholded classwise ECE of equal-width bins; HD95 is the pooled one in voxel
//! units; if the reference does not contain the structure, DSC is 1 and HD 0 whatever the prediction, and a missed
//! structure has DSC 0 and HD 0; DSC, ECE, CECE and TACE are rounded to four decimals per volume before the mean over
//! volumes. Bins have f32 edges, as in that code; six of the fifteen differ in the last place, because `torch.linspace`
//! adds steps instead of dividing, so a probability exactly on such an edge may count in the neighbouring bin. Source:
//! the test evaluators of the MbLS/NACL and CRaC repositories.

use serde::{Deserialize, Serialize};

use crate::calibration::{Calibration, Region};
use crate::definitions::metric;
use crate::empty::{Emptiness, Outcome, Policy};
use crate::overlap::Counts;
use crate::surface::{Surface, SurfaceDistances};

/// Calibration metrics of one volume, not rounded; NaN if no voxel has a reference label other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthorsCalibration {
    /// ECE of the largest probability.
    pub ece: f64,
    /// Classwise ECE, mean over the classes up to the largest label present.
    pub cece: f64,
    /// What the authors' code calls TACE, mean over the same classes.
    pub tace: f64,
}

impl AuthorsCalibration {
    /// Computes the metrics from the state of one volume; the papers use 15 bins.
    pub fn new(volume: &Calibration) -> Self {
        let region = volume.region(Region::Foreground);
        let (cece, tace) = region.authors_classwise();
        Self { ece: region.ece(), cece, tace }
    }

    /// Rounds to four decimals, as the authors' code stores it.
    #[must_use]
    pub fn rounded(self) -> Self {
        Self { ece: four_decimals(self.ece), cece: four_decimals(self.cece), tace: four_decimals(self.tace) }
    }
}

/// Segmentation metrics of one structure in one volume, as the authors' code stores them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthorsSegmentation {
    /// DSC, rounded to four decimals.
    pub dsc: f64,
    /// Pooled HD95 in voxel units.
    pub hd95: f64,
}

impl AuthorsSegmentation {
    /// Computes the metrics from the counts of a structure and its surfaces, measured on
    /// [`crate::volume::Grid::voxel_units`].
    pub fn new(counts: &Counts, surface: &Surface) -> Self {
        // The authors' rule for empty masks never uses the diagonal.
        let papers = |key: &str, outcome: Outcome| {
            metric(key).map_or(f64::NAN, |metric| Policy::Papers.resolve(outcome, metric, f64::NAN))
        };
        Self {
            dsc: four_decimals(papers("dsc", counts.dsc())),
            hd95: papers("hd95_pooled", surface.figure(SurfaceDistances::hd95_pooled)),
        }
    }

    /// The metrics of a structure that is absent from both maps.
    pub fn of_nothing() -> Self {
        Self::new(&Counts::default(), &Surface::Empty(Emptiness::Both))
    }
}

/// Rounds like Python's `round(x, 4)`, up to the last place of the product.
pub fn four_decimals(x: f64) -> f64 {
    (x * 1e4).round_ties_even() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Probabilities;

    #[test]
    fn the_rules_for_empty_masks() {
        let missed = Counts { false_negative: 1, ..Counts::default() };
        let invented = Counts { false_positive: 1, ..Counts::default() };
        let figures = |counts: &Counts| AuthorsSegmentation::new(counts, &Surface::Empty(counts.emptiness()));
        assert_eq!(figures(&missed), AuthorsSegmentation { dsc: 0.0, hd95: 0.0 });
        assert_eq!(figures(&invented), AuthorsSegmentation { dsc: 1.0, hd95: 0.0 });
        assert_eq!(AuthorsSegmentation::of_nothing(), AuthorsSegmentation { dsc: 1.0, hd95: 0.0 });
    }

    /// Two foreground voxels, both with label 1, and three classes: class 2 is above the largest label present.
    #[test]
    fn classwise_figures_stop_at_the_largest_label() {
        let values = [0.0, 0.25, 0.75, 0.75, 0.25, 0.0];
        let mut state = Calibration::new(3, 15);
        state.add(Probabilities::new(&values, 3), &[1, 1], None).unwrap();
        let figures = AuthorsCalibration::new(&state);
        // Class 0: its zero is in no bin, 0.25 has weight 1/2. Class 1: both 0.75, correct.
        assert_eq!(figures.cece, f64::midpoint(0.125, 0.25));
        // Class 0 retains one voxel of two.
        assert_eq!(figures.tace, 0.25);
        assert_eq!(figures.ece, 0.25);
        let nothing = AuthorsCalibration::new(&Calibration::new(3, 15));
        assert!(nothing.cece.is_nan() && nothing.ece.is_nan());
        assert_eq!(AuthorsCalibration { ece: 0.12345, cece: 0.12344, tace: 1.0 }.rounded().cece, 0.1234);
    }
}
