//! `segcal calibrate fit METHOD …` and `segcal calibrate apply MAP …`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use segcal_backends::Visitor;
use segcal_core::{Backend, Context, Error, Result};
use segcal_metrics::calibration::{Calibration, Region};
use serde_json::{Map as Object, Value, json};

use super::Cases;
use crate::calibrate::apply::{Applied, Mend, apply};
use crate::calibrate::local::{self, Local, LocalMap, Training};
use crate::calibrate::map::{Map, MapFile, Method};
use crate::calibrate::samples::RegionSamples;
use crate::calibrate::{calibration, figures};
use crate::evaluate::inputs::{self, Files, Holds, Pair};
use crate::evaluate::one_a_thread;
use crate::evaluate::scores::Scores;
use crate::options::BackendName;
use crate::output::{self, OutputFolder};
use crate::{Common, Outcome, progress};

/// Fit a map that mends the probabilities of a finished model, or apply one.
///
/// Fit on cases that the model was not trained on, and apply to others still.
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
    /// Apply a map and write calibrated probabilities on the grids of the files.
    #[command(after_help = "Example:\n  segcal calibrate apply map.json --probabilities test --out calibrated")]
    Apply(ApplyArgs),
}

/// The scores that are given.
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
        probabilities.or(logits).ok_or_else(|| Error::new("no scores are given").help("--probabilities or --logits"))
    }
}

/// Arguments of `calibrate fit`.
#[derive(clap::Args, Clone, Debug)]
pub struct FitArgs {
    /// Kind of the map.
    #[arg(value_enum, value_name = "METHOD")]
    pub method: Method,
    /// The scores to fit on.
    #[command(flatten)]
    pub given: Given,
    /// Reference label maps, a file or a folder.
    #[arg(long, value_name = "Y")]
    pub labels: PathBuf,
    /// The voxels to fit on: all, foreground, union, or structure:k. Maps are applied to all voxels: only a temperature
    /// fitted on another region leaves the background in its place.
    #[arg(long, value_name = "REGION", default_value = "all")]
    pub region: Region,
    /// Images for `local`, a file or a folder, one file a case.
    #[arg(long, value_name = "X", required_if_eq("method", "local"))]
    pub images: Option<PathBuf>,
    /// Passes over the cases, for `local`.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub epochs: usize,
    /// Learning rate of Adam, for `local`.
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// Seed of weights and order, for `local`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Where to write the map: JSON, for `local` safetensors.
    #[arg(long, value_name = "MAP")]
    pub out: PathBuf,
}

/// Arguments of `calibrate apply`.
#[derive(clap::Args, Clone, Debug)]
pub struct ApplyArgs {
    /// A map that `segcal calibrate fit` wrote; one that ends in .safetensors is of `local`.
    #[arg(value_name = "MAP")]
    pub map: PathBuf,
    /// The scores to calibrate.
    #[command(flatten)]
    pub given: Given,
    /// Reference label maps, a file or a folder: calibration before and after is printed.
    #[arg(long, value_name = "Y")]
    pub labels: Option<PathBuf>,
    /// Images for a map of `local`, a file or a folder.
    #[arg(long, value_name = "X")]
    pub images: Option<PathBuf>,
    /// Folder of the calibrated probabilities.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Fits or applies.
///
/// # Errors
/// The input cannot be read or does not fit, or a result cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    match &args.action {
        Action::Fit(args) => fit(args, common),
        Action::Apply(args) => apply_all(args, common),
    }
}

fn fit(args: &FitArgs, common: &Common) -> Result<Outcome> {
    let (path, kind) = args.given.get()?;
    let (pairs, missing) = inputs::pairs(path, &args.labels, Holds::Scores)?.every_prediction()?;
    for case in &missing {
        log::warn!("{case}: has a reference but no prediction; it is not fitted on");
    }
    if args.region != Region::All && args.method != Method::Temperature {
        log::warn!(
            "{} fitted on {} alone knows too little of the background, but is applied everywhere: --region all",
            args.method.name(),
            args.region
        );
    }
    if args.method == Method::Local {
        return fit_local(args, &pairs, kind, common);
    }
    let mut samples = RegionSamples::new(&pairs, kind, args.region)?;
    let map = Map::fit(args.method, &mut samples).at(path.display())?;
    if let Some(doubt) = map.doubt() {
        log::warn!("{doubt}");
    }
    let before = calibration(&mut samples, None)?;
    let after = calibration(&mut samples, Some(&map))?;
    let cases = pairs.iter().map(|pair| pair.case.clone()).collect();
    let file = MapFile::new(map, before.classes(), kind, args.region.to_string(), cases);
    file.write(&args.out)?;
    if common.json {
        let [before, after] = [&before, &after].map(|state| figures(state, Region::All));
        output::print_json(&json!({ "file": args.out, "fit": file, "before": before, "after": after }))?;
    } else {
        let mut text = format!("{} from {} cases, region {}\n", file.map.summary(), pairs.len(), args.region);
        text += &output::table(&before_and_after(&before, &after, &[("fit", Region::All)]));
        output::print(&format!("{text}{}\n", args.out.display()))?;
    }
    Ok(Outcome::Done)
}

