//! PROMISE12: the prostate in MR (Litjens et al. 2014).

use std::path::Path;

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Recipe, Scan, tree};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "promise",
    title: "MR of the prostate",
    layout: "CaseNN.mhd and CaseNN_segmentation.mhd with their .raw, at any depth",
    source: "MbLS, data sets: 22, 3 and 7 patients; the challenge has 50 with labels, which are divided in that \
             proportion",
    crop: [0, 0, 0],
    size: [0, 0, 0],
    split: [22, 3, 7],
    find,
};

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    choices.expect_none()?;
    let mut scans = Vec::new();
    for label in tree::files(root)? {
        let Some(name) = tree::without(&label, &["_segmentation.mhd"]) else { continue };
        let image = label.with_file_name(format!("{name}.mhd"));
        scans.push(Scan::new(name, name, vec![image], Label::Masks(vec![vec![label.clone()]])));
    }
    Ok(Cohort::new("PROMISE12", &["T2-weighted MR"], &["background", "prostate"], scans))
}
