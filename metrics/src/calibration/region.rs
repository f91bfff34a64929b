//! The voxels that a calibration metric is computed over.

use std::fmt;
use std::str::FromStr;

use segcal_core::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::volume::Label;

/// The voxels that a calibration metric is computed over.
///
/// Calibration can be judged only if the voxels are selected independently of the reference: in `all`, `predicted`,
/// `near` and `predicted:k`. The other regions are conditional on the reference, and given the reference even the true
/// posterior is not calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Region {
    /// Every voxel.
    All,
    /// Voxels whose reference label is not 0: the papers' region.
    Foreground,
    /// Voxels whose reference label or most probable class is not 0.
    Union,
    /// Voxels within the band around the reference boundary; see [`crate::band::boundary_band`].
    Boundary,
    /// Voxels whose most probable class is not 0.
    Predicted,
    /// Voxels within the band around the predicted boundary.
    Near,
    /// Voxels whose reference label is this one.
    Structure(Label),
    /// Voxels whose most probable class is this one.
    PredictedAs(Label),
}

impl Region {
    /// The regions that exist for any number of classes.
    pub const COMMON: [Self; 6] =
        [Self::All, Self::Foreground, Self::Union, Self::Boundary, Self::Predicted, Self::Near];

    /// Whether a voxel belongs to the region; `in_band` and `near` tell whether it is in the band around the reference
    /// boundary and around the predicted boundary.
    pub const fn contains(self, reference: Label, prediction: Label, in_band: bool, near: bool) -> bool {
        match self {
            Self::All => true,
            Self::Foreground => reference != 0,
            Self::Union => reference != 0 || prediction != 0,
            Self::Boundary => in_band,
            Self::Predicted => prediction != 0,
            Self::Near => near,
            Self::Structure(label) => reference == label,
            Self::PredictedAs(label) => prediction == label,
        }
    }

    /// Whether the voxels are selected independently of the reference, so that a calibrated model has no calibration
    /// error there.
    pub const fn is_free_of_reference(self) -> bool {
        matches!(self, Self::All | Self::Predicted | Self::Near | Self::PredictedAs(_))
    }

    /// All regions of an evaluation with this many classes, in the order of the report.
    pub fn every(classes: usize) -> Vec<Self> {
        let labels = || (1..classes).map_while(|label| Label::try_from(label).ok());
        let of_reference = labels().map(Self::Structure);
        Self::COMMON.into_iter().chain(of_reference).chain(labels().map(Self::PredictedAs)).collect()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Foreground => f.write_str("foreground"),
            Self::Union => f.write_str("union"),
            Self::Boundary => f.write_str("boundary"),
            Self::Predicted => f.write_str("predicted"),
            Self::Near => f.write_str("near"),
            Self::Structure(label) => write!(f, "structure:{label}"),
            Self::PredictedAs(label) => write!(f, "predicted:{label}"),
        }
    }
}

impl FromStr for Region {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let of = |prefix: &str| text.strip_prefix(prefix)?.parse().ok();
        let structure = of("structure:").map(Self::Structure).or_else(|| of("predicted:").map(Self::PredictedAs));
        let common = Self::COMMON.into_iter().find(|region| region.to_string() == text);
        common.or(structure).ok_or_else(|| {
            Error::new(format!("unknown region '{text}'")).help(
                "all, foreground, union, boundary, predicted, near, or structure:k and predicted:k with a label k",
            )
        })
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