fn fit_local(args: &FitArgs, pairs: &[Pair], kind: Scores, common: &Common) -> Result<Outcome> {
    if !is_local(&args.out) {
        let error = Error::new("local temperatures are stored as .safetensors").at(args.out.display());
        return Err(error.help("give --out a name with that ending"));
    }
    if !(args.learning_rate > 0.0 && args.learning_rate.is_finite()) {
        return Err(Error::new(format!("{} is not a number above 0", args.learning_rate)).at("--learning-rate"));
    }
    let file = common.device(BackendName::Cpu)?.run(FitLocal { args, pairs, kind, common })?;
    if common.json {
        output::print_json(&json!({ "file": args.out, "fit": file }))?;
    } else {
        let Local { epoch, before, after, .. } = file.map;
        output::print(&format!(
            "local temperatures of epoch {epoch} from {} cases, region {}: NLL {before:.6} before, {after:.6} after\n{}\n",
            pairs.len(),
            args.region,
            args.out.display()
        ))?;
    }
    Ok(Outcome::Done)
}

fn is_local(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "safetensors")
}

struct FitLocal<'a> {
    args: &'a FitArgs,
    pairs: &'a [Pair],
    kind: Scores,
    common: &'a Common,
}

impl Visitor for FitLocal<'_> {
    type Output = Result<MapFile<Local>>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let Self { args, pairs, kind, common } = self;
        let images = images(args.images.as_deref())?;
        let image = |pair: &Pair| Ok(local::image_of(&images, &pair.case)?.to_path_buf());
        let images = pairs.iter().map(image).collect::<Result<_>>()?;
        let training = Training { epochs: args.epochs, rate: args.learning_rate, seed: args.seed };
        let fit = local::Fit { backend: &backend, pairs, images, kind, region: args.region, training };
        let (file, parameters) = fit.run(|epoch, nll| {
            if !common.quiet {
                progress::line(&format!("epoch {epoch}/{}: NLL {nll:.6}", args.epochs));
            }
        })?;
        local::save(&args.out, &file, &parameters)?;
        Ok(file)
    }
}

fn images(path: Option<&Path>) -> Result<BTreeMap<String, Files>> {
    let path = path.ok_or_else(|| Error::new("local temperatures need images").help("--images X"))?;
    inputs::predictions(path, Holds::Other)
}

/// A case to apply the map to, with its reference if there is one.
type Item = (String, Files, Option<PathBuf>);

fn items(path: &Path, labels: Option<&Path>) -> Result<Vec<Item>> {
    let Some(labels) = labels else {
        return Ok(inputs::predictions(path, Holds::Scores)?.into_iter().map(|(case, files)| (case, files, None)).collect());
    };
    let (pairs, _) = inputs::pairs(path, labels, Holds::Scores)?.every_prediction()?;
    Ok(pairs.into_iter().map(|pair| (pair.case, pair.prediction, Some(pair.reference))).collect())
}

fn apply_all(args: &ApplyArgs, common: &Common) -> Result<Outcome> {
    let (_, kind) = args.given.get()?;
    if is_local(&args.map) {
        let file = local::describe(&args.map)?;
        file.expect(kind, false).at(args.map.display())?;
        return common.device(BackendName::Cpu)?.run(ApplyLocal { args, file, common });
    }
    let file = MapFile::read(&args.map)?;
    file.expect(kind, file.map.ignores_offsets()).at(args.map.display())?;
    let about = About { method: file.map.method(), summary: file.map.summary(), fitted_on: &file.cases };
    apply_to(args, &file, &about, common)
}

struct ApplyLocal<'a> {
    args: &'a ApplyArgs,
    file: MapFile<Local>,
    common: &'a Common,
}

impl Visitor for ApplyLocal<'_> {
    type Output = Result<Outcome>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let Self { args, file, common } = self;
        let map = LocalMap::load(&args.map, &file, images(args.images.as_deref())?, backend)?;
        let summary = format!("local temperatures of epoch {}", file.map.epoch);
        apply_to(args, &map, &About { method: Method::Local, summary, fitted_on: &file.cases }, common)
    }
}

/// What is said of a map.
struct About<'a> {
    method: Method,
    summary: String,
    fitted_on: &'a [String],
}

