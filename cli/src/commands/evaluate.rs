//! `segcal evaluate (--probabilities P | --logits P | --segmentations S) --labels Y --out DIR`.

use std::path::{Path, PathBuf};

use clap::ArgGroup;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use segcal_core::{Error, Result};
use segcal_data::part::Part;
use segcal_evaluate::cohort::{Cohort, Convention, Kind, Plan, Row};
use segcal_evaluate::parts::Record;
use segcal_evaluate::scores::Scores;
use segcal_evaluate::settings::Settings;
use segcal_evaluate::state::{Measure, Prediction};
use segcal_evaluate::verdict::Found;
use segcal_evaluate::{Failure, Request};
use segcal_metrics::empty::Policy;
use serde_json::json;

use crate::options::Parts;
use crate::reading::Believed;
use crate::{Common, Outcome, doors, output};

/// Evaluate stored predictions: overlap, surface distance and calibration.
///
/// Reads probabilities, logits or label maps from any program: nnU-Net .npz, 4-D NIfTI (class last), one NIfTI per
/// class, .npy. Writes cases.csv, summary.csv, summary.json and report.html. The geometry of predictions and references
/// is compared, never assumed. A case that fails is reported, and the others continue.
#[derive(clap::Args, Clone, Debug)]
#[command(
    group(ArgGroup::new("prediction").required(true).args(["probabilities", "logits", "segmentations"])),
    after_help = "Example:\n  segcal evaluate --probabilities predictions/probabilities --labels labelsTs --out evaluation"
)]
pub struct Args {
    /// Class probabilities, a file or a folder.
    #[arg(long, value_name = "P")]
    pub probabilities: Option<PathBuf>,
    /// Logits, a file or a folder; softmax is applied.
    #[arg(long, value_name = "P")]
    pub logits: Option<PathBuf>,
    /// Label maps, a file or a folder; calibration is not measured.
    #[arg(long, value_name = "S")]
    pub segmentations: Option<PathBuf>,
    /// Reference label maps, a file or a folder.
    #[arg(long, value_name = "Y")]
    pub labels: PathBuf,
    /// Images for the report's overlays, a file or a folder [default: the folder imagesX beside labelsX].
    #[arg(long, value_name = "X")]
    pub images: Option<PathBuf>,
    /// Folder for the results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A TOML file with the keys bins, tace_threshold, tolerance_mm, band_mm and a table `regions` of label unions.
    #[arg(long, value_name = "C.toml")]
    pub config: Option<PathBuf>,
    /// Override keys of the config, such as bins=10.
    #[arg(value_name = "key=value")]
    pub overrides: Vec<String>,
    /// Number of calibration bins [default: 15].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub bins: Option<u16>,
    /// NSD tolerance in mm, or in voxels if lengths are in voxels [default: 1].
    #[arg(long, value_name = "MM")]
    pub tolerance_mm: Option<f64>,
    /// Half-width of the regions `boundary` and `near` in mm, or in voxels if lengths are in voxels [default: 2].
    #[arg(long, value_name = "MM")]
    pub band_mm: Option<f64>,
    /// Measure lengths in voxels, as the papers do. For PNG, .npy and .npz labels this is always the case.
    #[arg(long)]
    pub voxel_units: bool,
    /// How to interpret the files.
    #[command(flatten)]
    pub believed: Believed,
    /// How to score empty masks in overlap and distance: nan excludes them (and reports how many), papers scores 1 or
    /// 0, worst scores the worst value, penalise scores the diagonal of the grid.
    #[arg(long, value_name = "RULE", default_value = "nan", value_parser = parse_policy)]
    pub empty: Policy,
    /// Definitions of the metrics: segcal's own, or those of the papers' public code.
    #[arg(long, default_value = "segcal", value_parser = convention())]
    pub convention: Convention,
    /// Seed of the bootstrap intervals.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Leave out references that have no prediction, with a warning. Without this option they count as failed cases.
    #[arg(long)]
    pub only_predicted: bool,
    /// Skip cases that are done and whose files have not changed since.
    #[arg(long)]
    pub resume: bool,
    /// Which part of the cases; `segcal merge DIR --out DIR` then joins the parts in one folder.
    #[command(flatten)]
    pub parts: Parts,
}

pub(crate) fn parse_policy(name: &str) -> std::result::Result<Policy, String> {
    let names = || Policy::ALL.map(Policy::name).join(", ");
    Policy::named(name).ok_or_else(|| format!("expected one of {}", names()))
}

/// The conventions, for the command line.
pub(crate) fn convention() -> impl TypedValueParser<Value = Convention> {
    let help = |convention| match convention {
        Convention::Segcal => "The definitions that `segcal list metrics` shows",
        Convention::Authors => {
            "The definitions of the papers' public evaluation code, for comparison with published tables"
        }
    };
    let values = Convention::ALL.map(|convention| PossibleValue::new(convention.name()).help(help(convention)));
    PossibleValuesParser::new(values)
        .map(|name| Convention::ALL.into_iter().find(|other| other.name() == name).expect("the parser knows the names"))
}

