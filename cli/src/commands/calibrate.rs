//! `segcal calibrate fit METHOD …` and `segcal calibrate apply MAP …`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use segcal_core::{Error, Result};
use segcal_evaluate::calibrate::apply::Applied;
use segcal_evaluate::calibrate::figures;
use segcal_evaluate::calibrate::job::{self, AppliedAll, ApplyRequest, FitRequest};
use segcal_evaluate::calibrate::local::Local;
use segcal_evaluate::calibrate::map::{MapFile, Method};
use segcal_evaluate::calibrate::recipe::{Recipe, Training};
use segcal_evaluate::scores::Scores;
use segcal_metrics::calibration::{Calibration, Region};
use serde_json::{Map as Object, Value, json};

use crate::options::Parts;
use crate::output;
use crate::reading::Believed;
use crate::{Common, Outcome, doors};

/// Fit or apply post-hoc calibration: temperature scaling, Platt scaling, isotonic regression.
///
/// Fit on cases the model was not trained on; apply to a third, separate set.
#[derive(clap::Args, Clone, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example:\n  segcal calibrate fit temperature --logits val/logits --labels labelsVal --out map.json\n  \
                  segcal calibrate apply map.json --logits test/logits --labels labelsTs --out calibrated"
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum Action {
    /// Fit a map on held-out cases and write it to a small JSON file.
    #[command(
        after_help = "Example:\n  segcal calibrate fit vector --logits val/logits --labels labelsVal --out map.json"
    )]
    Fit(FitArgs),
    /// Apply a map and write calibrated probabilities in the geometry of the input.
    #[command(after_help = "Example:\n  segcal calibrate apply map.json --probabilities test --out calibrated")]
    Apply(ApplyArgs),
}

/// The input scores.
#[derive(clap::Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Given {
    /// Class probabilities, a file or a folder.
    #[arg(long, value_name = "P")]
    pub probabilities: Option<PathBuf>,
    /// Logits, a file or a folder.
    #[arg(long, value_name = "P")]
    pub logits: Option<PathBuf>,
}

impl Given {
    fn get(&self) -> Result<(&Path, Scores)> {
        let probabilities = self.probabilities.as_deref().map(|path| (path, Scores::Probabilities));
        let logits = self.logits.as_deref().map(|path| (path, Scores::Logits));
        probabilities
            .or(logits)
            .ok_or_else(|| Error::new("no scores are given").help("use --probabilities or --logits"))
    }
}

/// Arguments of `calibrate fit`.
#[derive(clap::Args, Clone, Debug)]
pub struct FitArgs {
    /// Kind of map.
    #[arg(value_name = "METHOD", value_parser = method())]
    pub method: Method,
    /// The scores to fit on.
    #[command(flatten)]
    pub given: Given,
    /// Reference label maps, a file or a folder.
    #[arg(long, value_name = "Y")]
    pub labels: PathBuf,
    /// Voxels to fit on: all, predicted (where a structure is predicted), predicted:k, foreground, union or
    /// structure:k. Maps are applied to all voxels: fitted on only some of them, every map but a temperature can move
    /// the background. The last three regions are selected by the reference labels, so a map fitted there is biased:
    /// even the true posterior looks miscalibrated.
    #[arg(long, value_name = "REGION", default_value = "all")]
    pub region: Region,
    /// Images for `local`, a file or a folder with one file per case.
    #[arg(long, value_name = "X", required_if_eq("method", "local"))]
    pub images: Option<PathBuf>,
    /// Initialisation and bound of `local`: `bounded` starts near T = 1 and keeps T at 0.25 or above (the likelihood is
    /// lost in an epoch whose temperatures go to 0); `public` follows the public code: it starts at T = 2, without a
    /// bound.
    #[arg(long, value_name = "NAME", value_parser = recipe(), default_value = "bounded")]
    pub recipe: Recipe,
    /// Number of passes over the cases, for `local` [default: 20; public: 200].
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Learning rate of Adam, for `local` [default: 1e-3; public: 1e-4].
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,
    /// Seed of the weights and the order of cases, for `local`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How to interpret the files.
    #[command(flatten)]
    pub believed: Believed,
    /// Write the map to this file: JSON, or safetensors for `local`.
    #[arg(long, value_name = "MAP")]
    pub out: PathBuf,
}

