//! `segcal evaluate (--probabilities P | --logits P | --segmentations S) --labels Y --out DIR`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::ArgGroup;
use segcal_backends::Visitor;
use segcal_core::{Backend, Context, Error, Result};
use segcal_metrics::empty::Policy;
use segcal_metrics::volume::Label;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::evaluate::case::{self, CaseState, Measure, Prediction};
use crate::evaluate::cohort::{Cohort, Convention, Kind, Plan};
use crate::evaluate::inputs::{self, Holds, Pair};
use crate::evaluate::scores::Scores;
use crate::evaluate::states::{self, Stored};
use crate::evaluate::{Failure, one_a_thread, slices, structures};
use crate::options::BackendName;
use crate::output::{self, OutputFolder};
use crate::report;
use crate::train::settings::from_table;
use crate::{Common, Outcome, config, progress};

/// Measure stored predictions against references: overlap, surface distance, calibration.
///
/// Reads probabilities, logits or label maps of any program: nnU-Net .npz, 4-D NIfTI (class last), one NIfTI per
/// class, .npy. Writes cases.csv, summary.csv, summary.json and report.html. Geometry is compared, never assumed; a
/// case that fails is reported and the others go on.
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
    /// Label maps, a file or a folder; no calibration is measured.
    #[arg(long, value_name = "S")]
    pub segmentations: Option<PathBuf>,
    /// Reference label maps, a file or a folder.
    #[arg(long, value_name = "Y")]
    pub labels: PathBuf,
    /// Images for the report's overlays, a file or a folder [default: the folder imagesX beside labelsX].
    #[arg(long, value_name = "X")]
    pub images: Option<PathBuf>,
    /// Folder of the results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A TOML file with the keys bins, tolerance_mm, band_mm and a table `regions` of label unions.
    #[arg(long, value_name = "C.toml")]
    pub config: Option<PathBuf>,
    /// Keys that replace those of the config, such as bins=10.
    #[arg(value_name = "key=value")]
    pub overrides: Vec<String>,
    /// Number of bins [default: 15].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub bins: Option<u16>,
    /// Tolerance of nsd in mm, or in voxels where lengths are [default: 1].
    #[arg(long, value_name = "MM")]
    pub tolerance_mm: Option<f64>,
    /// Half-width of the region `boundary` in mm, or in voxels where lengths are [default: 2].
    #[arg(long, value_name = "MM")]
    pub band_mm: Option<f64>,
    /// Lengths in voxels, as the papers report them; those of PNG, .npy and .npz labels always are.
    #[arg(long)]
    pub voxel_units: bool,
    /// What an empty mask counts in overlap and distance: nan leaves it out (and says so), papers gives 1 or 0, worst the
    /// worst value, penalise the grid's diagonal.
    #[arg(long, value_name = "RULE", default_value = "nan", value_parser = parse_policy)]
    pub empty: Policy,
    /// Whose definitions: the table of metrics, or the papers' public code.
    #[arg(long, value_enum, default_value = "segcal")]
    pub convention: Convention,
    /// Seed of the bootstrap intervals.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Skip the cases that are done and whose files have not changed since.
    #[arg(long)]
    pub resume: bool,
}

pub(crate) fn parse_policy(name: &str) -> std::result::Result<Policy, String> {
    let names = || Policy::ALL.map(Policy::name).join(", ");
    Policy::named(name).ok_or_else(|| format!("one of {}", names()))
}

/// The keys of `--config`.
#[derive(Serialize, Deserialize)]
struct FileKeys {
    bins: usize,
    tolerance_mm: f64,
    band_mm: f64,
    regions: BTreeMap<String, Vec<u16>>,
}

impl Default for FileKeys {
    fn default() -> Self {
        Self { bins: 15, tolerance_mm: 1.0, band_mm: 2.0, regions: BTreeMap::new() }
    }
}

impl Args {
    /// The evaluation of stored probabilities with everything else as it is by default.
    pub fn new(probabilities: PathBuf, labels: PathBuf, out: PathBuf) -> Self {
        Self {
            probabilities: Some(probabilities),
            logits: None,
            segmentations: None,
            labels,
            images: None,
            out,
            config: None,
            overrides: Vec::new(),
            bins: None,
            tolerance_mm: None,
            band_mm: None,
            voxel_units: false,
            empty: Policy::Nan,
            convention: Convention::Segcal,
            seed: 0,
            resume: false,
        }
    }

