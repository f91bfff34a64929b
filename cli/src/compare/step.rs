//! The steps of a comparison, and the marks that record what a folder was computed from.

use std::collections::BTreeMap;
use std::path::Path;

use segcal_core::Result;
use segcal_data::limits;
use segcal_evaluate::calibrate::map::Method as Map;
use serde::{Deserialize, Serialize};

use crate::output::{self, OutputFolder};

/// Name of the file that contains a folder's mark.
pub const MARK: &str = "made-of.json";

/// Folder of the logits, which maps are fitted on and applied to.
pub const LOGITS: &str = "logits";

/// What is predicted and measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum View {
    /// The validation part.
    Validation,
    /// The measured part at a level of noise.
    Noise(f64),
    /// The same, calibrated by a map.
    Calibrated(Map, f64),
}

impl View {
    /// Standard deviation of its noise.
    pub const fn noise(self) -> f64 {
        match self {
            Self::Validation => 0.0,
            Self::Noise(noise) | Self::Calibrated(_, noise) => noise,
        }
    }

    /// As part of a folder's name.
    pub fn name(self) -> String {
        match self {
            Self::Validation => "validation".into(),
            Self::Noise(noise) => format!("noise-{noise}"),
            Self::Calibrated(map, noise) => format!("{}-noise-{noise}", map.name()),
        }
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Train.
    Train,
    /// Compute class probabilities, with the network or a map.
    Predict(View),
    /// Fit a map on the validation part.
    Fit(Map),
    /// Evaluate them.
    Evaluate(View),
}

impl Step {
    /// What it does, in a few words.
    pub fn what(self) -> String {
        let of = |view: View| match view {
            View::Validation => "validation".to_owned(),
            View::Noise(noise) => format!("noise {noise}"),
            View::Calibrated(map, noise) => format!("{}, noise {noise}", map.name()),
        };
        match self {
            Self::Train => "train".into(),
            Self::Predict(view) => format!("predict, {}", of(view)),
            Self::Fit(map) => format!("fit {}", map.name()),
            Self::Evaluate(view) => format!("evaluate, {}", of(view)),
        }
    }

    /// Whether a step reads what another one wrote.
    pub fn needs(self, what: Self) -> bool {
        match (self, what) {
            (Self::Evaluate(view), Self::Predict(of)) => view == of,
            (Self::Fit(_), Self::Predict(View::Validation)) => true,
            (Self::Predict(View::Calibrated(_, noise)), Self::Predict(View::Noise(of))) => noise == of,
            _ => false,
        }
    }
}

/// The inputs that predictions, a map or an evaluation were computed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// SHA-256 of the file of the weights.
    pub weights: String,
    /// Backend and instruction set, on which the bits depend; empty in folders from before it was recorded.
    #[serde(default)]
    pub arithmetic: String,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// Name of each case, with the SHA-256 of its images (for predictions) or of its images and label.
    pub cases: BTreeMap<String, String>,
    /// How empty masks are scored; for evaluations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<String>,
    /// How it is measured, if not by the defaults; for evaluations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measuring: Option<String>,
    /// SHA-256 of the map that was applied, or the kind of the map that was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
}

impl Mark {
    /// Reads a folder's mark; `None` if it has none.
    pub fn of_folder(folder: &Path) -> Option<Self> {
        serde_json::from_str(&limits::read_text(&folder.join(MARK)).ok()?).ok()
    }

    /// Writes the mark into a folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &OutputFolder) -> Result<()> {
        output::write_text(&folder.file(MARK)?, &(output::to_json(self)? + "\n"))
    }
}
