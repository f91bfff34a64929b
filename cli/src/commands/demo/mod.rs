//! `segcal demo [OUT]`: calibration shown on volumes whose true posterior is known.
//!
//! A network that is trained on only four volumes memorises them and becomes over-confident. A temperature fitted on
//! other volumes and a calibration loss are two remedies; the true posterior shows what calibrated predictions look
//! like. The verdicts are measured, not assumed.

mod page;
mod setting;

use std::path::{Path, PathBuf};

use segcal_core::Result;
use segcal_data::dataset;
use segcal_data::output::OutputFolder;
use segcal_data::part::Part;
use segcal_data::phantom;
use segcal_evaluate::calibrate::job::{self, ApplyRequest, FitRequest};
use segcal_evaluate::calibrate::map::Method;
use segcal_evaluate::cohort::{Cohort, Convention, Kind, Plan};
use segcal_evaluate::reading::Reading;
use segcal_evaluate::scores::Scores;
use segcal_evaluate::state::Prediction;
use segcal_evaluate::verdict::{Found, points};
use segcal_evaluate::{self as evaluate, Request};
use segcal_metrics::bootstrap::{Bootstrap, Interval};
use segcal_metrics::calibration::Region;
use segcal_metrics::empty::Policy;
use segcal_metrics::verdict::LEVEL;
use segcal_train::predict::{FileFormat, Noise, Output};

use crate::{Common, Outcome, doors, output};

/// Demonstrate calibration on synthetic data, in a minute or two.
///
/// Trains two networks on four volumes: one with cross entropy, one with MbLS, a calibration loss. The first is also
/// recalibrated with a temperature fitted on six other volumes. All are evaluated on twelve more, together with the
/// true posterior, which only synthetic data has. OUT/report.html shows the four side by side.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal demo")]
pub struct Args {
    /// Output folder; if it contains an interrupted demo, that is continued.
    #[arg(default_value = "segcal-demo")]
    pub out: PathBuf,
    /// Number of epochs of each training.
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub epochs: u16,
    /// Seed of the volumes and of training.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u32,
}

/// Number of bootstrap replicates of a change.
const REPLICATES: usize = 10_000;

/// One set of predictions of the test volumes, evaluated.
struct Arm {
    /// Its name in files and tables.
    name: &'static str,
    /// Its title.
    title: String,
    cohort: Cohort,
    /// The report of its evaluation.
    report: PathBuf,
}

impl Arm {
    /// Whether it is calibrated where a structure is predicted.
    fn found(&self) -> Option<Found> {
        Found::each(&self.cohort).into_iter().find(|found| found.region == Region::Predicted)
    }

    /// The metrics shown: mean Dice, and mean ECE where a structure is predicted.
    fn figures(&self) -> [(&'static str, f64); 2] {
        let ece = self.cohort.row(Kind::Region, "predicted", "ece").map_or(f64::NAN, |row| row.summary.mean);
        [("dsc", self.cohort.mean_over_structures("dsc")), ("ece", ece)]
    }

    /// Confidence minus accuracy of each volume where a structure is predicted.
    fn excess(&self) -> Option<Vec<f64>> {
        let values = |key: &str| Some(&self.cohort.row(Kind::Region, "predicted", key)?.values);
        Some(values("confidence")?.iter().zip(values("accuracy")?).map(|(one, other)| one - other).collect())
    }

    /// The change of that mean from another arm on the same volumes, with its studentised bootstrap interval.
    fn change(&self, from: &Self) -> Option<Interval> {
        if self.name == from.name {
            return None;
        }
        let pairs = self.excess()?.into_iter().zip(from.excess()?);
        let changes: Vec<f64> = pairs.map(|(own, from)| own - from).collect();
        Some(Bootstrap::studentised_mean(&changes, REPLICATES, 0, LEVEL))
    }

    fn in_words(&self) -> String {
        self.found().map_or_else(|| "no structure is predicted".into(), |found| found.in_words())
    }
}

/// The folders of a demo.
struct Demo<'a> {
    args: &'a Args,
    common: &'a Common,
}

/// Generates the volumes, trains, calibrates, evaluates, and prints a table and the path of the page.
///
/// # Errors
/// The folder cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let arms = Demo { args, common }.arms()?;
    let folder = OutputFolder::exclusive(&args.out)?;
    let page = page::write(&arms, &folder)?;
    if common.json {
        let row = |arm: &Arm| (arm.name.to_owned(), json(arm, &arms[0]));
        let table: serde_json::Map<_, _> = arms.iter().map(row).collect();
        output::print_json(&table)?;
    } else {
        output::print(&table(&arms, &page))?;
    }
    Ok(Outcome::Done)
}

