//! Overlap and distances of two label maps.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use segcal_core::{Backend, Result};

use super::figures::{Authors, Figures, StructureFigures};
use super::options::Options;
use crate::authors::AuthorsSegmentation;
use crate::boxes::LabelBoxes;
use crate::definitions::{Compute, rows};
use crate::overlap::{Confusion, Counts};
use crate::surface::Surface;
use crate::volume::{Grid, Label, Structure};

/// Two label maps on one grid, with ignored voxels set to background in both, and the data derived from them.
struct Maps<'a> {
    prediction: (Cow<'a, [Label]>, LabelBoxes),
    reference: (Cow<'a, [Label]>, LabelBoxes),
    confusion: Confusion,
    grid: Grid,
}

/// The metrics of a label map: for the structures in `list`, or else for the unions and every label that occurs in
/// either map.
pub(super) fn of_labels<B: Backend>(
    backend: &B,
    prediction: Vec<Label>,
    (reference, grid): (&[Label], Grid),
    list: Option<&[Structure]>,
    options: &Options,
) -> Result<Figures> {
    let maps = Maps::new(&prediction, reference, grid, options)?;
    let held: BTreeSet<Label> = maps.prediction.1.labels().chain(maps.reference.1.labels()).collect();
    let classes = held.last().map_or(0, |&largest| usize::from(largest)) + 1;
    let singles = held.into_iter().filter(|&label| label > 0).map(Structure::single);
    let list = list.map_or_else(|| singles.chain(unions(options)).collect(), <[Structure]>::to_vec);
    let (structures, authors) = maps.measure(backend, &list, options)?;
    let ignored = maps.ignored();
    drop(maps);
    Ok(Figures {
        classes,
        ignored,
        structures,
        regions: BTreeMap::new(),
        states: None,
        problems: BTreeMap::new(),
        authors,
        prediction,
        confidence: Vec::new(),
    })
}

/// The metrics of the label map of class scores, for every label below the number of classes and the unions of such
/// labels.
pub(super) fn of_classes<B: Backend>(
    backend: &B,
    prediction: &[Label],
    reference: &[Label],
    grid: Grid,
    classes: usize,
    options: &Options,
) -> Result<(BTreeMap<String, StructureFigures>, Option<Authors>)> {
    let maps = Maps::new(prediction, reference, grid, options)?;
    let singles = (1..classes).map_while(|label| Label::try_from(label).ok()).map(Structure::single);
    let known = unions(options).filter(|union| union.labels.iter().all(|&label| usize::from(label) < classes));
    maps.measure(backend, &singles.chain(known).collect::<Vec<_>>(), options)
}

fn unions(options: &Options) -> impl Iterator<Item = Structure> {
    options.unions.iter().map(|(name, labels)| Structure { name: name.clone(), labels: labels.clone() })
}

impl<'a> Maps<'a> {
    fn new(prediction: &'a [Label], reference: &'a [Label], grid: Grid, options: &Options) -> Result<Self> {
        let mut confusion = Confusion::new(usize::from(Label::MAX) + 1);
        confusion.add_but(reference, prediction, options.ignored)?;
        let masked = |labels: &'a [Label]| {
            let labels = masked(labels, reference, options.ignored);
            let boxes = LabelBoxes::of(&labels, grid.spatial);
            (labels, boxes)
        };
        Ok(Self { prediction: masked(prediction), reference: masked(reference), confusion, grid })
    }

    fn ignored(&self) -> u64 {
        self.grid.voxels() as u64 - self.confusion.total()
    }

    fn measure<B: Backend>(
        &self,
        backend: &B,
        list: &[Structure],
        options: &Options,
    ) -> Result<(BTreeMap<String, StructureFigures>, Option<Authors>)> {
        let each = self.confusion.each();
        let nothing = Counts { true_negative: self.confusion.total(), ..Counts::default() };
        let same = self.grid == Grid::voxel_units(self.grid.spatial);
        let (mut structures, mut authors) = (BTreeMap::new(), BTreeMap::new());
        for structure in list {
            let counts = match *structure.labels {
                [label] => each.get(&label).copied().unwrap_or(nothing),
                _ => self.confusion.counts(structure),
            };
            let surface = self.surface(backend, structure, self.grid)?;
            if same {
                authors.insert(structure.name.clone(), AuthorsSegmentation::new(&counts, &surface));
            } else if options.authors {
                let voxels = self.surface(backend, structure, Grid::voxel_units(self.grid.spatial))?;
                authors.insert(structure.name.clone(), AuthorsSegmentation::new(&counts, &voxels));
            }
            structures.insert(structure.name.clone(), figures(&counts, &surface, options.tolerance));
        }
        let authors = (same || options.authors).then_some(Authors { structures: authors, calibration: None });
        Ok((structures, authors))
    }

    fn surface<B: Backend>(&self, backend: &B, structure: &Structure, grid: Grid) -> Result<Surface> {
        let [prediction, reference] = [&self.prediction, &self.reference].map(|(labels, boxes)| (&**labels, boxes));
        Surface::of_structure(backend, structure, prediction, reference, grid)
    }
}

/// A label map with ignored voxels set to background.
fn masked<'a>(labels: &'a [Label], reference: &[Label], ignored: Option<Label>) -> Cow<'a, [Label]> {
    match ignored {
        Some(ignored) if reference.par_iter().any(|&label| label == ignored) => {
            let kept = |(&label, &judged): (&Label, &Label)| if judged == ignored { 0 } else { label };
            Cow::Owned(labels.par_iter().zip(reference).map(kept).collect())
        }
        _ => Cow::Borrowed(labels),
    }
}

fn figures(counts: &Counts, surface: &Surface, tolerance: f64) -> StructureFigures {
    let outcome = |compute: Compute| match compute {
        Compute::Overlap(figure) => Some(figure(counts)),
        Compute::Surface(figure) => Some(figure(surface, tolerance)),
        _ => None,
    };
    rows().filter_map(|(metric, compute)| Some((metric.key, outcome(compute)?))).collect()
}
