//! The unit of lengths: mm if the labels have a voxel size, otherwise voxels.

use segcal_core::{Error, Result};
use segcal_metrics::metric::Metric;
use serde::{Deserialize, Serialize};

/// The unit of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LengthUnit {
    /// Millimetres, from the voxel size of the file.
    Mm,
    /// Voxels, each of size 1 along every axis.
    Voxels,
}

impl LengthUnit {
    /// `mm` or `voxels`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mm => "mm",
            Self::Voxels => "voxels",
        }
    }

    /// The unit of a metric, if lengths are in this unit.
    pub fn of(self, metric: &Metric) -> &'static str {
        if metric.unit == Self::Mm.name() { self.name() } else { metric.unit }
    }

    /// A metric's key with its unit, for the heads of tables.
    pub fn headed(self, metric: &Metric) -> String {
        if metric.unit == "1" { metric.key.to_owned() } else { format!("{} ({})", metric.key, self.of(metric)) }
    }

    /// The common unit of the lengths of all cases, given as `(name, unit)`; mm if there are no cases.
    ///
    /// # Errors
    /// Some lengths are in mm and others in voxels.
    pub fn common<'a>(mut cases: impl Iterator<Item = (&'a str, Self)>) -> Result<Self> {
        let Some((first, unit)) = cases.next() else { return Ok(Self::Mm) };
        match cases.find(|&(_, other)| other != unit) {
            None => Ok(unit),
            Some((other, own)) => {
                let problem = format!("its lengths are in {}, those of {first} in {}", own.name(), unit.name());
                Err(Error::new(problem).at(other).help(
                    "PNG, .npy and .npz labels have no voxel size: use --voxel-units to measure all cases in voxels, or \
                     evaluate them separately",
                ))
            }
        }
    }
}
