//! What is measured of one case.

use std::collections::BTreeMap;

use crate::authors::{AuthorsCalibration, AuthorsSegmentation};
use crate::calibration::{Calibration, EqualMass};
use crate::distribution::LogitDistribution;
use crate::empty::Outcome;
use crate::volume::Label;

/// Every figure of a structure by metric key.
pub type StructureFigures = BTreeMap<&'static str, Outcome>;

/// Every figure of a region by metric key; NaN where it has no voxel.
pub type RegionFigures = BTreeMap<&'static str, f64>;

/// All figures of one case, and the states that they came from.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Number of classes: of the scores, or the largest label of both maps and one.
    pub classes: usize,
    /// Number of voxels that are in no figure.
    pub ignored: u64,
    /// Overlap and distances: of each label and union that the scores have classes for, or that either map holds.
    pub structures: BTreeMap<String, StructureFigures>,
    /// Calibration, by the name of a [`crate::calibration::Region`]; none of a label map. Of nested regions `NAME/all` and
    /// so on, where the classes are the region and the rest.
    pub regions: BTreeMap<String, RegionFigures>,
    /// What calibration was computed from; none of a label map or of nested regions.
    pub states: Option<States>,
    /// The same of each nested region, against the rest: two classes.
    pub problems: BTreeMap<String, States>,
    /// The figures of the authors' convention, if they were asked for, or cost nothing because voxels have size 1.
    pub authors: Option<Authors>,
    /// The predicted label of each voxel, which overlap and distances are of.
    pub prediction: Vec<Label>,
    /// The largest probability of each voxel, 255 for 1; empty for a label map.
    pub confidence: Vec<u8>,
}

/// The states of one case, which merge with those of others.
#[derive(Clone, Debug)]
pub struct States {
    /// Bins of every region.
    pub calibration: Calibration,
    /// Bins of equal mass of some regions.
    pub equal_mass: EqualMass,
    /// Logits by true class, of probabilities their logarithms; none of more than [`crate::calibration::MOST_CLASSES`].
    pub logits: Option<LogitDistribution>,
}

/// One case as the papers' public code evaluates it; see [`crate::authors`].
#[derive(Clone, Debug, PartialEq)]
pub struct Authors {
    /// DSC and HD95 of each structure.
    pub structures: BTreeMap<String, AuthorsSegmentation>,
    /// ECE, CECE and TACE, rounded; none of a label map.
    pub calibration: Option<AuthorsCalibration>,
}