    fn measure(&self) -> Result<Measure> {
        let defaults = Table::try_from(FileKeys::default()).expect("the defaults are a table");
        let file = self.config.as_deref();
        let table = config::layered(defaults, file, &self.overrides, &["regions"])?;
        let keys = from_table(table);
        let keys: FileKeys = if let Some(path) = file { keys.at(path.display())? } else { keys? };
        let measure = Measure {
            kind: self.prediction()?.0,
            bins: self.bins.map_or(keys.bins, usize::from),
            tolerance_mm: self.tolerance_mm.unwrap_or(keys.tolerance_mm),
            band_mm: self.band_mm.unwrap_or(keys.band_mm),
            voxel_units: self.voxel_units,
            unions: keys.regions,
        };
        structures::expect_names(&measure.unions)?;
        for (key, value) in [("tolerance_mm", measure.tolerance_mm), ("band_mm", measure.band_mm)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::new(format!("{value} is not a number of at least 0")).at(key));
            }
        }
        if !(1..=1000).contains(&measure.bins) {
            return Err(Error::new(format!("{} is not in 1 to 1000", measure.bins)).at("bins"));
        }
        Ok(measure)
    }

    fn prediction(&self) -> Result<(Prediction, &Path)> {
        let choices = [
            (Prediction::Scores(Scores::Probabilities), &self.probabilities),
            (Prediction::Scores(Scores::Logits), &self.logits),
            (Prediction::Segmentation, &self.segmentations),
        ];
        let given = choices.into_iter().find_map(|(kind, path)| Some((kind, path.as_deref()?)));
        given.ok_or_else(|| Error::new("no prediction is given").help("--probabilities, --logits or --segmentations"))
    }
}

/// Evaluates, writes the results and prints a table.
///
/// # Errors
/// Predictions and references cannot be paired, or the results cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let (cohort, outcome) = evaluate(args, common)?;
    if common.json {
        output::print_json(&cohort.to_json())?;
    } else {
        output::print(&table(&cohort, &args.out))?;
    }
    Ok(outcome)
}

/// Evaluates and writes the results.
///
/// # Errors
/// As [`run`].
pub fn evaluate(args: &Args, common: &Common) -> Result<(Cohort, Outcome)> {
    let (kind, path) = args.prediction()?;
    let holds = if kind == Prediction::Segmentation { Holds::Labels } else { Holds::Scores };
    let mut found = inputs::pairs(path, &args.labels, holds)?;
    for case in inputs::add_images(&mut found.pairs, args.images.as_deref(), &args.labels)? {
        log::warn!("{case}: has no image; the report shows none");
    }
    let none = |case| (case, Error::new(format!("has a reference but no prediction in {}", path.display())));
    let unpaired = found.unusable.into_iter().chain(found.unpredicted.into_iter().map(none)).collect();
    evaluate_all(args, &found.pairs, unpaired, common)
}

/// Evaluates these pairs, wherever their files lie, and writes the results. Of the paths in `args` only that of the
/// labels counts, beside which `dataset.json` names the structures, and that of the results.
///
/// # Errors
/// No case can be evaluated, or the results cannot be written.
pub fn evaluate_pairs(args: &Args, pairs: &[Pair], common: &Common) -> Result<(Cohort, Outcome)> {
    evaluate_all(args, pairs, Vec::new(), common)
}

/// Evaluates the pairs; the cases that belong to none are reported with those that fail.
fn evaluate_all(
    args: &Args,
    pairs: &[Pair],
    unpaired: Vec<(String, Error)>,
    common: &Common,
) -> Result<(Cohort, Outcome)> {
    let measure = args.measure()?;
    if let Prediction::Scores(_) = measure.kind {
        structures::expect_classes(&measure.unions, pairs)?;
    }
    let device = common.device(BackendName::Cpu)?;
    if args.resume {
        states::expect_own(&args.out, pairs, &unpaired, &measure)?;
    }
    let folder = OutputFolder::create(&args.out)?;
    let kept = if args.resume { pairs.iter().map(|pair| pair.case.as_str()).collect() } else { BTreeSet::new() };
    states::keep_only(&folder, &kept)?;
    let mut failed: Vec<Failure> = unpaired.into_iter().map(|(case, error)| fail(&case, error)).collect();
    let names = inputs::label_names(&args.labels);
    let job = Job { pairs, measure: measure.clone(), names, folder: &folder, resume: args.resume, common };
    let (states, more) = device.run(job)?;
    failed.extend(more);
    if states.is_empty() {
        return Err(Error::new("no case could be evaluated").at(args.prediction()?.1.display()));
    }
    if measure.kind == Prediction::Segmentation {
        for (name, label) in structures::beyond(&measure.unions, &states) {
            log::warn!("regions.{name}: no label map holds the label {label}");
        }
    }
    let plan = Plan { empty: args.empty, convention: args.convention, seed: args.seed };
    let cohort = Cohort::new(states, measure, plan)?.without(failed);
    write(&cohort, &folder)?;
    let outcome = outcome(&cohort);
    Ok((cohort, outcome))
}

