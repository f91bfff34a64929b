//! Measures one case from its files.

use std::borrow::Cow;
use std::collections::BTreeMap;

use segcal_core::{Backend, Context, Result};
use segcal_data::output::Number;
use segcal_data::{self as data, Volume};
use segcal_metrics::measure as metrics;
use segcal_metrics::volume::{Grid, Label};

use super::inputs::{Files, Pair};
use super::masks;
use super::pooled::{Counters, Logits};
use super::scores::{self, Notes, Scores};
use super::slices::{self, Chosen};
use super::state::{Authors, CaseState, Measure, Prediction};
use super::states;
use super::structures;
use super::units::LengthUnit;

/// Measures one case. Also returns the slices for its overlays.
///
/// # Errors
/// A file is malformed, prediction and reference do not match, or the device fails.
pub fn measure<B: Backend>(backend: &B, pair: &Pair, how: &Measure) -> Result<(CaseState, Vec<Chosen>)> {
    // Hash first, so that a file modified while it is measured is detected later.
    let checksums = states::checksums(pair)?;
    let Volume { data, grid } = pair.read_reference()?;
    let volume = Volume { data, grid: how.reading.grid(pair.reference_file(), grid)? };
    let length_unit = how.length_unit(&volume.grid);
    let grid = measured_grid(&volume.grid, length_unit);
    let mut notes = Notes::of(pair.prediction.first());
    let prediction = read(pair, &volume, how, &mut notes)?;
    let measured = metrics::measure(backend, prediction, volume.values(), grid, &how.options());
    let figures = measured.at(pair.prediction.first().display())?;
    let chosen = chosen(&figures, &volume, pair, how);
    let state = CaseState {
        case: pair.case.clone(),
        prediction: states::located(pair.prediction.first()),
        reference: states::located(&pair.reference),
        image: pair.image.as_deref().map(states::located),
        checksums,
        classes: figures.classes,
        names: BTreeMap::new(),
        length_unit,
        diagonal: grid.diagonal(),
        ignored: figures.ignored,
        structures: figures.structures.into_iter().map(|(name, figures)| (name, owned(figures, |it| it))).collect(),
        regions: figures.regions.into_iter().map(|(name, figures)| (name, owned(figures, Number))).collect(),
        authors: figures.authors.map(Authors::from),
        slices: chosen.iter().map(|chosen| chosen.slice.clone()).collect(),
        // The doubt about the spacing was logged once for the cohort.
        warnings: notes
            .into_all()
            .into_iter()
            .chain(data::spacing_doubt(pair.reference_file()).map(|doubt| doubt.to_string()))
            .collect(),
        counters: figures.states.map(|states| counters(states, how)),
        problems: figures.problems.into_iter().map(|(name, states)| (name, counters(states, how))).collect(),
    };
    Ok((state, chosen))
}

fn counters(states: metrics::States, how: &Measure) -> Counters {
    Counters {
        calibration: states.calibration,
        equal_mass: states.equal_mass,
        logits: states.logits.map(|counts| Logits { of: how.scores(), counts }),
    }
}

fn owned<T, U>(figures: BTreeMap<&'static str, T>, map: impl Fn(T) -> U) -> BTreeMap<String, U> {
    figures.into_iter().map(|(key, value)| (key.to_owned(), map(value))).collect()
}

/// The grid in the unit of lengths; in mm, with the axes as they are in space.
fn measured_grid(grid: &data::Grid, unit: LengthUnit) -> Grid {
    match unit {
        LengthUnit::Voxels => Grid::voxel_units(grid.extent),
        LengthUnit::Mm => {
            let measured = Grid::of_steps(grid.extent, grid.steps_mm());
            if measured.is_sheared() { measured } else { Grid::new(grid.extent, grid.spacing_mm()) }
        }
    }
}

/// Reads the prediction onto the reference grid.
fn read<'a>(
    pair: &Pair,
    volume: &Volume<Label>,
    how: &'a Measure,
    notes: &mut Notes<'_>,
) -> Result<metrics::Prediction<'a>> {
    let kind = match how.kind {
        Prediction::Scores(kind) => kind,
        Prediction::Segmentation => {
            let labels = match &pair.prediction {
                Files::Masks(masks) => masks::read_onto(masks, &volume.grid, &how.reading)?,
                one => scores::read_labels(one.first(), &volume.grid, &how.reading)?,
            };
            return Ok(metrics::Prediction::Labels(Cow::Owned(labels)));
        }
    };
    if let Some(nested) = &how.nested {
        let values = scores::read_regions(&pair.prediction, volume, kind, &how.reading, nested, notes)?;
        return Ok(metrics::Prediction::Regions(Cow::Owned(values), nested));
    }
    let (values, classes) = scores::read_stored(&pair.prediction, volume, kind, &how.reading, notes)?;
    scores::expect_labels(volume.values(), classes, how.ignored).at(pair.reference.display())?;
    Ok(match kind {
        Scores::Probabilities => metrics::Prediction::Probabilities(Cow::Owned(values)),
        Scores::Logits => metrics::Prediction::Logits(Cow::Owned(values)),
    })
}

/// The slices of each structure, with the image beneath them.
fn chosen(figures: &metrics::Figures, volume: &Volume<Label>, pair: &Pair, how: &Measure) -> Vec<Chosen> {
    let list = match &how.nested {
        Some(nested) => nested.regions.clone(),
        None => structures::list(figures.structures.keys(), &how.unions),
    };
    let reference = structures::judged(volume.values(), volume.values(), how.ignored);
    let prediction = structures::judged(&figures.prediction, volume.values(), how.ignored);
    let mut chosen = slices::choose(&volume.grid, &prediction, &reference, &list);
    chosen.iter_mut().for_each(|slice| slice.add_confidence(&figures.confidence));
    if let (Some(path), false) = (&pair.image, chosen.is_empty()) {
        match scores::read_image(path, &volume.grid) {
            Ok((image, _)) => chosen.iter_mut().for_each(|slice| slice.add_image(&image)),
            Err(error) => log::warn!("{}: the report shows no image: {error}", pair.case),
        }
    }
    chosen
}
