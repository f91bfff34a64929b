//! `segcal plan DATASET`.

use std::path::PathBuf;

use segcal_core::{Error, Result};
use segcal_data::output;
use segcal_train::plan::Request;

use crate::{Common, Outcome, doors};

/// Make a training config from a data set, every decision with its reason.
///
/// The training cases are looked at once: extents after cutting, voxel sizes, intensities of the structures, classes. Rules
/// (docs/plan.md) decide voxel size, intensities, dimensions, kernels and strides; steps of the training are measured on
/// this machine, and patch, network and epochs are as large as the time allows. The plan is an ordinary config: any key
/// can be changed in it, or on the command line of `train`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  segcal plan ../hippocampus --minutes 30 && segcal train plan.toml\n  \
    segcal plan ../hippocampus && segcal train plan.toml loss.name=nacl")]
pub struct Args {
    /// Folder of the data set.
    pub dataset: PathBuf,
    /// The config to write; must not exist yet.
    #[arg(long, default_value = "plan.toml", value_name = "FILE")]
    pub out: PathBuf,
    /// Time that the training may take on this machine.
    #[arg(long, default_value_t = 60.0, value_name = "M")]
    pub minutes: f64,
    /// Number of the split from 0, where the data set has several.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub fold: usize,
}

/// Writes the plan and prints where it is.
///
/// # Errors
/// The file exists already or cannot be written, or the data set or a case cannot be read.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    // It may have been edited, and steps are measured for minutes before it is written.
    if args.out.exists() {
        let error = Error::new("exists already, and a plan is never overwritten").at(args.out.display());
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
