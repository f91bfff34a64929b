//! WMH: white matter hyperintensities of presumed vascular origin in MR (Kuijf et al. 2019).

use std::path::Path;

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Recipe, Scan, split, tree};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "wmh",
    title: "MR of white matter hyperintensities",
    layout: "a folder per subject with wmh.nii.gz and pre/T1, pre/FLAIR (.nii.gz), at any depth",
    source: "MEEP, section 3: 42, 3 and 15 of 60 subjects, by the lists of its authors' code where these subjects are \
             there; the label 2 (other pathology) is background",
    crop: [0, 0, 0],
    size: [0, 0, 0],
    split: [42, 3, 15],
    find,
};

/// Validation and test subjects, by the number of their folder.
const VAL: [&str; 3] = ["107", "51", "0"];
const TEST: [&str; 15] = ["39", "114", "108", "113", "126", "33", "68", "65", "61", "50", "55", "6", "2", "49", "144"];

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    choices.expect_none()?;
    let mut scans = Vec::new();
    for label in tree::files(root)? {
        if !["wmh.nii.gz", "wmh.nii"].contains(&tree::name(&label)) {
            continue;
        }
        let (pre, subject) = (label.with_file_name("pre"), tree::folder(&label));
        let images = ["FLAIR", "T1"].map(|name| tree::beside(&pre, name)).into_iter().collect::<Result<_>>()?;
        scans.push(Scan::new(&format!("subject_{subject}"), subject, images, Label::Map(label.clone(), &[(2, 0)])));
    }
    let parts = split::listed(&scans, &VAL, &TEST);
    let classes = ["background", "white matter hyperintensity"];
    Ok(Cohort { parts, ..Cohort::new("WMH", &["FLAIR", "T1"], &classes, scans) })
}