impl Demo<'_> {
    fn arms(&self) -> Result<Vec<Arm>> {
        for (name, volumes) in setting::cohorts(self.args) {
            if !volumes.out.join("dataset.json").exists() {
                self.common.say(&format!("generating {name} volumes whose true posterior is known"));
                phantom::write(&volumes.request(), &self.common.observer())?;
            }
        }
        let ce = self.train("ce")?;
        let mbls = self.train("mbls")?;
        let (calibrated, temperature) = self.calibrate(&ce)?;
        Ok(vec![
            self.arm("ce", "Cross entropy, four volumes".into(), &ce.join("test/probabilities"))?,
            self.arm("ce-temperature", format!("The same, recalibrated with a {temperature}"), &calibrated)?,
            self.arm("mbls", "MbLS, a calibration loss, four volumes".into(), &mbls.join("test/probabilities"))?,
            self.arm("posterior", "The true posterior".into(), &self.path("cohort/posteriorsTs"))?,
        ])
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.args.out.join(inside)
    }

    /// Trains with a loss and predicts the test volumes. Returns the run's folder.
    fn train(&self, loss: &str) -> Result<PathBuf> {
        let settings = setting::of_training(self.args, loss);
        self.common.say(&format!("training with {loss}"));
        doors::train(&settings, settings.out.join("config.toml").exists(), self.common)?;
        self.predict(&settings.out, "cohort", "test")?;
        Ok(settings.out)
    }

    fn predict(&self, run: &PathBuf, cohort: &str, part: &str) -> Result<PathBuf> {
        let out = run.join(part);
        let request = segcal_train::predict::Request {
            runs: std::slice::from_ref(run),
            cases: &dataset::images(&self.path(cohort).join("imagesTs"))?,
            out: &out,
            batch: 16,
            format: FileFormat::Nifti,
            write: &[Output::Segmentations, Output::Probabilities, Output::Logits],
            mirror: false,
            noise: Noise::default(),
            part: Part::WHOLE,
            resume: false,
        };
        doors::predict(&request, self.common)?;
        Ok(out)
    }

    /// Fits a temperature on the held-out volumes and applies it to the test volumes. Returns the folder of their
    /// probabilities and a description of the map.
    fn calibrate(&self, run: &PathBuf) -> Result<(PathBuf, String)> {
        self.common.say("fitting a temperature on the held-out volumes");
        let (held_out, map) = (self.predict(run, "held-out", "held-out")?, self.path("temperature.json"));
        let fitted = job::fit(
            Method::Temperature,
            &FitRequest {
                scores: &held_out.join("logits"),
                kind: Scores::Logits,
                reading: &Reading::default(),
                ignored: None,
                labels: &self.path("held-out/labelsTs"),
                dataset: None,
                pairs: None,
                region: Region::Predicted,
                out: &map,
            },
        )?;
        let out = self.path("ce-temperature");
        let request = ApplyRequest {
            map: &map,
            scores: &run.join("test/logits"),
            kind: Scores::Logits,
            reading: &Reading::default(),
            ignored: None,
            labels: None,
            images: None,
            out: &out,
            part: Part::WHOLE,
            resume: false,
        };
        doors::apply(&request, self.common)?;
        Ok((out, fitted.file.map.summary()))
    }

    /// Evaluates probabilities of the test volumes.
    fn arm(&self, name: &'static str, title: String, probabilities: &Path) -> Result<Arm> {
        let (kind, out) = (Prediction::Scores(Scores::Probabilities), self.path(&format!("evaluation-{name}")));
        let request = Request {
            predictions: probabilities,
            labels: &self.path("cohort/labelsTs"),
            dataset: None,
            images: None,
            out: &out,
            measure: &evaluate::settings::Settings::default().measure(kind, false)?,
            plan: Plan { empty: Policy::Nan, convention: Convention::Segcal, seed: 0 },
            only_predicted: false,
            resume: false,
        };
        let cohort = doors::evaluate(&request, None, self.common)?;
        Ok(Arm { name, title, cohort, report: out.join("report.html") })
    }
}

fn json(arm: &Arm, first: &Arm) -> serde_json::Value {
    let figures = arm.figures().into_iter().map(|(key, value)| (key.to_owned(), output::number(value)));
    let mut row: serde_json::Map<_, _> = figures.collect();
    row.insert("verdict".into(), arm.found().map_or(serde_json::Value::Null, |found| found.to_json()));
    let change = arm.change(first).map(|change| [change.estimate, change.lower, change.upper].map(output::number));
    row.insert("change".into(), serde_json::json!(change));
    row.insert("report".into(), arm.report.display().to_string().into());
    row.into()
}

/// Formats a line for each arm with its verdict, and the path of the page.
fn table(arms: &[Arm], page: &Path) -> String {
    let mut text =
        format!("{:<16} {:>6} {:>7}  confidence - accuracy where a structure is predicted\n", "", "DSC", "ECE");
    for arm in arms {
        let [dsc, ece] = arm.figures().map(|(_, value)| value);
        let change = arm.change(&arms[0]).map_or_else(String::new, |change| changed(&change));
        text += &format!("{:<16} {dsc:>6.3} {ece:>7.4}  {}{change}\n", arm.name, arm.in_words());
    }
    text + &format!("{}\n", page.display())
}

/// The change from the first arm, to follow its sentence.
fn changed(change: &Interval) -> String {
    let [mean, low, high] = [change.estimate, change.lower, change.upper].map(points);
    format!("; change from cross entropy: {mean} points [{low}, {high}]")
}
