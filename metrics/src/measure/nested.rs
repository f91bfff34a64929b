//! Nested regions as independent binary problems, each against the rest.

use std::borrow::Cow;

use segcal_core::{Backend, Result};

use super::figures::Figures;
use super::options::{Nested, Options};
use super::scored::{Calibrated, regions};
use super::structures;
use crate::calibration::Region;
use crate::volume::{Grid, Label, Probabilities, Structure};

/// The label of ignored voxels in a problem with two classes.
const IGNORED: Label = 2;

/// The metrics of independent probabilities: overlap and distances of the resulting label map, and calibration of each
/// region against the rest over the regions of [`Region::COMMON`].
pub(super) fn measure<B: Backend>(
    backend: &B,
    scores: Cow<'_, [f32]>,
    nested: &Nested,
    (reference, grid): (&[Label], Grid),
    options: &Options,
) -> Result<Figures> {
    let prediction = nested.label_map(&scores);
    let mut problems = Vec::new();
    for (region, channel) in nested.regions.iter().zip(scores.chunks(grid.voxels())) {
        problems.push((&region.name, problem(backend, channel, region, (reference, grid), options)?));
    }
    drop(scores);
    let list = Some(nested.regions.as_slice());
    let mut figures = structures::of_labels(backend, prediction, (reference, grid), list, options)?;
    for (name, measured) in problems {
        for (region, own) in regions(&measured, &Region::COMMON) {
            figures.regions.insert(format!("{name}/{region}"), own);
        }
        figures.problems.insert(name.clone(), measured.into_states(None));
    }
    Ok(figures)
}

/// Measures one region against the rest: two classes with the probabilities `1 - p` and `p`.
fn problem<B: Backend>(
    backend: &B,
    channel: &[f32],
    region: &Structure,
    (reference, grid): (&[Label], Grid),
    options: &Options,
) -> Result<Calibrated> {
    let values: Vec<f32> = channel.iter().map(|p| 1.0 - p).chain(channel.iter().copied()).collect();
    let judge = |&label: &Label| if Some(label) == options.ignored { IGNORED } else { region.contains(label).into() };
    let labels: Vec<Label> = reference.iter().map(judge).collect();
    let options = Options { ignored: Some(IGNORED), ..options.clone() };
    let p = Probabilities::new(&values, 2);
    Calibrated::measure(backend, p, &p.argmax(), (&labels, grid), &options)
}
