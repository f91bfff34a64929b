//! What one case gives: every figure of every structure and region, and the counters that they came from.

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

/// Names of structures with the labels that they unite.
pub type Unions = BTreeMap<String, Vec<Label>>;

/// How cases are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// What the predictions are.
    pub kind: Prediction,
    /// Number of equal-width or equal-mass bins.
    pub bins: usize,
    /// Probabilities at or below this are left out of tace and tcece.
    #[serde(rename = "tace_threshold", default = "usual_threshold", skip_serializing_if = "is_usual_threshold")]
    pub threshold: f64,
    /// Tolerance of NSD, in the unit of the lengths.
    #[serde(rename = "tolerance_mm")]
    pub tolerance: f64,
    /// Half-width of the regions around a boundary, in the unit of the lengths.
    #[serde(rename = "band_mm")]
    pub band: f64,
    /// Lengths in voxels, also where the voxel size is known.
    pub voxel_units: bool,
    /// Nested regions: names with the labels they unite.
    pub unions: Unions,
    /// The regions that the scores are of, each a problem of its own; none where they are of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested: Option<Nested>,
    /// The reference label of voxels that are in no figure.
    pub ignored: Option<Label>,
    /// Whether the distances of the authors' convention are measured too.
    pub authors: bool,
    /// What is believed of the files.
    #[serde(default, skip_serializing_if = "Reading::is_default")]
    pub reading: Reading,
}

fn usual_threshold() -> f64 {
    DEFAULT_THRESHOLD
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_usual_threshold(threshold: &f64) -> bool {
    *threshold == DEFAULT_THRESHOLD
}

impl Measure {
    /// The unit of lengths on the grid of a reference.
    pub(super) const fn length_unit(&self, grid: &data::Grid) -> LengthUnit {
        if self.voxel_units || !grid.sized { LengthUnit::Voxels } else { LengthUnit::Mm }
    }

    /// The settings in which another differs, each with both values.
    pub fn differences(&self, other: &Self) -> String {
        let table = |measure| serde_json::to_value(measure).unwrap_or_default();
        let (own, others) = (table(self), table(other));
        let keys = own.as_object().into_iter().flatten().filter(|(key, value)| others[key.as_str()] != **value);
        keys.map(|(key, value)| format!("{key}: {value} and {}", others[key])).collect::<Vec<_>>().join(", ")
    }

    /// What the scores are; probabilities where there are none.
    pub(super) const fn scores(&self) -> Scores {
        match self.kind {
            Prediction::Scores(kind) => kind,
            Prediction::Segmentation => Scores::Probabilities,
        }
    }

    /// What the predictions are.
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

/// What the predictions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prediction {
    /// Class scores.
    Scores(Scores),
    /// Label maps.
    Segmentation,
}

/// Figures of a structure by metric key.
pub type Outcomes = BTreeMap<String, Outcome>;

/// Figures of a region by metric key.
pub type Figures = BTreeMap<String, Number>;

/// The state of one case. Cohorts are made of these, in any order and from any process, to the same bits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseState {
    /// Name of the case.
    pub case: String,
    /// The prediction's file, the first of several.
    pub prediction: String,
    /// The reference label map.
    pub reference: String,
    /// The image, if one was given.
    pub image: Option<String>,
    /// What the files held: see [`super::states::checksums`].
    pub checksums: Vec<String>,
    /// Number of classes.
    pub classes: usize,
    /// What the labels are called, as far as it is known.
    pub names: BTreeMap<Label, String>,
    /// What lengths are in.
    pub length_unit: LengthUnit,
    /// Diagonal of the grid, the penalty of a missed structure, in that unit.
    pub diagonal: f64,
    /// Number of voxels that are in no figure.
    pub ignored: u64,
    /// Figures of each structure that the prediction has a class for.
    pub structures: BTreeMap<String, Outcomes>,
    /// Figures of each region; none for a segmentation.
    pub regions: BTreeMap<String, Figures>,
    /// The figures of the authors' convention; none where they were not asked for and are not those above.
    pub authors: Option<Authors>,
    /// The slices that the report shows, whose voxels are stored beside this state.
    pub slices: Vec<Slice>,
    /// What is to be known of its files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Counters that are added to those of other cases; none for a segmentation, or once they were added.
    pub counters: Option<Counters>,
    /// The same of each region that is a problem of its own, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub problems: BTreeMap<String, Counters>,
}

impl CaseState {
    /// Takes the counters out, to be added to those of other cases: those of classes have no name.
    pub fn take_counters(&mut self) -> Vec<(String, Counters)> {
        let own = self.counters.take().map(|counters| (String::new(), counters));
        own.into_iter().chain(std::mem::take(&mut self.problems)).collect()
    }

    /// A figure of a structure; `None` where the class scores have no class for it. Label maps have every label: one that
    /// neither holds is empty in both.
    pub fn outcome(&self, structure: &str, key: &str) -> Option<Outcome> {
        let found = self.structures.get(structure).and_then(|figures| figures.get(key)).copied();
        found.or_else(|| self.of_labels().then_some(Outcome::Empty { which: Emptiness::Both, formula: None }))
    }

    /// A figure of a structure by the authors' convention, else as [`Self::outcome`].
    pub fn authors_outcome(&self, structure: &str, key: &str) -> Option<Outcome> {
        let own = self.authors.as_ref()?.structures.get(structure).copied();
        let figures = own.or_else(|| self.of_labels().then(AuthorsSegmentation::of_nothing))?;
        Some(Outcome::Measured(if key == "dsc" { figures.dsc } else { figures.hd95 }))
    }

    /// Whether the prediction was a label map, without scores.
    fn of_labels(&self) -> bool {
        self.regions.is_empty()
    }
}

/// One case as the papers' public code evaluates it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authors {
    /// DSC and HD95 of each structure.
    pub structures: BTreeMap<String, AuthorsSegmentation>,
    /// ECE, CECE and TACE; none for a segmentation.
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
