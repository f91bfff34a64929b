//! BUSI: breast ultrasound images (Al-Dhabyani et al. 2020).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::Result;

use crate::prepare::{Choices, Cohort, Label, Recipe, Scan, tree};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "busi",
    title: "breast ultrasound",
    layout: "folders benign and malignant with \"benign (1).png\", \"benign (1)_mask.png\" and further masks \
             \"…_mask_1.png\", whose union is the lesion; the folder normal is left out",
    source: "MbLS, data sets: 256 x 256 pixels; 445, 65 and 137 of the 647 images",
    crop: [0, 0, 0],
    size: [1, 256, 256],
    split: [445, 65, 137],
    find,
};

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    choices.expect_none()?;
    let mut images: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut masks: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in tree::files(root)? {
        let Some(stem) = tree::without(&path, &[".png"]).map(str::to_owned) else { continue };
        if !["benign", "malignant"].contains(&tree::folder(&path)) {
            continue;
        }
        match stem.split_once("_mask") {
            Some((image, _)) => masks.entry(image.to_owned()).or_default().push(path),
            None => _ = images.insert(stem, path),
        }
    }
    let scan = |(name, image): (String, PathBuf)| {
        let label = masks.remove(&name).map_or(Label::Unknown, |masks| Label::Masks(vec![masks]));
        Scan::new(&name, &name, vec![image], label)
    };
    let scans = images.into_iter().map(scan).collect();
    Ok(Cohort::new("BUSI", &["ultrasound"], &["background", "lesion"], scans))
}
