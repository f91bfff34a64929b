//! `segcal phantom OUT`.

use std::fs;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result, Rng};
use serde_json::json;

use crate::data::{Grid, Volume, nifti};
use crate::output::{self, OutputFolder};
use crate::phantom::{self, CLASS_NAMES, CLASSES, Phantom, Recipe};
use crate::{Common, Outcome};

/// Make a labelled cohort whose true class posterior is known.
///
/// The data set has the MSD layout (dataset.json, imagesTr, labelsTr, imagesTs), a splits.json, the labels of the test
/// volumes (labelsTs) and, beside them, the true probability of each class at each voxel (posteriorsTr, posteriorsTs:
/// 4-D NIfTI, class last). Evaluating the posterior gives a calibration error that falls to 0 with the number of
/// voxels; no network can be better calibrated.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal phantom phantom --train 16 --val 4 --test 8 --size 32,48,48")]
pub struct Args {
    /// Folder of the data set; must not exist yet.
    pub out: PathBuf,
    /// Number of training volumes.
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub train: usize,
    /// Number of validation volumes.
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub val: usize,
    /// Number of test volumes.
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub test: usize,
    /// Voxels along z, y, x.
    #[arg(long, value_parser = three::<usize>, default_value = "32,48,48", value_name = "D,H,W")]
    pub size: [usize; 3],
    /// Voxel size along z, y, x in mm.
    #[arg(long, value_parser = three::<f64>, default_value = "1,1,1", value_name = "D,H,W")]
    pub spacing: [f64; 3],
    /// Standard deviation of the intensity; the tissues lie 1 apart.
    #[arg(long, default_value_t = Recipe::default().intensity_noise, value_name = "S")]
    pub noise: f64,
    /// Share of labels drawn at random, 0 to 1.
    #[arg(long, default_value_t = Recipe::default().label_noise, value_name = "E")]
    pub label_noise: f64,
    /// Seed of everything.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

/// Three numbers along z, y, x.
fn three<T: std::str::FromStr>(text: &str) -> std::result::Result<[T; 3], String> {
    let numbers: Option<Vec<T>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "three numbers along z, y, x, such as 32,48,48".into())
}

/// Makes the cohort and prints where it is.
///
/// # Errors
/// A size is out of range, the folder holds something already, or it cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    make(args, common)?;
    if common.json {
        output::print_json(&json!({ "dataset": args.out, "train": args.train, "val": args.val, "test": args.test }))?;
    } else {
        output::print(&format!("{}\n", args.out.display()))?;
    }
    Ok(Outcome::Done)
}

/// Makes the cohort.
///
/// # Errors
/// As [`run`].
pub fn make(args: &Args, common: &Common) -> Result<()> {
    let recipe = recipe(args)?;
    if args.out.exists() && fs::read_dir(&args.out).at(args.out.display())?.next().is_some() {
        return Err(Error::new("is not empty").at(args.out.display()).help("choose a new folder"));
    }
    let folder = OutputFolder::create(&args.out)?;
    let total = args.train + args.val + args.test;
    let names: Vec<String> = (0..total).map(|number| format!("phantom_{number:03}")).collect();
    let bar = common.progress("phantom", total);
    for (number, name) in names.iter().enumerate() {
        let drawn = phantom::draw(&recipe, Rng::new(args.seed).stream(number as u64));
        let part = if number < args.train + args.val { "Tr" } else { "Ts" };
        write_case(&folder, part, name, &drawn, &recipe)?;
        bar.step(name);
    }
    let (training, test) = names.split_at(args.train + args.val);
    let (train, val) = training.split_at(args.train);
    let splits = json!({ "train": train, "val": val, "test": test });
    output::write_text(&folder.file("splits.json")?, &output::to_json(&splits)?)?;
    // Last: a data set without it is one whose making was interrupted.
    output::write_text(&folder.file("dataset.json")?, &output::to_json(&description(training, test))?)
}

fn recipe(args: &Args) -> Result<Recipe> {
    let (spatial, spacing_mm) = (args.size, args.spacing);
    if let Some(bad) = spatial.iter().find(|extent| !(4..=1024).contains(*extent)) {
        return Err(Error::new(format!("{bad} voxels are out of range")).at("--size").help("4 to 1024"));
    }
    if let Some(bad) = spacing_mm.iter().find(|size| !(size.is_finite() && **size > 0.0)) {
        return Err(Error::new(format!("{bad} mm is not a positive number")).at("--spacing"));
    }
    if !(args.noise.is_finite() && args.noise > 0.0) {
        return Err(Error::new(format!("{} is not a positive number", args.noise)).at("--noise"));
    }
    if !(0.0..=1.0).contains(&args.label_noise) {
        return Err(Error::new(format!("{} is not in [0, 1]", args.label_noise)).at("--label-noise"));
    }
    if args.train == 0 {
        return Err(Error::new("a cohort needs at least one training volume").at("--train"));
    }
    let base = Recipe::default();
    Ok(Recipe { spatial, spacing_mm, intensity_noise: args.noise, label_noise: args.label_noise, ..base })
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
