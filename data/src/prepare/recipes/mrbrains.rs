//! MRBrainS18: brain tissue in MR (Kuijf et al.; Mendrik et al. 2015).

use std::path::Path;

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Recipe, Scan, tree};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "mrbrains",
    title: "MR of brain tissue",
    layout: "a folder per subject with segm.nii.gz and pre/reg_T1, pre/FLAIR, pre/reg_IR (.nii.gz)",
    source: "MbLS, data sets: 5 of 7 subjects to train on, 2 to test on; grey matter is cortex and basal ganglia, white \
             matter includes lesions, cerebrospinal fluid includes the ventricles, all else is background",
    crop: [0, 0, 0],
    size: [0, 0, 0],
    split: [5, 0, 2],
    find,
};

/// Maps the challenge's ten structures to three tissues.
const TISSUES: [(i32, i32); 9] = [(2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 0), (8, 0), (9, 0), (10, 0)];

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    choices.expect_none()?;
    let mut scans = Vec::new();
    for label in tree::files(root)? {
        if !["segm.nii.gz", "segm.nii"].contains(&tree::name(&label)) {
            continue;
        }
        let (pre, subject) = (label.with_file_name("pre"), tree::folder(&label));
        let images = ["reg_T1", "FLAIR", "reg_IR"].map(|name| tree::beside(&pre, name));
        let images = images.into_iter().collect::<Result<_>>()?;
        scans.push(Scan::new(&format!("subject_{subject}"), subject, images, Label::Map(label.clone(), &TISSUES)));
    }
    let classes = ["background", "grey matter", "white matter", "cerebrospinal fluid"];
    Ok(Cohort::new("MRBrainS18", &["T1", "FLAIR", "T1-IR"], &classes, scans))
}
