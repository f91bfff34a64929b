//! `segcal phantom OUT`.

use std::path::PathBuf;

use segcal_core::Result;
use segcal_data::phantom::{self, Recipe, Request};
use serde_json::json;

use crate::output;
use crate::{Common, Outcome};

/// Generate a labelled synthetic data set whose true class posterior is known.
///
/// The data set has the MSD layout (dataset.json, imagesTr, labelsTr, imagesTs), a splits.json, the labels of the test
/// volumes (labelsTs) and the true probability of each class at each voxel (posteriorsTr, posteriorsTs: 4-D NIfTI,
/// class last). The calibration error of the posterior tends to 0 as the number of voxels grows; no network can be
/// better calibrated.
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
    /// Number of voxels along z, y, x.
    #[arg(long, value_parser = three::<usize>, default_value = "32,48,48", value_name = "D,H,W")]
    pub size: [usize; 3],
    /// Voxel size along z, y, x in mm.
    #[arg(long, value_parser = three::<f64>, default_value = "1,1,1", value_name = "D,H,W")]
    pub spacing: [f64; 3],
    /// Standard deviation of the intensity noise; the mean intensities of the tissues are 1 apart.
    #[arg(long, default_value_t = Recipe::default().intensity_noise, value_name = "S")]
    pub noise: f64,
    /// Fraction of labels drawn at random, 0 to 1.
    #[arg(long, default_value_t = Recipe::default().label_noise, value_name = "E")]
    pub label_noise: f64,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

/// Three numbers along z, y, x.
fn three<T: std::str::FromStr>(text: &str) -> std::result::Result<[T; 3], String> {
    let numbers: Option<Vec<T>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "expected three numbers along z, y, x, such as 32,48,48".into())
}

impl Args {
    /// The cohort that the options describe.
    pub fn request(&self) -> Request<'_> {
        let recipe = Recipe {
            spatial: self.size,
            spacing_mm: self.spacing,
            intensity_noise: self.noise,
            label_noise: self.label_noise,
            ..Recipe::default()
        };
        Request {
            out: &self.out,
            prefix: "phantom",
            counts: [self.train, self.val, self.test],
            recipe,
            seed: self.seed,
        }
    }
}

/// Generates the data set and prints its path.
///
/// # Errors
/// A size is out of range, the folder already contains something, or it cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    phantom::write(&args.request(), &common.observer())?;
    if common.json {
        output::print_json(&json!({ "dataset": args.out, "train": args.train, "val": args.val, "test": args.test }))?;
    } else {
        output::print(&format!("{}\n", args.out.display()))?;
    }
    Ok(Outcome::Done)
}
