//! `segcal train CONFIG [key=value…]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use segcal_core::{Context, Error, Result};
use segcal_data::observer::Observer;
use segcal_train::job;
use segcal_train::ranks::{Alone, Ranks};
use segcal_train::record::Finished;
use segcal_train::settings::Settings;

use crate::trace::Trace;
use crate::{Common, Outcome, doors, output, progress, ranks};

mod folds;

/// Train a network.
///
/// The run folder contains the resolved config, the names and checksums of the cases, a log line and a table row for
/// each epoch, and the best and last weights. Use --resume to continue an interrupted run after its last complete
/// epoch.
///
/// Processes started together by mpirun train one network, if the program was built with MPI.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    segcal train configs/hippocampus.toml data=../hippocampus loss.name=nacl out=runs/nacl\n  \
    segcal train configs/hippocampus.toml data=../hippocampus fold=all out=runs/folds\n  \
    segcal train configs/hippocampus.toml data=../hippocampus augment=nnunet --draw-samples samples.png")]
pub struct Args {
    /// Training config, a TOML file.
    pub config: PathBuf,
    /// Override keys of the config, such as loss.name=nacl. fold=all trains each fold of the data set into OUT/fold-0,
    /// OUT/fold-1 … and predicts its held-out cases into OUT/out-of-fold.
    #[arg(value_name = "key=value")]
    pub overrides: Vec<String>,
    /// Continue an interrupted run, or extend a finished one to more epochs.
    #[arg(long)]
    pub resume: bool,
    /// Draw augmented training samples instead of training (augment=light, augment=nnunet and its single keys): one row
    /// per sample, beginning with the original, with labels in colour.
    #[arg(long, value_name = "FILE.png", conflicts_with_all = ["resume", "trace"])]
    pub draw_samples: Option<PathBuf>,
    /// Write when each step computed, exchanged gradients and waited for them to FOLDER/rank-N.json, a timeline that
    /// Perfetto (ui.perfetto.dev) and Chrome (chrome://tracing) show.
    #[arg(long, value_name = "FOLDER")]
    pub trace: Option<PathBuf>,
    /// Folder of the run; the same as out=FOLDER.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// Trains, and prints the path of the run.
///
/// # Errors
/// The config or a case is malformed, the run folder is taken, training diverges, or a file cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let (all, keys): (Vec<String>, Vec<String>) = args.overrides.iter().cloned().partition(|key| key == "fold=all");
    let mut settings = Settings::read(&args.config, &keys)?;
    if let Some(out) = &args.out {
        settings.out.clone_from(out);
    }
    if let Some(path) = &args.draw_samples {
        job::draw_samples(&settings, path)?;
        return printed(path, "samples", common);
    }
    if !all.is_empty() {
        if ranks::count() > 1 {
            let error = Error::new("fold=all, but several processes were started together");
            return Err(error.help("start one command for each fold"));
        }
        if args.trace.is_some() {
            let error = Error::new("follows one training, but fold=all starts several").at("--trace");
            return Err(error.help("train one fold, such as fold=0"));
        }
        return folds::run(&settings, args.resume, common);
    }
    let ranks = ranks::join(common.observer())?;
    if let Some(ranks) = &ranks {
        share(&mut settings, &**ranks, common);
    }
    let ranks = ranks.unwrap_or_else(|| Arc::new(Alone));
    let finished = train(args, &ranks, &settings, common)?;
    if ranks.rank() > 0 {
        return Ok(Outcome::Done);
    }
    announce(&finished, &settings.out, common);
    if common.json {
        output::print_json(
            &serde_json::json!({ "run": settings.out, "best_epoch": finished.best_epoch, "epochs": finished.epochs }),
        )?;
        return Ok(Outcome::Done);
    }
    printed(&settings.out, "run", common)
}

/// Trains, and writes the timeline if one is asked for, even if the training ends with an error.
fn train(args: &Args, ranks: &Arc<dyn Ranks>, settings: &Settings, common: &Common) -> Result<Finished> {
    let train = |observer: &dyn Observer| doors::train_among(ranks, settings, args.resume, observer, common);
    let Some(folder) = &args.trace else { return train(&common.observer()) };
    let trace = Trace::new(common.observer(), ranks.rank());
    let finished = train(&trace);
    let written = trace.write(folder).at("--trace");
    finished.and_then(|finished| written.map(|()| finished))
}

/// Sets `micro_batch` to 1 if the config does not set it, so that the ranks can divide a batch.
fn share(settings: &mut Settings, ranks: &dyn Ranks, common: &Common) {
    let what = if settings.micro_batch == 0 { ", with micro_batch = 1" } else { "" };
    settings.micro_batch = settings.micro_batch.max(1);
    if ranks.rank() == 0 {
        common.say(&format!("training with {} ranks{what}: each batch is divided among them", ranks.size()));
    }
}

/// The best epoch, and what to do next.
fn announce(finished: &Finished, run: &Path, common: &Common) {
    let Some(best) = finished.best().filter(|_| !common.quiet) else { return };
    if best.dsc.0.is_nan() {
        return progress::line(&format!("next: segcal predict {} IMAGES --out predictions", run.display()));
    }
    let (of, dsc, ece) = (finished.epochs.len(), best.dsc.0, best.ece.0);
    progress::line(&format!("best epoch {} of {of}: validation DSC {dsc:.4}, ECE {ece:.4}", best.epoch));
    progress::line(&format!("next: segcal predict {} --split val --out predictions", run.display()));
}

fn printed(path: &Path, what: &str, common: &Common) -> Result<Outcome> {
    if common.json {
        output::print_json(&serde_json::json!({ what: path }))?;
    } else {
        output::print(&format!("{}\n", path.display()))?;
    }
    Ok(Outcome::Done)
}