impl Args {
    fn measure(&self) -> Result<Measure> {
        let mut settings = Settings::read(self.config.as_deref(), &self.overrides)?;
        settings.bins = self.bins.map_or(settings.bins, usize::from);
        settings.tolerance_mm = self.tolerance_mm.unwrap_or(settings.tolerance_mm);
        settings.band_mm = self.band_mm.unwrap_or(settings.band_mm);
        let measure = settings.measure(self.prediction()?.0, self.voxel_units)?;
        Ok(Measure { ignored: self.believed.ignore_label, reading: self.believed.reading(), ..measure })
    }

    fn prediction(&self) -> Result<(Prediction, &Path)> {
        let choices = [
            (Prediction::Scores(Scores::Probabilities), &self.probabilities),
            (Prediction::Scores(Scores::Logits), &self.logits),
            (Prediction::Segmentation, &self.segmentations),
        ];
        let given = choices.into_iter().find_map(|(kind, path)| Some((kind, path.as_deref()?)));
        given.ok_or_else(|| {
            Error::new("no predictions are given").help("use --probabilities, --logits or --segmentations")
        })
    }
}

/// Evaluates, writes the results and prints a table.
///
/// # Errors
/// Predictions and references cannot be paired, or the results cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let measure = args.measure()?;
    let request = Request {
        predictions: args.prediction()?.1,
        labels: &args.labels,
        dataset: args.believed.dataset.as_deref(),
        images: args.images.as_deref(),
        out: &args.out,
        measure: &measure,
        plan: Plan { empty: args.empty, convention: args.convention, seed: args.seed },
        only_predicted: args.only_predicted,
        resume: args.resume,
    };
    let part = args.parts.part()?;
    if !part.is_whole() {
        let record = doors::evaluate_part(&request, part, common)?;
        return print_part(&record, part, &args.out, common);
    }
    let cohort = doors::evaluate(&request, None, common)?;
    print(&cohort, &args.out, common)
}

/// Prints the result of one part.
fn print_part(record: &Record, part: Part, out: &Path, common: &Common) -> Result<Outcome> {
    let (cases, failed) = (record.states.len(), &record.failed);
    if common.json {
        output::print_json(&json!({ "part": part.id(), "of": part.count(), "cases": cases, "failed": failed }))?;
    } else {
        let left_out: String =
            failed.iter().map(|Failure { case, error }| format!("left out: {case}: {error}\n")).collect();
        let (of, out) = (output::counted(cases + failed.len(), "case"), out.display());
        output::print(&format!(
            "{left_out}{part}: {cases} of {of} measured; once all parts are, run segcal merge {out} --out {out}\n"
        ))?;
    }
    Ok(Outcome::of(failed.len()))
}

/// Prints the results; some cases may have failed.
pub(crate) fn print(cohort: &Cohort, out: &Path, common: &Common) -> Result<Outcome> {
    if common.json {
        output::print_json(&cohort.to_json())?;
    } else {
        output::print(&table(cohort, out))?;
    }
    Ok(Outcome::of(cohort.failed.len()))
}

/// Formats the verdicts, then the main metrics.
fn table(cohort: &Cohort, out: &Path) -> String {
    let mut text: String = Found::each(cohort).iter().map(|found| sentence(&found.in_words())).collect();
    let shown = |row: &&Row| {
        let (of, key) = (row.of.as_str(), row.metric.key);
        match row.kind {
            Kind::Structure => ["dsc", "hd95_max", "hd95_pooled", "assd"].contains(&key),
            Kind::Region => {
                ["all", "foreground"].contains(&of.rsplit('/').next().unwrap_or(of))
                    && ["ece", "cece_mean", "tace", "nll"].contains(&key)
            }
        }
    };
    let mut lines = vec![["", "metric", "mean", "95 % interval"].map(str::to_owned).to_vec()];
    lines.extend(cohort.rows.iter().filter(shown).map(|row| {
        let interval = row.interval.map_or_else(String::new, |[low, high]| format!("[{low:.4}, {high:.4}]"));
        let unit = if row.metric.unit == "1" { "" } else { cohort.unit(row.metric) };
        let mean = format!("{:.4}", row.summary.mean);
        vec![cohort.name(&row.of), row.metric.key.to_owned(), mean, interval, unit.to_owned()]
    }));
    text += &output::table(&lines);
    for row in cohort.emptiness() {
        let empty = &row.summary.empty;
        let any = empty.any() > 0;
        match row.kind {
            Kind::Structure if any => {
                text += &format!(
                    "structure {}: the prediction is empty in {}, the reference in {}, both in {} of {}\n",
                    row.of,
                    empty.prediction,
                    empty.reference,
                    empty.both,
                    output::counted(row.values.len(), "case")
                );
            }
            Kind::Region if any => {
                let cases = output::counted(row.values.len(), "case");
                text += &format!("region {}: has no voxel in {} of {cases}\n", row.of, empty.both);
            }
            _ => {}
        }
        // The region of the structure would only repeat this.
        if row.kind == Kind::Structure && row.not_scored() > 0 {
            let of = row.values.len();
            text +=
                &format!("structure {}: no class in the predictions of {} of {of} cases\n", row.of, row.not_scored());
        }
    }
    for Failure { case, error } in &cohort.failed {
        text += &format!("left out: {case}: {error}\n");
    }
    text + &format!("{}\n", out.join("report.html").display())
}

/// Makes a line of these words, beginning with a capital.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}\n", letters.as_str())
}
