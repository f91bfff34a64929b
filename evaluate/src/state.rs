//! The results of one case: every metric of every structure and region, and the counters behind them.

use std::collections::BTreeMap;

use segcal_data as data;
use segcal_data::output::Number;
use segcal_metrics::authors::AuthorsSegmentation;
use segcal_metrics::calibration::DEFAULT_THRESHOLD;
use segcal_metrics::empty::{Emptiness, Outcome};
use segcal_metrics::measure::{self as metrics, Nested, Options};
use segcal_metrics::volume::Label;
use serde::{Deserialize, Serialize};

use super::decide::Content;
use super::pooled::Counters;
use super::reading::Reading;
use super::scores::Scores;
use super::slices::Slice;
use super::units::LengthUnit;

/// Names of structures with the labels that each unites.
pub type Unions = BTreeMap<String, Vec<Label>>;

/// How cases are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// What the predictions are.
    pub kind: Prediction,
    /// Number of equal-width or equal-mass bins.
    pub bins: usize,
    /// Probabilities at or below this are excluded from tace and tcece.
    #[serde(rename = "tace_threshold", default = "usual_threshold", skip_serializing_if = "is_usual_threshold")]
    pub threshold: f64,
    /// Tolerance of NSD, in the unit of lengths.
    #[serde(rename = "tolerance_mm")]
    pub tolerance: f64,
    /// Half-width of the regions around a boundary, in the unit of lengths.
    #[serde(rename = "band_mm")]
    pub band: f64,
    /// Whether lengths are in voxels even if the voxel size is known.
    pub voxel_units: bool,
    /// Nested regions: names with the labels that each unites.
    pub unions: Unions,
    /// The regions that the scores are of, each a separate binary problem; `None` if the scores are of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested: Option<Nested>,
    /// The reference label of voxels that are excluded from all metrics.
    pub ignored: Option<Label>,
    /// Whether the metrics of the authors' convention are computed too.
    pub authors: bool,
    /// How the files are read.
    #[serde(default, skip_serializing_if = "Reading::is_default")]
    pub reading: Reading,
}

fn usual_threshold() -> f64 {
    DEFAULT_THRESHOLD
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_threshold(threshold: &f64) -> bool {
    *threshold == DEFAULT_THRESHOLD
}

impl Measure {
    /// The unit of lengths on the grid of a reference.
    pub(super) const fn length_unit(&self, grid: &data::Grid) -> LengthUnit {
        if self.voxel_units || !grid.sized { LengthUnit::Voxels } else { LengthUnit::Mm }
    }

    /// The settings that differ from another's, each with both values.
    pub fn differences(&self, other: &Self) -> String {
        let table = |measure| serde_json::to_value(measure).unwrap_or_default();
        let (own, others) = (table(self), table(other));
        let keys = own.as_object().into_iter().flatten().filter(|(key, value)| others[key.as_str()] != **value);
        keys.map(|(key, value)| format!("{key}: {value} and {}", others[key])).collect::<Vec<_>>().join(", ")
    }

    /// The kind of the scores; probabilities if there are none.
    pub(super) const fn scores(&self) -> Scores {
        match self.kind {
            Prediction::Scores(kind) => kind,
            Prediction::Segmentation => Scores::Probabilities,
        }
    }

    /// The content of the predictions.
    pub(super) const fn content(&self) -> Content<'_> {
        match (self.kind, &self.nested) {
            (Prediction::Segmentation, _) => Content::Labels,
            (_, Some(nested)) => Content::Regions(nested),
            (_, None) => Content::Classes,
        }
    }

    pub(super) fn options(&self) -> Options {
        Options {
            bins: self.bins,
            threshold: self.threshold,
            tolerance: self.tolerance,
            band: self.band,
            ignored: self.ignored,
            unions: self.unions.clone(),
            authors: self.authors,
        }
    }
}

/// The kind of the predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prediction {
    /// Class scores.
    Scores(Scores),
    /// Label maps.
    Segmentation,
}

/// Metrics of a structure, by key.
pub type Outcomes = BTreeMap<String, Outcome>;

/// Metrics of a region, by key.
pub type Figures = BTreeMap<String, Number>;

