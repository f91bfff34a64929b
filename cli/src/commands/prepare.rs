//! `segcal prepare SRC OUT --as NAME`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use segcal_core::Result;
use segcal_data::prepare::{self, Choices, Folds, Frame, RECIPES, Request};
use serde_json::json;

use crate::options::Parts;
use crate::output;
use crate::{Common, Outcome};

/// Convert a published data set to nnU-Net's layout, with the papers' resampling and splits.
///
/// Writes imagesTr, labelsTr, imagesTs and labelsTs (CASE_0000.nii.gz, one file per channel), dataset.json, splits.json
/// (train, val, test) and splits_final.json (the same for nnU-Net). Images are resampled linearly and labels by nearest
/// neighbour, over the same physical space. Patients are assigned to splits at random (--seed), unless the data set
/// defines its own. SRC is never modified. To continue an interrupted conversion, run the same command again.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal prepare ACDC/database acdc --as acdc\n  \
    segcal prepare Task05_Prostate prostate --as msd --split 22,3,7\n  \
    segcal prepare FLARE21 flare --as flare --spacing 2.5,1.5,1.5 --crop 30,192,192\n  \
    segcal prepare axons axons-nnunet --as bids --labels seg-myelin-manual,seg-axon-manual")]
pub struct Args {
    /// Folder of the data set as published.
    pub src: PathBuf,
    /// Folder to create.
    pub out: PathBuf,
    /// Data set to convert.
    #[arg(long = "as", value_name = "NAME", value_parser = recipes())]
    pub recipe: &'static str,
    /// Voxel size along z, y, x in mm to resample scans to first; 0 keeps an axis. Without --size, the resulting number
    /// of voxels is kept.
    #[arg(long, value_name = "D,H,W", value_parser = spacing)]
    pub spacing: Option<[f64; 3]>,
    /// Number of voxels along z, y, x (or y, x) to crop around the middle of the structures, padded with zeros beyond
    /// the scan; 0 keeps an axis [default: the papers', unless --spacing or --size is given].
    #[arg(long, value_name = "D,H,W", value_parser = size)]
    pub crop: Option<[usize; 3]>,
    /// Number of voxels along z, y, x (or y, x) to resize to at the end; 0 keeps an axis [default: the papers', unless
    /// --spacing or --crop is given].
    #[arg(long, value_name = "D,H,W", value_parser = size)]
    pub size: Option<[usize; 3]>,
    /// Numbers of patients to train, validate and test on; a different total is divided in the same proportion
    /// [default: the papers', or the data set's own lists].
    #[arg(long, value_name = "TRAIN,VAL,TEST", value_parser = counts)]
    pub split: Option<[usize; 3]>,
    /// Divide the patients outside the test set into N folds for cross-validation (loo: leave one out), instead of into
    /// training and validation. splits_final.json lists the folds; the config key `fold` chooses one for training.
    #[arg(long, value_name = "N|loo", value_parser = folds)]
    pub folds: Option<Folds>,
    /// Seed of the split.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// File name endings of the images to use as channels (bids only).
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub images: Vec<String>,
    /// File name endings of the labels to use as structures, numbered from class 1 (bids only).
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Which part of the cases. Parts share OUT; when all are written, the same command without parts finds and
    /// describes them.
    #[command(flatten)]
    pub parts: Parts,
}

fn recipes() -> impl TypedValueParser<Value = &'static str> {
    let values = RECIPES
        .iter()
        .map(|recipe| PossibleValue::new(recipe.name).help(format!("{}: {}", recipe.title, recipe.layout)));
    PossibleValuesParser::new(values)
        .map(|name| RECIPES.iter().find(|recipe| recipe.name == name).map_or("", |recipe| recipe.name))
}

fn whole(text: &str) -> Option<Vec<usize>> {
    text.split(',').map(|part| part.trim().parse().ok()).collect()
}

fn folds(text: &str) -> std::result::Result<Folds, String> {
    match text {
        "loo" => Ok(Folds::LeaveOneOut),
        _ => text.parse().map(Folds::Count).map_err(|_| "expected a number of folds, such as 5, or loo".into()),
    }
}

fn spacing(text: &str) -> std::result::Result<[f64; 3], String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    let numbers: Option<[f64; 3]> = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers
        .filter(|mm| mm.iter().all(|mm| *mm >= 0.0 && mm.is_finite()))
        .ok_or_else(|| "expected three voxel sizes in mm, such as 5,1.5,1.5; 0 keeps an axis".into())
}

fn size(text: &str) -> std::result::Result<[usize; 3], String> {
    let numbers = match whole(text).as_deref() {
        Some(&[h, w]) => Some([0, h, w]),
        Some(&[d, h, w]) => Some([d, h, w]),
        _ => None,
    };
    numbers
        .filter(|size| size.iter().all(|&extent| extent <= 4096))
        .ok_or_else(|| "expected two or three numbers up to 4096, such as 224,224 or 30,192,192".into())
}

fn counts(text: &str) -> std::result::Result<[usize; 3], String> {
    let counts: Option<[usize; 3]> = whole(text).and_then(|numbers| numbers.try_into().ok());
    counts
        .filter(|[train, _, _]| *train > 0)
        .ok_or_else(|| "expected three numbers of patients, such as 70,10,20, with at least one to train on".into())
}

/// Prepares the data set and prints its path.
///
/// # Errors
/// SRC does not have the expected layout, or OUT contains something else or cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let recipe = RECIPES.iter().find(|recipe| recipe.name == args.recipe).expect("the parser knows the names");
    let request = Request {
        src: &args.src,
        out: &args.out,
        recipe,
        frame: Frame::of(recipe, args.spacing, args.crop, args.size),
        split: args.split,
        folds: args.folds,
        seed: args.seed,
        choices: Choices { images: args.images.clone(), labels: args.labels.clone() },
        part: args.parts.part()?,
    };
    let prepared = prepare::prepare(&request, &common.observer())?;
    let ([train, val, test], failed) = (prepared.counts, prepared.failed.len());
    if common.json {
        let out = args.out.display().to_string();
        output::print_json(
            &json!({ "dataset": out, "as": args.recipe, "train": train, "val": val, "test": test, "failed": failed }),
        )?;
    } else {
        let failures = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        let out = args.out.display();
        let part = if request.part.is_whole() { String::new() } else { format!("{}: ", request.part) };
        output::print(&format!("{out}: {part}{train} to train, {val} to validate, {test} to test{failures}\n"))?;
    }
    Ok(Outcome::of(failed))
}
