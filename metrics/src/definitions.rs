//! The table of metrics: key, title, unit, range, direction, definition, source, and the function that computes it.
//!
//! The command line, the report, the summaries and the tests iterate over [`METRICS`]. To add a metric, add a function
//! on a state and a row here.

use crate::calibration::{EqualMassFigures, RegionBins};
use crate::empty::Outcome;
use crate::metric::{Better, Metric, Subject};
use crate::overlap::Counts;
use crate::surface::{Surface, SurfaceDistances};

/// How a metric is computed from its state.
#[derive(Clone, Copy, Debug)]
pub enum Compute {
    /// From the voxel counts of a structure.
    Overlap(fn(&Counts) -> Outcome),
    /// From the surface distances of a structure; the number is the tolerance in the unit of the distances.
    Surface(fn(&Surface, f64) -> Outcome),
    /// From the bins and sums of a region.
    Calibration(fn(&RegionBins) -> f64),
    /// From the equal-mass bins of a region.
    EqualMass(fn(&EqualMassFigures) -> f64),
    /// From the bins and sums of a region; descriptive, with no better direction.
    Description(fn(&RegionBins) -> f64),
}

impl Compute {
    const fn subject(self) -> Subject {
        match self {
            Self::Overlap(_) => Subject::Overlap,
            Self::Surface(_) => Subject::Surface,
            Self::Calibration(_) => Subject::Calibration,
            Self::EqualMass(_) => Subject::EqualMass,
            Self::Description(_) => Subject::Description,
        }
    }
}

/// Iterates over all metrics with their functions, in the order of the report.
pub fn rows() -> impl Iterator<Item = (&'static Metric, Compute)> {
    METRICS.iter().zip(COMPUTE.iter().copied())
}

/// Looks up a metric by key.
pub fn metric(key: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.key == key)
}

const UNIT: [f64; 2] = [0.0, 1.0];
const POSITIVE: [f64; 2] = [0.0, f64::INFINITY];

/// Defines the rows of the table.
macro_rules! metrics {
    ($($key:literal, $title:literal, $unit:literal, $range:expr, $better:ident, $compute:expr, $definition:literal, $source:literal;)*) => {
        /// Every metric, in the order of the report.
        pub const METRICS: &[Metric] = &[$(Metric {
            key: $key, title: $title, unit: $unit, range: $range, better: Better::$better,
            definition: $definition, source: $source, subject: $compute.subject(),
        }),*];

        /// The functions, in the same order.
        const COMPUTE: &[Compute] = &[$($compute),*];
    };
}

use Compute::{Calibration, Description, EqualMass as Mass, Overlap, Surface as Distance};