fn apply_to(args: &ApplyArgs, map: &dyn Mend, about: &About<'_>, common: &Common) -> Result<Outcome> {
    let (path, kind) = args.given.get()?;
    let items = items(path, args.labels.as_deref())?;
    let overlap: Vec<&String> =
        items.iter().map(|(case, ..)| case).filter(|case| about.fitted_on.contains(case)).collect();
    for case in &overlap {
        log::warn!("{case}: the map was fitted on a case of this name; figures of it flatter the map");
    }
    let folder = OutputFolder::create(&args.out)?;
    let whole = std::fs::canonicalize(path).at(path.display())?;
    let source = if path.is_file() { whole.parent() } else { Some(whole.as_path()) };
    if std::fs::canonicalize(folder.path()).ok().as_deref() == source {
        let error = Error::new("is the folder of the input, which is never overwritten").at(args.out.display());
        return Err(error.help("choose another --out"));
    }
    let bar = common.progress("calibrate", items.len());
    let results = one_a_thread(&items, |(case, files, reference)| {
        let applied = apply(map, case, files, kind, reference.as_ref(), &folder).at(case);
        bar.step(case);
        applied
    });
    drop(bar);
    let mut cases = Cases::default();
    let applied: Vec<Applied> = results.into_iter().filter_map(|result| cases.keep(result)).collect();
    if applied.is_empty() {
        return Err(Error::new("no case could be calibrated").at(path.display()));
    }
    let report = Report { about, states: pooled(&applied), applied: &applied };
    if common.json {
        output::print_json(&report.to_json(&overlap))?;
    } else {
        output::print(&report.tables(&args.out))?;
    }
    Ok(cases.outcome())
}

/// The voxels of all cases together, before and after.
fn pooled(applied: &[Applied]) -> Option<[Calibration; 2]> {
    applied.iter().filter_map(|case| case.states.clone()).reduce(|mut total, more| {
        total.iter_mut().zip(&more).for_each(|(total, more)| total.merge(more));
        total
    })
}

struct Report<'a> {
    about: &'a About<'a>,
    applied: &'a [Applied],
    states: Option<[Calibration; 2]>,
}

const REGIONS: [(&str, Region); 2] = [("all", Region::All), ("foreground", Region::Foreground)];

impl Report<'_> {
    fn changed(&self) -> (usize, usize) {
        let sum = |of: fn(&Applied) -> usize| self.applied.iter().map(of).sum();
        (sum(|case| case.changed), sum(|case| case.voxels))
    }

    fn tables(&self, out: &Path) -> String {
        let (changed, voxels) = self.changed();
        let share = 100.0 * changed as f64 / voxels as f64;
        let mut text = format!("{}\n", self.about.summary);
        for case in self.applied.iter().filter(|case| case.changed > 0) {
            text += &format!("{}: {} of {} voxels change their label\n", case.case, case.changed, case.voxels);
        }
        text +=
            &format!("{} cases, {changed} of {voxels} voxels ({share:.4} %) change their label\n", self.applied.len());
        if let Some([before, after]) = &self.states {
            text += &output::table(&before_and_after(before, after, &REGIONS));
        }
        text + &format!("{}\n", out.display())
    }

    fn to_json(&self, overlap: &[&String]) -> Value {
        let case = |case: &Applied| json!({ "case": case.case, "file": case.file, "voxels": case.voxels, "changed_labels": case.changed });
        let regions = |state: &Calibration| -> Value {
            let pairs = REGIONS.map(|(name, region)| (name.to_owned(), figures(state, region)));
            pairs.into_iter().collect::<Object<_, _>>().into()
        };
        let (changed, voxels) = self.changed();
        json!({
            "method": self.about.method.name(),
            "cases": self.applied.iter().map(case).collect::<Vec<_>>(),
            "voxels": voxels,
            "changed_labels": changed,
            "fitted_on": overlap,
            "before": self.states.as_ref().map(|[before, _]| regions(before)),
            "after": self.states.as_ref().map(|[_, after]| regions(after)),
        })
    }
}

/// ECE and NLL, all voxels of the cases together.
fn before_and_after(before: &Calibration, after: &Calibration, regions: &[(&str, Region)]) -> Vec<[String; 5]> {
    let head = ["region", "ECE before", "after", "NLL before", "after"].map(str::to_owned);
    let row = |&(name, region): &(&str, Region)| {
        let [before, after] = [before, after].map(|state| state.region(region));
        let numbers = [before.ece(), after.ece(), before.nll(), after.nll()].map(|x| format!("{x:.6}"));
        let [a, b, c, d] = numbers;
        [name.to_owned(), a, b, c, d]
    };
    std::iter::once(head).chain(regions.iter().map(row)).collect()
}
