//! Writes cohorts of phantoms to disk.

use std::fs;
use std::path::Path;

use segcal_core::{Context, Error, Result, Rng};
use serde_json::json;

use super::{CLASS_NAMES, CLASSES, Phantom, Recipe, draw};
use crate::observer::{self, Observer, Steps};
use crate::output::{self, OutputFolder};
use crate::{Grid, Volume, nifti};

/// A cohort of phantoms.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Folder of the data set; must be empty or absent.
    pub out: &'a Path,
    /// Prefix of the volume names.
    pub prefix: &'a str,
    /// Number of training, validation and test volumes.
    pub counts: [usize; 3],
    /// How a phantom is drawn.
    pub recipe: Recipe,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// Writes the cohort in the MSD layout, with the labels of the test volumes and the true posteriors.
///
/// # Errors
/// A parameter is out of range, the folder is not empty or cannot be written, or the observer asks to stop.
pub fn write(request: &Request<'_>, observer: &dyn Observer) -> Result<()> {
    let Request { out, prefix, counts: [train, val, test], recipe, seed } = request;
    check(recipe, *train)?;
    if out.exists() && fs::read_dir(out).at(out.display())?.next().is_some() {
        return Err(Error::new("is not empty").at(out.display()).help("choose a new folder"));
    }
    let folder = OutputFolder::exclusive(*out)?;
    let total = train + val + test;
    let names: Vec<String> = (0..total).map(|number| format!("{prefix}_{number:03}")).collect();
    let steps = Steps::begin(observer, "phantom", total);
    for (number, name) in names.iter().enumerate() {
        observer::check(observer)?;
        let drawn = draw(recipe, Rng::new(*seed).stream(number as u64));
        let part = if number < train + val { "Tr" } else { "Ts" };
        write_case(&folder, part, name, &drawn, recipe)?;
        steps.step(name);
    }
    let (training, test) = names.split_at(train + val);
    let (train, val) = training.split_at(*train);
    let splits = json!({ "train": train, "val": val, "test": test });
    output::write_text(&folder.file("splits.json")?, &output::to_json(&splits)?)?;
    // Last: a data set without this file was interrupted.
    output::write_text(&folder.file("dataset.json")?, &output::to_json(&description(training, test))?)
}

fn check(recipe: &Recipe, train: usize) -> Result<()> {
    if let Some(bad) = recipe.spatial.iter().find(|extent| !(4..=1024).contains(*extent)) {
        return Err(Error::new(format!("{bad} voxels are out of range")).at("--size").help("give 4 to 1024"));
    }
    if let Some(bad) = recipe.spacing_mm.iter().find(|size| !(size.is_finite() && **size > 0.0)) {
        return Err(Error::new(format!("{bad} mm is not a positive number")).at("--spacing"));
    }
    if !(recipe.intensity_noise.is_finite() && recipe.intensity_noise > 0.0) {
        return Err(Error::new(format!("{} is not a positive number", recipe.intensity_noise)).at("--noise"));
    }
    if !(0.0..=1.0).contains(&recipe.label_noise) {
        return Err(Error::new(format!("{} is not in [0, 1]", recipe.label_noise)).at("--label-noise"));
    }
    if train == 0 {
        return Err(Error::new("a cohort needs at least one training volume").at("--train"));
    }
    Ok(())
}

fn write_case(folder: &OutputFolder, part: &str, name: &str, drawn: &Phantom, recipe: &Recipe) -> Result<()> {
    let [d, h, w] = recipe.spacing_mm;
    let affine = [[w, 0.0, 0.0, 0.0], [0.0, h, 0.0, 0.0], [0.0, 0.0, d, 0.0]];
    let grid = Grid::new(recipe.spatial, affine, 1)?;
    let path = |kind: &str| folder.file(Path::new(&format!("{kind}{part}")).join(format!("{name}.nii.gz")));
    nifti::write(&path("images")?, &Volume::new(drawn.image.clone(), 1, grid.clone()))?;
    nifti::write(&path("labels")?, &Volume::new(drawn.label.clone(), 1, grid.clone()))?;
    nifti::write(&path("posteriors")?, &Volume::new(drawn.posterior.clone(), CLASSES, grid))
}

fn description(training: &[String], test: &[String]) -> serde_json::Value {
    let pair = |name: &String| json!({ "image": format!("./imagesTr/{name}.nii.gz"), "label": format!("./labelsTr/{name}.nii.gz") });
    let labels: serde_json::Map<_, _> =
        CLASS_NAMES.iter().enumerate().map(|(class, name)| (class.to_string(), json!(name))).collect();
    json!({
        "name": "Phantom",
        "description": "Ellipsoids with a known posterior: evaluating it is the oracle of every calibration metric",
        "licence": "CC0",
        "tensorImageSize": "3D",
        "modality": { "0": "phantom" },
        "labels": labels,
        "numTraining": training.len(),
        "numTest": test.len(),
        "training": training.iter().map(pair).collect::<Vec<_>>(),
        "test": test.iter().map(|name| format!("./imagesTs/{name}.nii.gz")).collect::<Vec<_>>(),
    })
}
