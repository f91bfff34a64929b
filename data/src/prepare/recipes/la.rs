//! LA: the left atrium in late gadolinium-enhanced MR (Atrial Segmentation Challenge 2018, Xiong et al. 2021).

use std::path::Path;

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Recipe, Scan, tree};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "la",
    title: "MR of the left atrium",
    layout: "a folder for each patient with lgemri.nrrd and laendo.nrrd, at any depth",
    source: "MEEP, section 3: 80 of 100 scans to train on, 5 % of them for validation, 20 to test on. The lists of the \
             paper are not published; patches of 144 x 144 x 80 are cut in training",
    size: [0, 0, 0],
    split: [76, 4, 20],
    find,
};

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    choices.expect_none()?;
    let mut scans = Vec::new();
    for image in tree::files(root)? {
        if tree::name(&image) == "lgemri.nrrd" {
            let masks = vec![vec![image.with_file_name("laendo.nrrd")]];
            let patient = tree::folder(&image).to_owned();
            scans.push(Scan::new(&patient, &patient, vec![image], Label::Masks(masks)));
        }
    }
    Ok(Cohort::new("LA", &["late gadolinium-enhanced MR"], &["background", "left atrium"], scans))
}
