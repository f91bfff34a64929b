//! The metrics of one case.

use std::collections::BTreeMap;

use crate::authors::{AuthorsCalibration, AuthorsSegmentation};
use crate::calibration::{Calibration, EqualMass};
use crate::distribution::LogitDistribution;
use crate::empty::Outcome;
use crate::volume::Label;

/// The metrics of a structure by key.
pub type StructureFigures = BTreeMap<&'static str, Outcome>;

/// The metrics of a region by key; NaN if the region has no voxel.
pub type RegionFigures = BTreeMap<&'static str, f64>;

/// All metrics of one case, and the states they were computed from.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Number of classes: that of the scores, or the largest label of both maps plus one.
    pub classes: usize,
    /// Number of voxels that are ignored in all metrics.
    pub ignored: u64,
    /// Overlap and distances, for each label and union that the scores have classes for, or that occurs in either map.
    pub structures: BTreeMap<String, StructureFigures>,
    /// Calibration, by the name of a [`crate::calibration::Region`]; empty for a label map. For nested regions the
    /// names are `NAME/all` and so on, with the two classes region and rest.
    pub regions: BTreeMap<String, RegionFigures>,
    /// The states behind the calibration metrics; `None` for a label map or nested regions.
    pub states: Option<States>,
    /// The states of each nested region against the rest, with two classes.
    pub problems: BTreeMap<String, States>,
    /// The metrics of the authors' convention, if they were requested, or cost nothing because voxels have size 1.
    pub authors: Option<Authors>,
    /// The predicted label of each voxel, which overlap and distances use.
    pub prediction: Vec<Label>,
    /// The largest probability of each voxel, where 255 represents 1; empty for a label map.
    pub confidence: Vec<u8>,
}

/// The states of one case, which can be merged with those of others.
#[derive(Clone, Debug)]
pub struct States {
    /// The bins of every region.
    pub calibration: Calibration,
    /// The equal-mass bins of some regions.
    pub equal_mass: EqualMass,
    /// Distribution of the logits (or log-probabilities) by true class; `None` for more than
    /// [`crate::calibration::MOST_CLASSES`] classes.
    pub logits: Option<LogitDistribution>,
}

/// One case evaluated like in the papers' public code; see [`crate::authors`].
#[derive(Clone, Debug, PartialEq)]
pub struct Authors {
    /// DSC and HD95 of each structure.
    pub structures: BTreeMap<String, AuthorsSegmentation>,
    /// ECE, CECE and TACE, rounded; `None` for a label map.
    pub calibration: Option<AuthorsCalibration>,
}
