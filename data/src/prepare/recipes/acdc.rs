//! ACDC: Automated Cardiac Diagnosis Challenge (Bernard et al. 2018).

use std::path::Path;

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Recipe, Scan, tree};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "acdc",
    title: "cardiac MR, end of diastole and systole",
    layout: "patientNNN/patientNNN_frameNN.nii.gz and …_gt.nii.gz, directly or in a folder training",
    source: "MbLS, data sets: slices of 224 x 224; 70, 10 and 20 of the 100 training patients",
    crop: [0, 0, 0],
    size: [0, 224, 224],
    split: [70, 10, 20],
    find,
};

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    choices.expect_none()?;
    let training = root.join("training");
    let below = if training.is_dir() { training } else { root.into() };
    let endings = tree::nifti("_gt");
    let mut scans = Vec::new();
    for label in tree::files(&below)? {
        let Some(name) = tree::without(&label, &endings.each_ref().map(String::as_str)) else { continue };
        let image = tree::beside(label.parent().unwrap_or(&below), name)?;
        let patient = name.split_once("_frame").map_or(name, |(patient, _)| patient);
        scans.push(Scan::new(name, patient, vec![image], Label::Map(label.clone(), &[])));
    }
    let classes = ["background", "right ventricle", "myocardium", "left ventricle"];
    Ok(Cohort::new("ACDC", &["cine MR"], &classes, scans))
}
