//! What lengths are in: mm where the labels have a voxel size, else voxels.

use segcal_core::{Error, Result};
use segcal_metrics::metric::Metric;
use serde::{Deserialize, Serialize};

/// What lengths are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LengthUnit {
    /// Millimetres, by the file's voxel size.
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

    /// The unit of a metric whose lengths are in this one.
    pub fn of(self, metric: &Metric) -> &'static str {
        if metric.unit == Self::Mm.name() { self.name() } else { metric.unit }
    }

    /// A metric's key with its unit, as heads of tables have it.
    pub fn headed(self, metric: &Metric) -> String {
        if metric.unit == "1" { metric.key.to_owned() } else { format!("{} ({})", metric.key, self.of(metric)) }
    }

    /// The one unit of the lengths of all cases, given by name; mm of none.
    ///
    /// # Errors
    /// The lengths of some are in mm, those of others in voxels.
    pub fn common<'a>(mut cases: impl Iterator<Item = (&'a str, Self)>) -> Result<Self> {
        let Some((first, unit)) = cases.next() else { return Ok(Self::Mm) };
        match cases.find(|&(_, other)| other != unit) {
            None => Ok(unit),
            Some((other, own)) => {
                let problem = format!("its lengths are in {}, those of {first} in {}", own.name(), unit.name());
                Err(Error::new(problem).at(other).help(
                    "PNG, .npy and .npz labels have no voxel size: --voxel-units counts all in voxels, or evaluate them apart",
                ))
            }
        }
    }
}
