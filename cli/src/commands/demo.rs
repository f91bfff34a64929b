//! `segcal demo [OUT]`.

use std::path::{Path, PathBuf};

use segcal_core::Result;
use segcal_data::dataset;
use segcal_data::part::Part;
use segcal_data::phantom::{self, Recipe};
use segcal_evaluate::cohort::{Cohort, Convention, Kind, Plan};
use segcal_evaluate::scores::Scores;
use segcal_evaluate::state::Prediction;
use segcal_evaluate::{self as evaluate, Request};
use segcal_metrics::empty::Policy;
use segcal_train::predict::{FileFormat, Noise, Output};
use segcal_train::settings::{SampleKind, Samples, Settings};
use toml::Table;

use crate::{Common, Outcome, doors, output};

/// Run the complete workflow on synthetic data in a few minutes: phantoms, training with CE and with NACL, evaluation of both.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal demo")]
pub struct Args {
    /// Folder of everything it makes; a run that was interrupted goes on.
    #[arg(default_value = "segcal-demo")]
    pub out: PathBuf,
    /// Epochs of each training.
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub epochs: u16,
}

/// The losses that are compared.
const LOSSES: [&str; 2] = ["ce", "nacl"];

/// Makes a cohort, trains with each loss, evaluates, and prints a table and where the reports are.
///
/// # Errors
/// The folder cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let cohort = args.out.join("cohort");
    if !cohort.join("dataset.json").exists() {
        common.say("making a cohort of phantoms whose true posterior is known");
        phantom::write(&cohort_of(&cohort), &common.observer())?;
    }
    let mut rows = Vec::new();
    for loss in LOSSES {
        rows.push(train_and_evaluate(loss, args, &cohort, common)?);
    }
    let out = args.out.join("evaluation-posterior");
    rows.push(("posterior", evaluated(&cohort.join("posteriorsTs"), &cohort, &out, common)?));
    print(&rows, args, common)?;
    Ok(Outcome::Done)
}

/// Trains with a loss, predicts the test volumes and evaluates them.
fn train_and_evaluate(
    loss: &'static str,
    args: &Args,
    cohort: &Path,
    common: &Common,
) -> Result<(&'static str, Cohort)> {
    let settings = settings(&args.out, loss, usize::from(args.epochs));
    common.say(&format!("training with {loss}"));
    doors::train(&settings, settings.out.join("config.toml").exists(), common)?;
    let predictions = args.out.join(format!("predictions-{loss}"));
    let request = segcal_train::predict::Request {
        runs: std::slice::from_ref(&settings.out),
        cases: &dataset::images(&cohort.join("imagesTs"))?,
        out: &predictions,
        batch: 16,
        format: FileFormat::Nifti,
        write: &[Output::Segmentations, Output::Probabilities],
        mirror: false,
        noise: Noise::default(),
        part: Part::WHOLE,
        resume: false,
    };
    doors::predict(&request, common)?;
    let out = args.out.join(format!("evaluation-{loss}"));
    Ok((loss, evaluated(&predictions.join("probabilities"), cohort, &out, common)?))
}

/// Evaluates probabilities of the test volumes.
fn evaluated(probabilities: &Path, cohort: &Path, out: &Path, common: &Common) -> Result<Cohort> {
    let kind = Prediction::Scores(Scores::Probabilities);
    let request = Request {
        predictions: probabilities,
        labels: &cohort.join("labelsTs"),
        dataset: None,
        images: None,
        out,
        measure: &evaluate::settings::Settings::default().measure(kind, false)?,
        plan: Plan { empty: Policy::Nan, convention: Convention::Segcal, seed: 0 },
        resume: false,
    };
    doors::evaluate(&request, None, common)
}

/// One line for each loss, and one for the true posterior, which nothing can beat.
fn print(rows: &[(&str, Cohort)], args: &Args, common: &Common) -> Result<()> {
    let figures = |cohort: &Cohort| {
        let foreground = |key| cohort.row(Kind::Region, "foreground", key).map_or(f64::NAN, |row| row.summary.mean);
        let all = cohort.row(Kind::Region, "all", "ece").map_or(f64::NAN, |row| row.summary.mean);
        [
            ("dsc", cohort.mean_over_structures("dsc")),
            ("hd95_max", cohort.mean_over_structures("hd95_max")),
            ("ece", foreground("ece")),
            ("cece_mean", foreground("cece_mean")),
            ("ece_all", all),
        ]
    };
    let report = |name: &str| args.out.join(format!("evaluation-{name}")).join("report.html");
    if common.json {
        let table: serde_json::Map<_, _> = rows
            .iter()
            .map(|(name, cohort)| {
                let mut row: serde_json::Map<_, _> =
                    figures(cohort).iter().map(|(key, value)| ((*key).to_owned(), output::number(*value))).collect();
                row.insert("report".into(), report(name).display().to_string().into());
                ((*name).to_owned(), row.into())
            })
            .collect();
        return output::print_json(&table);
    }
    let mut text = format!("{:<10} {:>7} {:>9} {:>7} {:>7} {:>8}\n", "", "DSC", "HD95 mm", "ECE", "CECE", "ECE all");
    for (name, cohort) in rows {
        let [dsc, hd95, ece, cece, all] = figures(cohort).map(|(_, value)| value);
        text += &format!("{name:<10} {dsc:>7.4} {hd95:>9.3} {ece:>7.4} {cece:>7.4} {all:>8.4}\n");
    }
    text += "ECE and CECE over the foreground; posterior: the probabilities that the labels were drawn from\n";
    rows.iter().for_each(|(name, _)| text += &format!("{}\n", report(name).display()));
    output::print(&text)
}

fn cohort_of(out: &Path) -> phantom::Request<'_> {
    // Stray labels would make every Hausdorff distance the size of the volume.
    phantom::Request { out, counts: [12, 3, 6], recipe: Recipe { label_noise: 0.0, ..Recipe::default() }, seed: 0 }
}

fn settings(out: &Path, loss: &str, epochs: usize) -> Settings {
    let base = Settings::default();
    let network: Table =
        [("levels", 3), ("base", 8)].iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let samples = Samples { kind: SampleKind::Slices, size: vec![48, 48], ..base.samples };
    let mut settings = Settings {
        data: out.join("cohort"),
        out: out.join(format!("run-{loss}")),
        epochs,
        samples,
        ..Settings::default()
    };
    settings.network.extend(network);
    settings.loss.insert("name".into(), loss.into());
    settings
}
