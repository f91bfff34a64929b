//! `segcal train CONFIG [key=value…]`.

use std::path::PathBuf;

use segcal_core::Result;
use segcal_train::settings::Settings;

use crate::{Common, Outcome, doors, output};

mod folds;

/// Train a network.
///
/// The run folder holds the resolved config, the names and checksums of the cases, a log line and a table row for each
/// epoch, and the best and the last weights. A run that was interrupted goes on with --resume from its last whole epoch.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    segcal train configs/hippocampus.toml data=../hippocampus loss.name=nacl out=runs/nacl\n  \
    segcal train configs/hippocampus.toml data=../hippocampus fold=all out=runs/folds")]
pub struct Args {
    /// The config, a TOML file.
    pub config: PathBuf,
    /// Keys that replace those of the config, such as loss.name=nacl. fold=all trains each fold of the data set into
    /// OUT/fold-0, OUT/fold-1 … and predicts what each holds out into OUT/out-of-fold.
    #[arg(value_name = "key=value")]
    pub overrides: Vec<String>,
    /// Go on with a run that was interrupted, or that is to have more epochs.
    #[arg(long)]
    pub resume: bool,
    /// Folder of the run; the same as out=FOLDER.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// Trains, and prints where the run is.
///
/// # Errors
/// The config or a case is malformed, the run folder is taken, training diverges, or a file cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let (all, keys): (Vec<String>, Vec<String>) = args.overrides.iter().cloned().partition(|key| key == "fold=all");
    let mut settings = Settings::read(&args.config, &keys)?;
    if let Some(out) = &args.out {
        settings.out.clone_from(out);
    }
    if !all.is_empty() {
        return folds::run(&settings, args.resume, common);
    }
    doors::train(&settings, args.resume, common)?;
    if common.json {
        output::print_json(&serde_json::json!({ "run": settings.out }))?;
    } else {
        output::print(&format!("{}\n", settings.out.display()))?;
    }
    Ok(Outcome::Done)
}
