//! Calibration of class scores, and overlap and distances of the most probable classes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;
use segcal_core::{Backend, Result};

use super::figures::{Figures, RegionFigures, States};
use super::options::Options;
use super::structures;
use crate::authors::AuthorsCalibration;
use crate::band::boundary_band;
use crate::calibration::{Calibration, EqualMass, EqualMassFigures, MOST_CLASSES, Region, Voxels};
use crate::definitions::{Compute, rows};
use crate::distribution::LogitDistribution;
use crate::volume::{Grid, Label, Probabilities};

/// Range and number of bins of the distributions; values outside are counted at the ends.
const LOGITS: ([f32; 2], usize) = ([-30.0, 30.0], 240);
const LOGARITHMS: ([f32; 2], usize) = ([-20.0, 0.0], 160);

/// The distribution of logits.
pub(super) fn logits(
    scores: &[f32],
    classes: usize,
    reference: &[Label],
    options: &Options,
) -> Result<Option<LogitDistribution>> {
    let Some(mut counts) = distribution(classes, LOGITS) else { return Ok(None) };
    counts.add(Probabilities::new(scores, classes), reference, options.ignored)?;
    Ok(Some(counts))
}

/// The distribution of the logarithms of probabilities.
pub(super) fn logarithms(
    scores: &[f32],
    classes: usize,
    reference: &[Label],
    options: &Options,
) -> Result<Option<LogitDistribution>> {
    let Some(mut counts) = distribution(classes, LOGARITHMS) else { return Ok(None) };
    counts.add_logarithms(Probabilities::new(scores, classes), reference, options.ignored)?;
    Ok(Some(counts))
}

fn distribution(classes: usize, (range, bins): ([f32; 2], usize)) -> Option<LogitDistribution> {
    (classes <= MOST_CLASSES).then(|| LogitDistribution::new(classes, range, bins))
}

/// The metrics of probabilities.
pub(super) fn measure<B: Backend>(
    backend: &B,
    scores: Cow<'_, [f32]>,
    logits: Option<LogitDistribution>,
    (reference, grid): (&[Label], Grid),
    options: &Options,
) -> Result<Figures> {
    let classes = scores.len() / grid.voxels();
    let p = Probabilities::new(&scores, classes);
    let prediction = p.argmax();
    let measured = Calibrated::measure(backend, p, &prediction, (reference, grid), options)?;
    let confidence = confidence(p, &prediction);
    // The scores are by far the largest array in memory, and are no longer needed.
    drop(scores);
    let (structures, authors) = structures::of_classes(backend, &prediction, reference, grid, classes, options)?;
    let authors = authors.map(|mut authors| {
        authors.calibration = Some(AuthorsCalibration::new(&measured.calibration).rounded());
        authors
    });
    let regions = regions(&measured, &Region::every(classes));
    Ok(Figures {
        classes,
        ignored: measured.ignored,
        structures,
        regions: regions.into_iter().map(|(region, figures)| (region.to_string(), figures)).collect(),
        states: Some(measured.into_states(logits)),
        problems: BTreeMap::new(),
        authors,
        prediction,
        confidence,
    })
}

/// The states and intermediate results that the calibration metrics are computed from.
pub(super) struct Calibrated {
    calibration: Calibration,
    equal_mass: EqualMass,
    masses: BTreeMap<Region, EqualMassFigures>,
    ignored: u64,
}

impl Calibrated {
    #[expect(clippy::cast_possible_truncation, reason = "the threshold is the nearest f32, as the probabilities are")]
    pub(super) fn measure<B: Backend>(
        backend: &B,
        p: Probabilities<'_>,
        prediction: &[Label],
        (reference, grid): (&[Label], Grid),
        options: &Options,
    ) -> Result<Self> {
        let voxels = Voxels::new(p, reference, prediction, options.ignored).with_threshold(options.threshold as f32);
        let voxels = voxels.with_boundary(&boundary_band(backend, reference, options.ignored, grid, options.band)?);
        let voxels = voxels.with_near(&boundary_band(backend, prediction, None, grid, options.band)?);
        let mut calibration = Calibration::new(p.classes(), options.bins);
        calibration.add_voxels(&voxels)?;
        let mut equal_mass = EqualMass::new(p.classes(), options.bins);
        let masses = equal_mass.add(&voxels);
        Ok(Self { calibration, equal_mass, masses, ignored: voxels.ignored() })
    }

    pub(super) fn into_states(self, logits: Option<LogitDistribution>) -> States {
        States { calibration: self.calibration.compact(), equal_mass: self.equal_mass, logits }
    }
}

/// The largest probability of each voxel, in 8 bits.
#[expect(clippy::cast_possible_truncation, reason = "from 0 to 255")]
fn confidence(p: Probabilities<'_>, prediction: &[Label]) -> Vec<u8> {
    let largest = |(voxel, &label): (usize, &Label)| p.class(usize::from(label))[voxel].clamp(0.0, 1.0);
    // From 0 to 255.
    prediction.par_iter().enumerate().map(|at| (255.0 * largest(at)).round() as u8).collect()
}

/// All metrics of some regions.
pub(super) fn regions(measured: &Calibrated, list: &[Region]) -> Vec<(Region, RegionFigures)> {
    let figures = |region: &Region| {
        let bins = measured.calibration.region(*region);
        let mass = measured.masses.get(region).unwrap_or(&EqualMassFigures::NONE);
        let figure = |compute: Compute| match compute {
            Compute::Calibration(figure) | Compute::Description(figure) => Some(figure(&bins)),
            Compute::EqualMass(figure) => Some(figure(mass)),
            _ => None,
        };
        (*region, rows().filter_map(|(metric, compute)| Some((metric.key, figure(compute)?))).collect())
    };
    list.par_iter().map(figures).collect()
}
