//! The Medical Segmentation Decathlon (Antonelli et al. 2022), and every layout that [`Dataset`] reads.

use std::path::Path;

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Part, Recipe, Scan};
use crate::{Case, Dataset};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "msd",
    title: "a task of the Medical Segmentation Decathlon",
    layout: "dataset.json with imagesTr and labelsTr, or any folder that train reads; a splits.json or \
             splits_final.json in it is kept",
    source: "MbLS, data sets: 185, 25 and 50 of the 260 hippocampi. For Task05_Prostate the paper's PROMISE figures \
             are --split 22,3,7",
    crop: [0, 0, 0],
    size: [0, 0, 0],
    split: [185, 25, 50],
    find,
};

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    choices.expect_none()?;
    let dataset = Dataset::open(root)?;
    dataset.expect_classes()?;
    let by_part = [(Part::Train, &dataset.train), (Part::Val, &dataset.val), (Part::Test, &dataset.test)];
    let of_part = |(part, cases): (Part, &Vec<Case>)| cases.iter().map(|case| (part, scan(case))).collect::<Vec<_>>();
    let (parts, scans): (Vec<Part>, Vec<Scan>) = by_part.into_iter().flat_map(of_part).unzip();
    let is_divided = !dataset.val.is_empty();
    let name = root.canonicalize().ok().and_then(|root| Some(root.file_name()?.to_string_lossy().into_owned()));
    Ok(Cohort {
        name: name.unwrap_or_else(|| "data set".into()),
        channels: dataset.channels,
        classes: dataset.classes,
        ignore_label: dataset.ignore_label,
        scans,
        parts: is_divided.then_some(parts),
    })
}

fn scan(case: &Case) -> Scan {
    let label = case.label.clone().map_or(Label::Unknown, |path| Label::Map(path, &[]));
    Scan::new(&case.name, &case.name, case.images.clone(), label)
}
