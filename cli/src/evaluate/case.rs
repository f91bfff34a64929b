//! What one case gives: every figure of every structure and region, and the states that they came from.

use std::collections::BTreeMap;

use segcal_core::{Backend, Context, Error, Result};
use segcal_metrics::authors::{self, AuthorsCalibration, AuthorsSegmentation};
use segcal_metrics::calibration::{Calibration, EqualMass, Region, boundary_band};
use segcal_metrics::definitions::{Compute, METRICS};
use segcal_metrics::empty::Outcome;
use segcal_metrics::overlap::Confusion;
use segcal_metrics::surface::Surface;
use segcal_metrics::volume::{Grid, Label, Probabilities, Structure};
use serde::{Deserialize, Serialize};

use super::inputs::Pair;
use super::scores::{self, Scores};
use crate::data::Volume;
use crate::output::Number;

/// How cases are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Number of equal-width or equal-mass bins.
    pub bins: usize,
    /// Tolerance of NSD in mm.
    pub tolerance_mm: f64,
    /// Half-width of the boundary region in mm.
    pub band_mm: f64,
    /// Distances in voxels instead of mm.
    pub voxel_units: bool,
    /// Nested regions: names with the labels they unite.
    pub unions: BTreeMap<String, Vec<Label>>,
}

/// What the predictions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Files, for the report's overlays.
    pub prediction: String,
    /// The reference label map.
    pub reference: String,
    /// Number of classes.
    pub classes: usize,
    /// Diagonal of the grid, the penalty of a missed structure.
    pub diagonal_mm: f64,
    /// Figures of each structure.
    pub structures: BTreeMap<String, Outcomes>,
    /// Figures of each region; none for a segmentation.
    pub regions: BTreeMap<String, Figures>,
    /// Bins of every region, for diagrams of the cohort.
    pub calibration: Option<Calibration>,
    /// The figures of the authors' convention.
    pub authors: Authors,
}

/// One case as the papers' public code evaluates it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authors {
    /// DSC and HD95 of each structure.
    pub structures: Vec<AuthorsSegmentation>,
    /// ECE, CECE and TACE; none for a segmentation.
    pub calibration: Option<BTreeMap<String, Number>>,
}

/// Measures one case.
///
/// # Errors
/// A file is malformed or does not belong to the other, or the device fails.
pub fn measure<B: Backend>(backend: &B, pair: &Pair, kind: Prediction, how: &Measure) -> Result<CaseState> {
    let reference = scores::read_reference(&pair.reference)?;
    if reference.channels() != 1 {
        let problem = format!("holds {} volumes where a label map has one", reference.channels());
        return Err(Error::new(problem).at(pair.reference.display()));
    }
    let (values, prediction, classes) = predicted(pair, kind, &reference)?;
    let labels = scores::as_labels(reference.values(), classes).at(pair.reference.display())?;
    let spacing_mm = if how.voxel_units { [1.0; 3] } else { reference.grid.spacing_mm() };
    let grid = Grid { spatial: reference.grid.extent, spacing_mm };
    let mut state = CaseState {
        case: pair.case.clone(),
        prediction: pair.prediction.first().display().to_string(),
        reference: pair.reference.display().to_string(),
        classes,
        diagonal_mm: grid.diagonal_mm(),
        structures: structures(backend, &prediction, &labels, grid, classes, how)?,
        regions: BTreeMap::new(),
        calibration: None,
        authors: Authors {
            structures: authors::segmentation(
                backend,
                &prediction,
                &labels,
                grid.spatial,
                classes,
                &list_structures(classes, how),
            )?,
            calibration: None,
        },
    };
    if let Some(values) = values {
        let p = Probabilities::new(&values, classes);
        let band = boundary_band(backend, &labels, grid, how.band_mm)?;
        let mut calibration = Calibration::new(classes, how.bins);
        calibration.add(p, &labels, Some(&band)).at(&state.prediction)?;
        state.regions = regions(p, &labels, &prediction, &band, &calibration, how);
        state.authors.calibration = Some(as_authors(&calibration));
        state.calibration = Some(calibration);
    }
    Ok(state)
}

/// Probabilities where there are any, labels, and the number of classes.
fn predicted(pair: &Pair, kind: Prediction, reference: &Volume<i32>) -> Result<(Option<Vec<f32>>, Vec<Label>, usize)> {
    match kind {
        Prediction::Scores(scores) => {
            let (values, classes) = scores::read(&pair.prediction, reference, scores)?;
            let labels = Probabilities::new(&values, classes).argmax();
            Ok((Some(values), labels, classes))
        }
        Prediction::Segmentation => {
            let path = pair.prediction.first();
            let labels = scores::read_labels(path, reference)?;
            let largest = labels.iter().chain(reference.values()).copied().max().unwrap_or(0).max(1);
            let classes = usize::try_from(largest).unwrap_or(0) + 1;
            Ok((None, scores::as_labels(&labels, classes).at(path.display())?, classes))
        }
    }
}

fn list_structures(classes: usize, how: &Measure) -> Vec<Structure> {
    let single = (1..classes as Label).map(Structure::single);
    let unions = how.unions.iter().map(|(name, labels)| Structure { name: name.clone(), labels: labels.clone() });
    single.chain(unions).collect()
}

fn structures<B: Backend>(
    backend: &B,
    prediction: &[Label],
    reference: &[Label],
    grid: Grid,
    classes: usize,
    how: &Measure,
) -> Result<BTreeMap<String, Outcomes>> {
    let mut confusion = Confusion::new(classes);
    confusion.add(reference, prediction)?;
    let mut all = BTreeMap::new();
    for structure in list_structures(classes, how) {
        let counts = confusion.counts(&structure);
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
    prediction: &[Label],
    band: &[bool],
    calibration: &Calibration,
    how: &Measure,
) -> BTreeMap<String, Figures> {
    let figures = |region: Region| {
        let bins = calibration.region(region);
        let voxels = reference.iter().zip(prediction).zip(band);
        let inside: Vec<bool> = voxels
            .map(|((&reference, &prediction), &in_band)| region.contains(reference, prediction, in_band))
            .collect();
        let mass = EqualMass::of(p, reference, &inside, how.bins);
        let figure = |compute: Compute| match compute {
            Compute::Calibration(figure) | Compute::Descriptive(figure) => Some(figure(&bins)),
            Compute::EqualMass(figure) => Some(figure(&mass)),
            _ => None,
        };
        METRICS.iter().filter_map(|metric| Some((metric.key.to_owned(), Number(figure(metric.compute)?)))).collect()
    };
    Region::every(p.classes()).into_iter().map(|region| (region.to_string(), figures(region))).collect()
}

fn as_authors(calibration: &Calibration) -> BTreeMap<String, Number> {
    let figures = AuthorsCalibration::new(calibration).rounded();
    let pairs = [("ece", figures.ece), ("cece_mean", figures.cece), ("tcece", figures.tace)];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), Number(value))).collect()
}