metrics! {
    "dsc", "Dice coefficient", "1", UNIT, Higher, Overlap(Counts::dsc),
        "2 TP / (2 TP + FP + FN) in voxels of the structure", "Dice 1945";
    "iou", "Intersection over union", "1", UNIT, Higher, Overlap(Counts::iou),
        "TP / (TP + FP + FN) in voxels of the structure", "Jaccard 1912";
    "sensitivity", "Sensitivity", "1", UNIT, Higher, Overlap(Counts::sensitivity),
        "TP / (TP + FN) in voxels of the structure", "recall, true positive rate";
    "precision", "Precision", "1", UNIT, Higher, Overlap(Counts::precision),
        "TP / (TP + FP) in voxels of the structure", "positive predictive value";
    "volume_error", "Relative volume error", "1", [-1.0, f64::INFINITY], Zero, Overlap(Counts::volume_error),
        "predicted volume / reference volume - 1, signed", "relative volume difference";
    "hd", "Hausdorff distance", "mm", POSITIVE, Lower, Distance(|surface, _| surface.figure(SurfaceDistances::hd)),
        "largest distance from an edge voxel of one mask to the edge of the other, both directions", "Hausdorff 1914";
    "hd95_max", "95th percentile Hausdorff distance", "mm", POSITIVE, Lower, Distance(|surface, _| surface.figure(SurfaceDistances::hd95_max)),
        "larger of the two directed 95th percentiles of the surface distances, linear interpolation", "MONAI, Metrics Reloaded";
    "hd95_pooled", "95th percentile distance, directions pooled", "mm", POSITIVE, Lower, Distance(|surface, _| surface.figure(SurfaceDistances::hd95_pooled)),
        "95th percentile of the surface distances of both directions together, linear interpolation", "MedPy; MbLS, NACL, CRaC";
    "asd", "Average surface distance", "mm", POSITIVE, Lower, Distance(|surface, _| surface.figure(SurfaceDistances::asd)),
        "mean distance from the prediction's edge voxels to the reference's edge", "MedPy; MbLS";
    "assd", "Average symmetric surface distance", "mm", POSITIVE, Lower, Distance(|surface, _| surface.figure(SurfaceDistances::assd)),
        "mean of the surface distances of both directions together", "MedPy since 0.5, MONAI";
    "masd", "Mean average surface distance", "mm", POSITIVE, Lower, Distance(|surface, _| surface.figure(SurfaceDistances::masd)),
        "mean of the two directed mean surface distances", "Metrics Reloaded, panoptica";
    "nsd", "Normalised surface Dice", "1", UNIT, Higher, Distance(Surface::nsd),
        "share of the edge voxels of both masks within the tolerance of the other edge, equality counts", "Nikolov et al. 2021, on voxels";
    "ece", "Expected calibration error", "1", UNIT, Lower, Calibration(RegionBins::ece),
        "sum over bins of (share of voxels) |accuracy - mean confidence| of the largest probability; equal-width bins (l, u] with f32 edges, 0 in the first", "Guo et al. 2017; MbLS Eq. 8";
    "mce", "Maximum calibration error", "1", UNIT, Lower, Calibration(RegionBins::mce),
        "largest |accuracy - mean confidence| over the non-empty bins of ece", "Guo et al. 2017";
    "ace", "Average calibration error", "1", UNIT, Lower, Calibration(RegionBins::ace),
        "plain mean of |accuracy - mean confidence| over the non-empty bins of ece", "Neumann et al. 2018, equal-width";
    "aece", "Adaptive calibration error", "1", UNIT, Lower, Mass(|figures| figures.aece),
        "as ece with bins of equal mass: ranks cut at floor(r n / R), voxels of equal confidence shared in proportion", "Nguyen and O'Connor 2015";
    "cece_mean", "Classwise calibration error, mean", "1", UNIT, Lower, Calibration(RegionBins::cece_mean),
        "classwise ECE: per class, sum over bins of (share of voxels) |class frequency - mean probability|; mean over all classes, bins as ece", "Kull et al. 2019; the authors' code";
    "cece_sum", "Classwise calibration error, sum", "1", POSITIVE, Lower, Calibration(RegionBins::cece_sum),
        "as cece_mean, summed over the classes", "MbLS, NACL (as printed)";
    "tace", "Thresholded adaptive calibration error", "1", UNIT, Lower, Mass(|figures| figures.tace),
        "per class, probabilities above 1e-3 in bins of equal mass, plain mean of |frequency - mean probability| over bins, then over classes that have any", "CRaC appendix B; Nixon et al. 2019";
    "tcece", "Thresholded classwise calibration error", "1", UNIT, Lower, Calibration(RegionBins::tcece),
        "cece_mean of the probabilities above 1e-3, shares of the retained count (what the CRaC code reports as TACE)", "CRaC's public code";
    "brier", "Brier score", "1", [0.0, 2.0], Lower, Calibration(RegionBins::brier),
        "mean over voxels of the sum over classes of (probability - indicator)^2", "Brier 1950";
    "brier_foreground", "Brier score, foreground against background", "1", UNIT, Lower, Calibration(RegionBins::brier_foreground),
        "mean over voxels of (summed foreground probability - [label not 0])^2", "MEEP, K = 2";
    "brier_plus", "Brier score inside the reference structures", "1", UNIT, Lower, Calibration(RegionBins::brier_plus),
        "stratified Brier: brier_foreground over the voxels whose reference label is not 0", "Wallace and Dahabreh 2014; MEEP";
    "nll", "Negative log-likelihood", "nat", POSITIVE, Lower, Calibration(RegionBins::nll),
        "mean over voxels of -ln(probability of the reference label); a probability below 2^-126 counts as 2^-126", "log loss";
    "accuracy", "Accuracy", "1", UNIT, Higher, Calibration(RegionBins::accuracy),
        "share of voxels whose most probable class is the reference label; of equal probabilities the first class", "-";
    "confidence", "Mean confidence", "1", UNIT, Higher, Description(RegionBins::confidence),
        "mean of the largest probability; calibrated where it equals the accuracy", "-";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_found() {
        for (number, row) in METRICS.iter().enumerate() {
            assert!(METRICS[..number].iter().all(|earlier| earlier.key != row.key), "{} twice", row.key);
            assert_eq!(metric(row.key).map(|found| found.definition), Some(row.definition));
        }
        assert!(metric("dice").is_none());
    }

    #[test]
    fn ranges_hold_the_best_and_the_worst() {
        for row in METRICS {
            assert!(row.range[0] <= row.best() && row.best() <= row.range[1], "{}", row.key);
            assert!(row.range[0] <= row.worst() && row.worst() <= row.range[1], "{}", row.key);
            assert!(row.penalty(3.0).is_finite(), "{}", row.key);
        }
    }
}
