//! `segcal plan DATASET`.

use std::path::PathBuf;

use segcal_core::{Error, Result};
use segcal_data::output;
use segcal_train::plan::Request;

use crate::{Common, Outcome, doors};

/// Derive a training config from a data set, with the reason for every decision.
///
/// Reads the training cases once: extents after cropping, voxel sizes, intensities of the structures, classes. Rules
/// (docs/plan.md) decide voxel size, intensities, dimensions, kernels and strides. Training steps are timed on this
/// machine, and patch, network and epochs are made as large as the time allows. The plan is an ordinary config: change
/// any key in the file, or on the command line of `train`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  segcal plan ../hippocampus --minutes 30 && segcal train plan.toml\n  \
    segcal plan ../hippocampus && segcal train plan.toml loss.name=nacl")]
pub struct Args {
    /// Folder of the data set.
    pub dataset: PathBuf,
    /// The config to write; must not exist yet.
    #[arg(long, default_value = "plan.toml", value_name = "FILE")]
    pub out: PathBuf,
    /// Time that training may take on this machine, in minutes.
    #[arg(long, default_value_t = 60.0, value_name = "M")]
    pub minutes: f64,
    /// Fold to plan for, counting from 0, if the data set has several.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub fold: usize,
}

/// Writes the plan and prints its path.
///
/// # Errors
/// The file exists already or cannot be written, or the data set or a case cannot be read.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    // The existing file may have been edited, and timing the steps before writing takes minutes.
    if args.out.exists() {
        let error = Error::new("already exists, and a plan is never overwritten").at(args.out.display());
        return Err(error.help("choose another --out, or remove it"));
    }
    let request = Request { data: &args.dataset, fold: args.fold, minutes: args.minutes };
    let plan = doors::plan(&request, common)?;
    output::write_text(&args.out, &plan.text())?;
    if common.json {
        crate::output::print_json(&serde_json::json!({ "plan": args.out }))?;
    } else {
        crate::output::print(&format!("{}\n", args.out.display()))?;
    }
    Ok(Outcome::Done)
}
