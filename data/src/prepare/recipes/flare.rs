//! FLARE 2021: abdominal organs in CT (Ma et al. 2021).

use std::path::Path;

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Recipe, Scan, tree};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "flare",
    title: "abdominal CT",
    layout: "TrainingImg/CASE_0000.nii.gz and TrainingMask/CASE.nii.gz (or imagesTr and labelsTr)",
    source: "MbLS, data sets: 240, 40 and 80 of 360 volumes; 30 x 192 x 192 voxels. The papers do not name their \
             common space: the whole volume is resized, or --spacing and --crop 30,192,192 give one",
    crop: [0, 0, 0],
    size: [30, 192, 192],
    split: [240, 40, 80],
    find,
};

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    choices.expect_none()?;
    let endings = tree::nifti("_0000");
    let mut scans = Vec::new();
    for image in tree::files(root)? {
        let Some(name) = tree::without(&image, &endings.each_ref().map(String::as_str)) else { continue };
        let masks = match tree::folder(&image) {
            "TrainingImg" => "TrainingMask",
            "imagesTr" => "labelsTr",
            _ => continue,
        };
        let above = image.parent().and_then(Path::parent).unwrap_or(root);
        let label = Label::Map(tree::beside(&above.join(masks), name)?, &[]);
        scans.push(Scan::new(name, name, vec![image.clone()], label));
    }
    Ok(Cohort::new("FLARE", &["CT"], &["background", "liver", "kidneys", "spleen", "pancreas"], scans))
}
