//! LA: the left atrium in late gadolinium-enhanced MR (Atrial Segmentation Challenge 2018, Xiong et al. 2021).

use std::path::Path;

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Recipe, Scan, split, tree};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "la",
    title: "MR of the left atrium",
    layout: "a folder per patient with lgemri.nrrd and laendo.nrrd, at any depth",
    source: "MEEP, section 3: 76, 4 and 20 of 100 scans, by the lists of its authors' code where these patients are there; \
             144 x 144 x 80 voxels about the middle of the atrium",
    crop: [80, 144, 144],
    size: [0, 0, 0],
    split: [76, 4, 20],
    find,
};

/// Validation and test patients.
const VAL: [&str; 4] = ["23X6SY44VT9KFHR7S7OC", "CLXFYOBQDCVXQ9P7YC07", "AT5CRO5JUDBWD4RUPXSQ", "CB5P5W7X310NIIVU7UZV"];
const TEST: [&str; 20] = [
    "UPT6DX9IQY9JAZ7HJKA7",
    "UTBUJIWZMKP64E3N73YC",
    "ULHWPWKKLTE921LQLH1P",
    "V0MZOWJ6MU3RMRCV9EXR",
    "VDOF02M8ZHEAADFMS6NP",
    "VG4C826RAAKVMV9BQLVD",
    "VIXBEFTNVHZWKAKURJBN",
    "VQ2L3WM8KEVF6L44E6G9",
    "WBG9WYZ1B25WDT5WAT8T",
    "WMDG2EFA6L2SNDZXIRU0",
    "WNPKE0W404QE9AELX1LR",
    "WSJB9P4JCXUVHBOYFVWL",
    "WW8F5CO4S4K5IM5Z7EXX",
    "X18LU5AOBNNDMLTA0JZL",
    "XYDLYJ5CS19FDBVLJIPI",
    "Y7ZU0B2APPF54WG6PDMF",
    "YDKD1HVHSME6NVMA8I39",
    "Z9GMG63CJLL0VW893BB1",
    "ZIJLJAVQV3FJ6JSQOH1E",
    "ZQPMJ4XEC5A4BISD45P1",
];

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
    let parts = split::listed(&scans, &VAL, &TEST);
    let classes = ["background", "left atrium"];
    Ok(Cohort { parts, ..Cohort::new("LA", &["late gadolinium-enhanced MR"], &classes, scans) })
}