/// The state of one case. Cohorts are computed from these, bit for bit the same in any order and from any process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseState {
    /// Name of the case.
    pub case: String,
    /// The file of the prediction; the first if there are several.
    pub prediction: String,
    /// The reference label map.
    pub reference: String,
    /// The image, if one was given.
    pub image: Option<String>,
    /// Checksums of the files: see [`super::states::checksums`].
    pub checksums: Vec<String>,
    /// Number of classes.
    pub classes: usize,
    /// Names of the labels, as far as known.
    pub names: BTreeMap<Label, String>,
    /// The unit of lengths.
    pub length_unit: LengthUnit,
    /// Diagonal of the grid, the penalty of a missed structure, in that unit.
    pub diagonal: f64,
    /// Number of voxels that are excluded from all metrics.
    pub ignored: u64,
    /// Metrics of each structure that the prediction has a class for.
    pub structures: BTreeMap<String, Outcomes>,
    /// Metrics of each region; empty for a segmentation.
    pub regions: BTreeMap<String, Figures>,
    /// The metrics of the authors' convention, if they were computed.
    pub authors: Option<Authors>,
    /// The slices that the report shows, whose voxels are stored beside this state.
    pub slices: Vec<Slice>,
    /// Warnings about its files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Counters that are added to those of other cases; `None` for a segmentation, or after they were taken out.
    pub counters: Option<Counters>,
    /// The same for each region that is a separate binary problem, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub problems: BTreeMap<String, Counters>,
}

impl CaseState {
    /// Takes the counters out, to be added to those of other cases. Those of classes have an empty name.
    pub fn take_counters(&mut self) -> Vec<(String, Counters)> {
        let own = self.counters.take().map(|counters| (String::new(), counters));
        own.into_iter().chain(std::mem::take(&mut self.problems)).collect()
    }

    /// A metric of a structure; `None` if the class scores have no class for it. Label maps have every label: one that
    /// is in neither map is empty in both.
    pub fn outcome(&self, structure: &str, key: &str) -> Option<Outcome> {
        let found = self.structures.get(structure).and_then(|figures| figures.get(key)).copied();
        found.or_else(|| absent(self.of_labels()))
    }

    /// A metric of a structure by the authors' convention, otherwise as [`Self::outcome`].
    pub fn authors_outcome(&self, structure: &str, key: &str) -> Option<Outcome> {
        match self.authors.as_ref()?.structures.get(structure) {
            Some(figures) => Some(by_authors(figures, key)),
            None => authors_absent(self.of_labels(), key),
        }
    }

    /// Whether the prediction was a label map, without scores.
    pub(super) fn of_labels(&self) -> bool {
        self.regions.is_empty()
    }
}

/// A metric of a structure that the state of a case lacks; see [`CaseState::outcome`].
pub(super) fn absent(of_labels: bool) -> Option<Outcome> {
    of_labels.then_some(Outcome::Empty { which: Emptiness::Both, formula: None })
}

/// The same by the authors' convention.
pub(super) fn authors_absent(of_labels: bool, key: &str) -> Option<Outcome> {
    of_labels.then(|| by_authors(&AuthorsSegmentation::of_nothing(), key))
}

fn by_authors(figures: &AuthorsSegmentation, key: &str) -> Outcome {
    Outcome::Measured(if key == "dsc" { figures.dsc } else { figures.hd95 })
}

/// One case as the papers' public code evaluates it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authors {
    /// DSC and HD95 of each structure.
    pub structures: BTreeMap<String, AuthorsSegmentation>,
    /// ECE, CECE and TACE; `None` for a segmentation.
    pub calibration: Option<BTreeMap<String, Number>>,
}

impl From<metrics::Authors> for Authors {
    fn from(measured: metrics::Authors) -> Self {
        let calibration = measured.calibration.map(|figures| {
            let pairs = [("ece", figures.ece), ("cece_mean", figures.cece), ("tcece", figures.tace)];
            pairs.into_iter().map(|(key, value)| (key.to_owned(), Number(value))).collect()
        });
        Self { structures: measured.structures, calibration }
    }
}
