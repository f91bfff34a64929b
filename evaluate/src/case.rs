//! What one case gives: every figure of every structure and region, and the states that they came from.

use std::collections::BTreeMap;

use segcal_core::{Backend, Context, Result};
use segcal_metrics::authors::{self, AuthorsCalibration, AuthorsSegmentation};
use segcal_metrics::calibration::{Calibration, EqualMassFigures, Region, boundary_band, every_region};
use segcal_metrics::definitions::{Compute, METRICS};
use segcal_metrics::distribution::LogitDistribution;
use segcal_metrics::empty::{Emptiness, Outcome};
use segcal_metrics::overlap::Confusion;
use segcal_metrics::surface::Surface;
use segcal_metrics::volume::{Grid, Label, Probabilities, softmax};
use serde::{Deserialize, Serialize};

use super::inputs::Pair;
use super::scores::{self, Scores};
use super::slices::{self, Chosen, Slice};
use super::states;
use super::structures::{Structures, Unions};
use super::units::LengthUnit;
use segcal_data::output::Number;
use segcal_data::{self as data, Volume};

/// How cases are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// What the predictions are.
    pub kind: Prediction,
    /// Number of equal-width or equal-mass bins.
    pub bins: usize,
    /// Tolerance of NSD, in the unit of the lengths.
    pub tolerance_mm: f64,
    /// Half-width of the boundary region, in the unit of the lengths.
    pub band_mm: f64,
    /// Lengths in voxels, also where the voxel size is known.
    pub voxel_units: bool,
    /// Nested regions: names with the labels they unite.
    pub unions: Unions,
}

impl Measure {
    /// The unit of lengths on the grid of a reference.
    const fn length_unit(&self, grid: &data::Grid) -> LengthUnit {
        if self.voxel_units || !grid.sized { LengthUnit::Voxels } else { LengthUnit::Mm }
    }
}

impl Measure {
    /// The settings in which another differs, each with both values.
    pub fn differences(&self, other: &Self) -> String {
        let table = |measure| serde_json::to_value(measure).unwrap_or_default();
        let (own, others) = (table(self), table(other));
        let keys = own.as_object().into_iter().flatten().filter(|(key, value)| others[key.as_str()] != **value);
        keys.map(|(key, value)| format!("{key}: {value} and {}", others[key])).collect::<Vec<_>>().join(", ")
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
    /// What the files held: see [`states::checksums`].
    #[serde(default)]
    pub checksums: Vec<String>,
    /// Number of classes.
    pub classes: usize,
    /// What the labels are called, as far as it is known.
    pub names: BTreeMap<Label, String>,
    /// What lengths are in.
    pub length_unit: LengthUnit,
    /// Diagonal of the grid, the penalty of a missed structure, in that unit.
    pub diagonal_mm: f64,
    /// Figures of each structure that the prediction has a class for.
    pub structures: BTreeMap<String, Outcomes>,
    /// Figures of each region; none for a segmentation.
    pub regions: BTreeMap<String, Figures>,
    /// Bins of every region, for diagrams of the cohort.
    pub calibration: Option<Calibration>,
    /// Distributions of the logits; none for a segmentation, or for more than 20 classes.
    pub logits: Option<Logits>,
    /// The figures of the authors' convention.
    pub authors: Authors,
    /// The slices that the report shows, whose voxels are stored beside this state.
    pub slices: Vec<Slice>,
}

impl CaseState {
    /// A figure of a structure; `None` where the class scores have no class for it. Label maps have every label: one that
    /// neither holds is empty in both.
    pub fn outcome(&self, structure: &str, key: &str) -> Option<Outcome> {
        let found = self.structures.get(structure).and_then(|figures| figures.get(key)).copied();
        found.or_else(|| self.of_labels().then_some(Outcome::Empty { which: Emptiness::Both, formula: None }))
    }

    /// A figure of a structure by the authors' convention, else as [`Self::outcome`].
    pub fn authors_outcome(&self, structure: &str, key: &str) -> Option<Outcome> {
        let own = self.authors.structures.iter().find(|figures| figures.structure == structure);
        let value = |of: fn(&AuthorsSegmentation) -> f64, empty: f64| {
            own.map(of).or_else(|| self.of_labels().then_some(empty)).map(Outcome::Measured)
        };
        if key == "dsc" { value(|figures| figures.dsc, 1.0) } else { value(|figures| figures.hd95, 0.0) }
    }

