//! The config of an evaluation.

use std::path::Path;

use segcal_core::{Context, Error, Result};
use segcal_data::config::{self, from_table};
use segcal_metrics::calibration::{DEFAULT_BINS, DEFAULT_THRESHOLD};
use serde::{Deserialize, Serialize};
use toml::Table;

use super::reading::Reading;
use super::state::{Measure, Prediction, Unions};
use super::structures;

/// The keys of a config file.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Number of confidence bins, 1 to 1000.
    pub bins: usize,
    /// Probabilities at or below this are excluded from tace and tcece; must be below the first edge, 1 / bins.
    pub tace_threshold: f64,
    /// Tolerance of nsd, in the unit of lengths.
    pub tolerance_mm: f64,
    /// Half-width of the regions `boundary` and `near`, in the unit of lengths.
    pub band_mm: f64,
    /// Unions of labels, by name.
    pub regions: Unions,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bins: DEFAULT_BINS,
            tace_threshold: DEFAULT_THRESHOLD,
            tolerance_mm: 1.0,
            band_mm: 2.0,
            regions: Unions::new(),
        }
    }
}

impl Settings {
    /// The defaults, overridden by the keys of a file, if there is one, and then by `key=value` overrides.
    ///
    /// # Errors
    /// A key is unknown or its value has the wrong type.
    pub fn read(file: Option<&Path>, overrides: &[String]) -> Result<Self> {
        let defaults = Table::try_from(Self::default()).expect("the defaults are a table");
        let keys = from_table(config::layered(&defaults, file, overrides, &["regions"])?);
        if let Some(path) = file { keys.at(path.display()) } else { keys }
    }

    /// The settings of the measurement of predictions of this kind.
    ///
    /// # Errors
    /// A value is out of range, or the name of a union is already taken.
    pub fn measure(self, kind: Prediction, voxel_units: bool) -> Result<Measure> {
        structures::expect_names(&self.regions)?;
        for (key, value) in [("tolerance_mm", self.tolerance_mm), ("band_mm", self.band_mm)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::new(format!("expected a number of at least 0, got {value}")).at(key));
            }
        }
        if !(1..=1000).contains(&self.bins) {
            return Err(Error::new(format!("expected 1 to 1000, got {}", self.bins)).at("bins"));
        }
        // Compared as f32, since both the threshold and the edge are used as f32.
        let (threshold, edge) = (self.tace_threshold, 1.0 / self.bins as f32);
        if !(threshold >= 0.0 && (threshold as f32) < edge) {
            let problem = format!("{threshold} is not in the first bin: expected at least 0 and below {edge}");
            return Err(Error::new(problem).at("tace_threshold").help("the paper uses 0.001"));
        }
        Ok(Measure {
            kind,
            bins: self.bins,
            threshold,
            tolerance: self.tolerance_mm,
            band: self.band_mm,
            voxel_units,
            unions: self.regions,
            nested: None,
            ignored: None,
            authors: false,
            reading: Reading::default(),
        })
    }
}
