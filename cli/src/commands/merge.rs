//! `segcal merge DIR… --out DIR`.

use std::path::PathBuf;

use segcal_core::Result;
use segcal_evaluate::cohort::{Convention, Plan};
use segcal_evaluate::merge::merge;
use segcal_metrics::empty::Policy;

use super::evaluate;
use crate::{Common, Outcome};

/// Merge several evaluations, or the parts of one.
///
/// Reads the state of every case (`states/*.json`) and writes the same files, bit for bit, as a single run over all
/// cases, in whatever order the folders are given. The options must be those of that run. If parts share a folder
/// (`evaluate --num-parts`), all of them must be there; missing ones are named. A case that failed in one folder and is
/// in no other is reported.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    segcal merge evaluation-1 evaluation-2 --out evaluation\n  \
    segcal merge evaluation --out evaluation")]
pub struct Args {
    /// Folders written by `segcal evaluate` or `segcal merge`.
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    /// Folder for the merged results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How to score empty masks, as for evaluate.
    #[arg(long, value_name = "RULE", default_value = "nan", value_parser = evaluate::parse_policy)]
    pub empty: Policy,
    /// Definitions of the metrics: segcal's own, or those of the papers' public code.
    #[arg(long, default_value = "segcal", value_parser = evaluate::convention())]
    pub convention: Convention,
    /// Seed of the bootstrap intervals.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// Merges the folders, writes the results and prints a table.
///
/// # Errors
/// A folder holds no states, two hold the same case or were measured with different settings, or the results cannot be
/// written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let plan = Plan { empty: args.empty, convention: args.convention, seed: args.seed };
    let cohort = merge(&args.folders, &args.out, plan)?;
    evaluate::print(&cohort, &args.out, common)
}