    /// Whether the prediction was a label map, without scores.
    const fn of_labels(&self) -> bool {
        self.calibration.is_none()
    }
}

/// Logits by true class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logits {
    /// What was given; of probabilities the logarithms are counted.
    pub of: Scores,
    /// The counts.
    pub counts: LogitDistribution,
}

/// Classes beyond which distributions of logits, which grow with their square, are not kept.
const MOST_CLASSES: usize = 20;

/// Range and number of bins of [`Logits`]; what lies beyond is counted at the ends.
const LOGITS: ([f32; 2], usize) = ([-30.0, 30.0], 240);
const LOGARITHMS: ([f32; 2], usize) = ([-20.0, 0.0], 160);

/// One case as the papers' public code evaluates it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authors {
    /// DSC and HD95 of each structure.
    pub structures: Vec<AuthorsSegmentation>,
    /// ECE, CECE and TACE; none for a segmentation.
    pub calibration: Option<BTreeMap<String, Number>>,
}

/// Measures one case; also gives what its slices show.
///
/// The class scores are by far the largest thing in memory: everything else is computed before they are read or after
/// they are gone, as far as it can be.
///
/// # Errors
/// A file is malformed or does not belong to the other, or the device fails.
pub fn measure<B: Backend>(backend: &B, pair: &Pair, how: &Measure) -> Result<(CaseState, Vec<Chosen>)> {
    // A file that changes meanwhile is then found to have changed.
    let checksums = states::checksums(pair)?;
    let volume = scores::read_reference(&pair.reference)?;
    let place = volume.grid.clone();
    let length_unit = how.length_unit(&place);
    let spacing_mm = if length_unit == LengthUnit::Voxels { [1.0; 3] } else { place.spacing_mm() };
    let grid = Grid { spatial: place.extent, spacing_mm };
    let (scored, labels, reference) = match how.kind {
        Prediction::Scores(kind) => {
            let (scored, labels) = scored(backend, pair, kind, &volume, grid, how)?;
            (Some(scored), labels, volume.data.into_raw_vec_and_offset().0)
        }
        Prediction::Segmentation => {
            let labels = scores::read_labels(pair.prediction.first(), &place)?;
            (None, labels, volume.data.into_raw_vec_and_offset().0)
        }
    };
    let (parts, [labels, reference]) = match &scored {
        Some(scored) => (Structures::of_scores(scored.classes, &how.unions), [labels, reference]),
        None => Structures::of_maps([labels, reference], &how.unions),
    };
    let state = CaseState {
        case: pair.case.clone(),
        prediction: states::located(pair.prediction.first()),
        reference: states::located(&pair.reference),
        image: pair.image.as_deref().map(states::located),
        checksums,
        classes: scored.as_ref().map_or(parts.largest + 1, |scored| scored.classes),
        names: BTreeMap::new(),
        length_unit,
        diagonal_mm: grid.diagonal_mm(),
        structures: structures(backend, &labels, &reference, grid, &parts, how)?,
        authors: Authors {
            structures: authors::segmentation(backend, &labels, &reference, grid.spatial, parts.classes, &parts.list)?,
            calibration: scored.as_ref().map(|scored| as_authors(&scored.calibration)),
        },
        slices: Vec::new(),
        regions: BTreeMap::new(),
        calibration: None,
        logits: None,
    };
    let chosen = match &scored {
        Some(_) => Vec::new(),
        None => slices::choose(&place, &labels, &reference, &parts.list),
    };
    Ok(finished(state, scored, chosen, pair, &place))
}

/// Puts the parts of a state together, and the image under the slices.
fn finished(
    mut state: CaseState,
    scored: Option<Scored>,
    mut chosen: Vec<Chosen>,
    pair: &Pair,
    place: &data::Grid,
) -> (CaseState, Vec<Chosen>) {
    if let Some(scored) = scored {
        (state.regions, state.logits) = (scored.regions, scored.logits);
        state.calibration = Some(scored.calibration);
        chosen = scored.chosen;
    }
    if let (Some(path), false) = (&pair.image, chosen.is_empty()) {
        match scores::read_image(path, place) {
            Ok((image, _)) => chosen.iter_mut().for_each(|slice| slice.add_image(&image)),
            Err(error) => log::warn!("{}: the report shows no image: {error}", pair.case),
        }
    }
    state.slices = chosen.iter().map(|chosen| chosen.slice.clone()).collect();
    (state, chosen)
}