/// Arguments of `calibrate apply`.
#[derive(clap::Args, Clone, Debug)]
pub struct ApplyArgs {
    /// Map written by `segcal calibrate fit`; a .safetensors file is a `local` map.
    #[arg(value_name = "MAP")]
    pub map: PathBuf,
    /// The scores to calibrate.
    #[command(flatten)]
    pub given: Given,
    /// Reference label maps, a file or a folder; with them, calibration before and after is printed.
    #[arg(long, value_name = "Y")]
    pub labels: Option<PathBuf>,
    /// Images for a `local` map, a file or a folder.
    #[arg(long, value_name = "X")]
    pub images: Option<PathBuf>,
    /// How to interpret the files.
    #[command(flatten)]
    pub believed: Believed,
    /// Folder for the calibrated probabilities.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Skip cases whose files exist and were computed from the same map, scores and options; results still cover all
    /// cases.
    #[arg(long)]
    pub resume: bool,
    /// Which part of the cases; results cover only these.
    #[command(flatten)]
    pub parts: Parts,
}

/// The kinds of maps, for the command line.
fn method() -> impl TypedValueParser<Value = Method> {
    let values = Method::ALL.map(|method| PossibleValue::new(method.name()).help(method.summary()));
    PossibleValuesParser::new(values)
        .map(|name| Method::ALL.into_iter().find(|method| method.name() == name).expect("the parser knows the names"))
}

/// The recipes of `local`, for the command line.
fn recipe() -> impl TypedValueParser<Value = Recipe> {
    PossibleValuesParser::new(Recipe::ALL.map(Recipe::name))
        .map(|name| Recipe::ALL.into_iter().find(|recipe| recipe.name() == name).expect("the parser knows the names"))
}

/// Fits or applies.
///
/// # Errors
/// The input cannot be read or does not fit, or a result cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    match &args.action {
        Action::Fit(args) => fit(args, common),
        Action::Apply(args) => apply(args, common),
    }
}

fn fit(args: &FitArgs, common: &Common) -> Result<Outcome> {
    let (scores, kind) = args.given.get()?;
    let reading = args.believed.reading();
    let request = FitRequest {
        scores,
        kind,
        reading: &reading,
        ignored: args.believed.ignored()?,
        labels: &args.labels,
        dataset: args.believed.dataset.as_deref(),
        pairs: None,
        region: args.region,
        out: &args.out,
    };
    if args.method == Method::Local {
        let own = args.recipe.training();
        let (epochs, rate) = (args.epochs.unwrap_or(own.epochs), args.learning_rate.unwrap_or(own.rate));
        let training = Training { epochs, rate, seed: args.seed, ..own };
        let file = doors::fit_local(&request, args.images.as_deref(), training, common)?;
        return print_local(args, &file, common);
    }
    let job::Fitted { file, states } = job::fit(args.method, &request)?;
    if common.json {
        let of = |number: usize| by_problem(&states, |states| figures(&states[number], Region::All));
        output::print_json(&json!({ "file": args.out, "fit": file, "before": of(0), "after": of(1) }))?;
    } else {
        let mut text = format!("{} from {} cases, region {}\n", file.map.summary(), file.cases.len(), args.region);
        text += &output::table(&before_and_after(&states, &[("fit", Region::All)]));
        output::print(&format!("{text}{}\n", args.out.display()))?;
    }
    Ok(Outcome::Done)
}

fn print_local(args: &FitArgs, file: &MapFile<Local>, common: &Common) -> Result<Outcome> {
    if common.json {
        output::print_json(&json!({ "file": args.out, "fit": file }))?;
    } else {
        let Local { epoch, before, after, .. } = file.map;
        output::print(&format!(
            "local temperatures of epoch {epoch} from {} cases, region {}: NLL {before:.6} before, {after:.6} after\n{}\n",
            file.cases.len(),
            args.region,
            args.out.display()
        ))?;
    }
    Ok(Outcome::Done)
}

