//! BraTS: multi-modal brain tumour segmentation, as published from 2018 to 2021 (Menze et al. 2015; Bakas et al.).

use std::path::Path;

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Recipe, Scan, tree};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "brats",
    title: "multi-modal MR of gliomas",
    layout: "folders with CASE_flair, CASE_t1, CASE_t1ce, CASE_t2 and CASE_seg (.nii.gz), at any depth",
    source: "MbLS, data sets: 235, 35 and 65 of the 335 patients of 2019; 128 x 192 x 192 voxels in the public code; \
             the label 4 (enhancing tumour) becomes 3",
    crop: [0, 0, 0],
    size: [128, 192, 192],
    split: [235, 35, 65],
    find,
};

const CHANNELS: [&str; 4] = ["flair", "t1", "t1ce", "t2"];

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    choices.expect_none()?;
    let endings = tree::nifti("_seg");
    let mut scans = Vec::new();
    for label in tree::files(root)? {
        let Some(name) = tree::without(&label, &endings.each_ref().map(String::as_str)) else { continue };
        let folder = label.parent().unwrap_or(root);
        let images = CHANNELS.map(|channel| tree::beside(folder, &format!("{name}_{channel}")));
        let images = images.into_iter().collect::<Result<_>>()?;
        scans.push(Scan::new(name, name, images, Label::Map(label.clone(), &[(4, 3)])));
    }
    let classes = ["background", "necrotic and non-enhancing tumour", "oedema", "enhancing tumour"];
    Ok(Cohort::new("BraTS", &CHANNELS, &classes, scans))
}