/// What only class scores give.
struct Scored {
    classes: usize,
    regions: BTreeMap<String, Figures>,
    calibration: Calibration,
    logits: Option<Logits>,
    chosen: Vec<Chosen>,
}

/// Reads the class scores, takes from them what they give, and keeps the labels alone.
fn scored<B: Backend>(
    backend: &B,
    pair: &Pair,
    kind: Scores,
    volume: &Volume<Label>,
    grid: Grid,
    how: &Measure,
) -> Result<(Scored, Vec<Label>)> {
    let reference = volume.values();
    let band = boundary_band(backend, reference, grid, how.band_mm)?;
    let (mut values, classes) = scores::read_stored(&pair.prediction, volume, kind)?;
    scores::expect_labels(reference, classes).at(pair.reference.display())?;
    let logits = logits(Probabilities::new(&values, classes), reference, kind)?;
    if kind == Scores::Logits {
        softmax(&mut values, classes);
    }
    let p = Probabilities::new(&values, classes);
    let mut calibration = Calibration::new(classes, how.bins);
    calibration.add(p, reference, Some(&band)).at(pair.prediction.first().display())?;
    let regions = regions(p, reference, &band, &calibration, how);
    drop(band);
    let labels = p.argmax();
    let structures = Structures::of_scores(classes, &how.unions);
    let mut chosen = slices::choose(&volume.grid, &labels, reference, &structures.list);
    chosen.iter_mut().for_each(|slice| slice.add_confidence(p));
    Ok((Scored { classes, regions, calibration, logits, chosen }, labels))
}

fn logits(scores: Probabilities<'_>, reference: &[Label], of: Scores) -> Result<Option<Logits>> {
    if scores.classes() > MOST_CLASSES {
        return Ok(None);
    }
    let (range, bins) = if of == Scores::Logits { LOGITS } else { LOGARITHMS };
    let mut counts = LogitDistribution::new(scores.classes(), range, bins);
    match of {
        Scores::Logits => counts.add(scores, reference)?,
        Scores::Probabilities => counts.add_logarithms(scores, reference)?,
    }
    Ok(Some(Logits { of, counts }))
}

fn structures<B: Backend>(
    backend: &B,
    prediction: &[Label],
    reference: &[Label],
    grid: Grid,
    parts: &Structures,
    how: &Measure,
) -> Result<BTreeMap<String, Outcomes>> {
    let mut confusion = Confusion::new(parts.classes);
    confusion.add(reference, prediction)?;
    let mut all = BTreeMap::new();
    for structure in &parts.list {
        let counts = confusion.counts(structure);
        let surface = Surface::measure(backend, &structure.mask(prediction), &structure.mask(reference), grid)?;
        let outcome = |compute: Compute| match compute {
            Compute::Overlap(figure) => Some(figure(&counts)),
            Compute::Surface(figure) => Some(figure(&surface, how.tolerance_mm)),
            _ => None,
        };
        let figures = METRICS.iter().filter_map(|metric| Some((metric.key.to_owned(), outcome(metric.compute)?)));
        all.insert(structure.name.clone(), figures.collect());
    }
    Ok(all)
}

fn regions(
    p: Probabilities<'_>,
    reference: &[Label],
    band: &[bool],
    calibration: &Calibration,
    how: &Measure,
) -> BTreeMap<String, Figures> {
    let figures = |(region, mass): (Region, EqualMassFigures)| {
        let bins = calibration.region(region);
        let figure = |compute: Compute| match compute {
            Compute::Calibration(figure) | Compute::Descriptive(figure) => Some(figure(&bins)),
            Compute::EqualMass(figure) => Some(figure(&mass)),
            _ => None,
        };
        let figures =
            METRICS.iter().filter_map(|metric| Some((metric.key.to_owned(), Number(figure(metric.compute)?))));
        (region.to_string(), figures.collect())
    };
    let masses = every_region(p, reference, band, how.bins);
    Region::every(p.classes()).into_iter().zip(masses).map(figures).collect()
}

fn as_authors(calibration: &Calibration) -> BTreeMap<String, Number> {
    let figures = AuthorsCalibration::new(calibration).rounded();
    let pairs = [("ece", figures.ece), ("cece_mean", figures.cece), ("tcece", figures.tace)];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), Number(value))).collect()
}