fn apply(args: &ApplyArgs, common: &Common) -> Result<Outcome> {
    let (scores, kind) = args.given.get()?;
    let reading = args.believed.reading();
    let request = ApplyRequest {
        map: &args.map,
        scores,
        kind,
        reading: &reading,
        ignored: args.believed.ignored()?,
        labels: args.labels.as_deref(),
        images: args.images.as_deref(),
        out: &args.out,
        part: args.parts.part()?,
        resume: args.resume,
    };
    let applied = doors::apply(&request, common)?;
    let report = Report { applied: &applied, states: applied.pooled() };
    if common.json {
        output::print_json(&report.to_json())?;
    } else {
        output::print(&report.tables(&args.out))?;
    }
    Ok(Outcome::of(applied.failed.len()))
}

struct Report<'a> {
    applied: &'a AppliedAll,
    states: Option<Vec<(String, States)>>,
}

/// Calibration before and after.
type States = [Calibration; 2];

/// Describes states as JSON; for regions, under the name of each.
fn by_problem(states: &[(String, States)], say: impl Fn(&States) -> Value) -> Value {
    match states {
        [(name, only)] if name.is_empty() => say(only),
        each => each.iter().map(|(name, states)| (name.clone(), say(states))).collect::<Object<_, _>>().into(),
    }
}

const REGIONS: [(&str, Region); 2] = [("all", Region::All), ("foreground", Region::Foreground)];

impl Report<'_> {
    fn changed(&self) -> (usize, usize) {
        let sum = |of: fn(&Applied) -> usize| self.applied.cases.iter().map(of).sum();
        (sum(|case| case.changed), sum(|case| case.voxels))
    }

    /// Number of cases kept from an earlier run.
    fn kept(&self) -> usize {
        self.applied.cases.iter().filter(|case| case.kept).count()
    }

    fn tables(&self, out: &Path) -> String {
        let (changed, voxels) = self.changed();
        let share = if voxels > 0 { 100.0 * changed as f64 / voxels as f64 } else { 0.0 };
        let kept = self.kept();
        let kept = if kept > 0 { format!(", {kept} of them already done") } else { String::new() };
        let mut text = format!("{}\n", self.applied.summary);
        for case in self.applied.cases.iter().filter(|case| case.changed > 0) {
            text += &format!("{}: {} of {} voxels change their label\n", case.case, case.changed, case.voxels);
        }
        text += &format!(
            "{} cases{kept}, {changed} of {voxels} voxels ({share:.4} %) change their label\n",
            self.applied.cases.len()
        );
        if let Some(states) = &self.states {
            text += &output::table(&before_and_after(states, &REGIONS));
        }
        text + &format!("{}\n", out.display())
    }

    fn to_json(&self) -> Value {
        let case = |case: &Applied| json!({ "case": case.case, "file": case.file, "voxels": case.voxels, "changed_labels": case.changed });
        let regions = |state: &Calibration| -> Value {
            let pairs = REGIONS.map(|(name, region)| (name.to_owned(), figures(state, region)));
            pairs.into_iter().collect::<Object<_, _>>().into()
        };
        let (changed, voxels) = self.changed();
        json!({
            "method": self.applied.method.name(),
            "cases": self.applied.cases.iter().map(case).collect::<Vec<_>>(),
            "kept": self.kept(),
            "voxels": voxels,
            "changed_labels": changed,
            "fitted_on": self.applied.fitted_on,
            "before": self.states.as_ref().map(|states| by_problem(states, |states| regions(&states[0]))),
            "after": self.states.as_ref().map(|states| by_problem(states, |states| regions(&states[1]))),
        })
    }
}

/// Tabulates ECE and NLL over all voxels of all cases; for regions, one row for each region against the rest.
fn before_and_after(states: &[(String, States)], regions: &[(&str, Region)]) -> Vec<[String; 5]> {
    let head = ["region", "ECE before", "after", "NLL before", "after"].map(str::to_owned);
    let row = |(problem, states): &(String, States), &(name, region): &(&str, Region)| {
        let [before, after] = states.each_ref().map(|state| state.region(region));
        let [a, b, c, d] = [before.ece(), after.ece(), before.nll(), after.nll()].map(|x| format!("{x:.6}"));
        [if problem.is_empty() { name.to_owned() } else { format!("{problem}/{name}") }, a, b, c, d]
    };
    let rows = states.iter().flat_map(|problem| regions.iter().map(move |region| row(problem, region)));
    std::iter::once(head).chain(rows).collect()
}