/// Whether a case is missing in the figures.
pub(crate) fn outcome(cohort: &Cohort) -> Outcome {
    if cohort.failed.is_empty() { Outcome::Done } else { Outcome::SomeFailed }
}

/// Prints the error of a case, and keeps it for the results.
fn fail(case: &str, error: Error) -> Failure {
    let failure = Failure::new(case, &error);
    progress::line(&format!("error: {}", error.at(case)));
    failure
}

/// Writes every file of an evaluation.
///
/// # Errors
/// The folder cannot be written.
pub fn write(cohort: &Cohort, folder: &OutputFolder) -> Result<()> {
    output::write_text(&folder.file("cases.csv")?, &cohort.cases_csv())?;
    output::write_text(&folder.file("summary.csv")?, &cohort.summary_csv())?;
    report::write(cohort, folder)?;
    output::write_text(&folder.file("summary.json")?, &(output::to_json(&cohort.to_json())? + "\n"))
}

struct Job<'a> {
    pairs: &'a [Pair],
    measure: Measure,
    names: BTreeMap<Label, String>,
    folder: &'a OutputFolder,
    resume: bool,
    common: &'a Common,
}

impl Visitor for Job<'_> {
    type Output = Result<(Vec<CaseState>, Vec<Failure>)>;

    /// One case a thread is in memory at a time.
    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let bar = self.common.progress("evaluate", self.pairs.len());
        let measured = one_a_thread(self.pairs, |pair| {
            let state = self.state(&backend, pair);
            bar.step(&pair.case);
            state
        });
        drop(bar);
        let (mut states, mut failed) = (Vec::new(), Vec::new());
        for (pair, state) in self.pairs.iter().zip(measured) {
            match state {
                Ok(state) => states.push(state),
                Err(error) => failed.push(fail(&pair.case, error)),
            }
        }
        Ok((states, failed))
    }
}

impl Job<'_> {
    /// The state of a case that is done, or else a new one. What cannot be measured leaves none behind.
    fn state<B: Backend>(&self, backend: &B, pair: &Pair) -> Result<CaseState> {
        if let Some(state) = self.done(pair)? {
            return Ok(state);
        }
        states::remove(self.folder, &pair.case)?;
        let (mut state, slices) = case::measure(backend, pair, &self.measure)?;
        let names = self.names.iter().filter(|(label, _)| usize::from(**label) < state.classes);
        state.names = names.map(|(label, name)| (*label, name.clone())).collect();
        let stored = Stored { measure: self.measure.clone(), state };
        // The state says that the case is done, so it comes last.
        slices::write(&states::slices_of(self.folder, &pair.case)?, &slices)?;
        stored.write(self.folder)?;
        Ok(stored.state)
    }

    /// The state of a case that is done, if its files hold what was measured.
    fn done(&self, pair: &Pair) -> Result<Option<CaseState>> {
        let path = states::state_of(self.folder, &pair.case)?;
        if !self.resume || !path.exists() {
            return Ok(None);
        }
        let state = Stored::read(&path)?.state;
        let image = pair.image.as_deref().map(states::located);
        // A file that cannot be read now is told when it is measured.
        let same = state.image == image && states::checksums(pair).is_ok_and(|now| now == state.checksums);
        Ok(same.then_some(state))
    }
}

/// The figures that are looked at first.
pub(crate) fn table(cohort: &Cohort, out: &Path) -> String {
    let mut text = format!("{:<14} {:<12} {:>9} {:>21}\n", "of", "metric", "mean", "95 % interval");
    let shown = |kind: Kind, of: &str, key: &str| match kind {
        Kind::Structure => ["dsc", "hd95_max", "hd95_pooled", "assd"].contains(&key),
        Kind::Region => ["all", "foreground"].contains(&of) && ["ece", "cece_mean", "tace", "nll"].contains(&key),
    };
    for row in cohort.rows.iter().filter(|row| shown(row.kind, &row.of, row.metric.key)) {
        let interval = row.interval.map_or_else(String::new, |[low, high]| format!("[{low:.4}, {high:.4}]"));
        let unit = if row.metric.unit == "1" { "" } else { cohort.unit(row.metric) };
        text += &format!("{:<14} {:<12} {:>9.4} {interval:>21} {unit}\n", row.of, row.metric.key, row.summary.mean);
    }
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
        // Its region tells the same.
        if row.kind == Kind::Structure && row.not_scored() > 0 {
            let of = row.values.len();
            text += &format!("structure {}: no class in the predictions of {} of {of} cases\n", row.of, row.not_scored());
        }
    }
    for Failure { case, error } in &cohort.failed {
        text += &format!("left out: {case}: {error}\n");
    }
    text + &format!("{}\n", out.join("report.html").display())
}

/// Says on standard error what is being done.
pub fn say(common: &Common, text: &str) {
    if !common.quiet {
        progress::line(text);
    }
}
