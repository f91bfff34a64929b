//! `segcal compare PLAN`.

use std::path::PathBuf;

use segcal_core::{Error, Result};
use segcal_train::stopped;
use serde_json::json;

use crate::compare::jobs::{self, DONE, State};
use crate::compare::part::Parts;
use crate::compare::plan::Plan;
use crate::compare::results::Results;
use crate::compare::selection::Selection;
use crate::compare::unit::{self, Training, Unit};
use crate::compare::{page, running, tables};
use crate::output::OutputFolder;
use crate::{Common, Outcome, doors, output, progress, signals};

use super::Cases;

/// Compare losses: train each with several seeds, evaluate all on the same cases, with and without noise, and rank
/// them.
///
/// PLAN is a TOML file. Each `[[method]]` has a name and the keys of a training config in which it differs from the
/// others, usually `loss`; an ablation is a method that differs in one parameter. All methods share the keys of
/// `[train]`; its `config` is a file relative to the plan, while `data` and `out` are relative to the current
/// directory. With `[[dataset]]` and `networks`, every method is trained on each data set with each network. `grid`
/// selects a value by its DSC on the validation part; `calibrate` fits post-hoc calibration maps there and adds a row
/// for each. Completed work is kept: run the same command again to continue, or to print the results once everything is
/// done.
///
/// Methods are evaluated on the labelled test cases of a data set, or on its validation cases if it has none.
///
/// Writes results.csv, summary.csv, summary.json, ranks.csv, tables.md, tables.tex, report.html and plots/, and
/// METHOD/DATASET/NETWORK/VALUE/seed-N/ with the run and, for each level of noise, the predictions and the evaluation.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  segcal compare configs/compare-hippocampus.toml data=../hippocampus

A plan:
  out = \"runs/losses\"              # default: runs/ and the plan's name
  seeds = [1, 2, 3]
  noise = [0.05, 0.1]              # standard deviations (images are in [0, 1]); 0 is always included
  metrics = [\"dsc\", \"hd95_max\", \"ece\", \"cece_mean\"]
  region = \"foreground\"            # for the calibration metrics
  empty = \"nan\"                    # how to score empty masks, as for evaluate
  calibrate = [\"temperature\"]      # post-hoc maps, fitted on the validation part
  networks = [\"unet\", \"resunet\"]   # or tables of keys: { name = \"unet\", levels = 3 }
  evaluate = { bins = 15, voxel_units = false, convention = \"segcal\" }

  [train]                          # keys of a training config, shared by all methods
  config = \"hippocampus.toml\"      # the base config that they override
  epochs = 12

  [[dataset]]                      # or data = \"...\" in [train]
  name = \"hippocampus\"
  data = \"../hippocampus\"
  samples.size = [64, 64]
  regions = { whole = [1, 2] }

  [[method]]
  name = \"ce\"
  loss = { name = \"ce\" }

  [[method]]
  name = \"nacl\"
  loss = { name = \"nacl\" }
  grid = { lambda = [0.1, 0.3] }
  select = \"dataset\"               # or \"all\": one value for all data sets")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct Args {
    /// The plan, a TOML file.
    pub plan: PathBuf,
    /// Override keys of the plan's `[train]`, such as epochs=50.
    #[arg(value_name = "key=value")]
    pub overrides: Vec<String>,
    /// Output folder, instead of the plan's `out`.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Show what is done and what remains to be done, without doing it.
    #[arg(long)]
    pub dry_run: bool,
    /// List the jobs that machines can run in parallel, without running them.
    #[arg(long, conflicts_with = "dry_run")]
    pub jobs: bool,
    /// Run only this job, such as nacl/hippocampus/1; a leading part of the name, such as nacl, runs all jobs below it.
    #[arg(long, value_name = "METHOD/DATASET/SEED", conflicts_with_all = ["dry_run", "jobs"])]
    pub only: Option<String>,
    /// Write the results of what is done and report what is missing, without running it.
    #[arg(long, conflicts_with_all = ["dry_run", "jobs", "only"])]
    pub assemble: bool,
    /// Delete the probabilities of the test cases once they are evaluated; segmentations are kept.
    #[arg(long)]
    pub discard_predictions: bool,
}

/// Completes the plan and prints the results.
///
/// # Errors
/// The plan or the data set is malformed, earlier work was done with a different plan, or the folder cannot be written.
/// A training that fails is reported, and the others continue.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let plan = Plan::read(&args.plan, &args.overrides, args.out.as_deref())?;
    let parts = Parts::of(&plan)?;
    let arithmetic = doors::arithmetic(common)?;
    let units = unit::units(&plan, &parts, &arithmetic);
    units.iter().try_for_each(Unit::expect_no_links)?;
    let selection = Selection::of(&plan, &units, &|_| false)?;
    if args.jobs {
        return tell_jobs(&plan, &units, &selection, common).map(|()| Outcome::Done);
    }
    let told = jobs::told(&units, &selection)?;
    if args.dry_run {
        check(&units, common)?;
        return tell(&told, &units, common).map(|()| Outcome::Done);
    }
    if let Some(name) = &args.only {
        return only(name, &plan, &units, &selection, args, common);
    }
    if !args.assemble {
        check(&units, common)?;
    }
    let folder = OutputFolder::create(&plan.out)?;
    let Some(_lock) = folder.lock()? else {
        let error = Error::new("another process is writing to this comparison").at(plan.out.display());
        return Err(error.help("wait until it ends, or choose another folder with --out"));
    };
    folder.remove_unfinished();
    let done = told.iter().filter(|step| step.state == DONE).count();
    if done > 0 {
        common.say(&format!("{done} of {} steps are already done", told.len()));
    }
    let (mut failures, mut outcomes) = (Failures::default(), Cases::default());
    if !args.assemble {
        complete(&plan, &units, &mut failures, &mut outcomes, args, common)?;
    }
    assemble(&plan, &parts, &units, failures, &folder, common)?
        .map_or(Ok(Outcome::SomeFailed), |missing| Ok(if missing { Outcome::SomeFailed } else { outcomes.outcome() }))
}

/// Assembles the results of the methods that are complete on every data set, with every network and seed. Returns
/// whether any method is missing, or `None` if all are.
fn assemble(
    plan: &Plan,
    parts: &[Parts],
    units: &[Unit<'_>],
    mut failures: Failures,
    folder: &OutputFolder,
    common: &Common,
) -> Result<Option<bool>> {
    let selection = Selection::of(plan, units, &|unit| failures.has(unit))?;
    let mut missing = Vec::new();
    for job in jobs::jobs(plan, units) {
        if job.state(&selection).is_ok_and(|state| state == State::Done) {
            continue;
        }
        let method = job.units[0].method;
        // A failed trial is never chosen; the method is complete with its other trials.
        if job.units.len() > 1 || !plan.methods[method].has_grid() || !failures.has(job.units[0]) {
            failures.methods.push(method);
            missing.push(job.id.clone());
        }
    }
    let expected = failures.messages.is_empty();
    if expected && !missing.is_empty() {
        let (count, shown) = (missing.len(), missing.iter().take(10).cloned().collect::<Vec<_>>().join(", "));
        let more = if count > 10 { ", …" } else { "" };
        failures.messages.push(format!("{} missing: {shown}{more}", output::counted(count, "job")));
    }
    let whole: Vec<&Unit<'_>> =
        units.iter().filter(|unit| selection.has(unit) && !failures.methods.contains(&unit.method)).collect();
    if whole.is_empty() {
        failures.messages.iter().filter(|_| expected).for_each(|message| progress::line(message));
        progress::line("no method is complete with all its seeds: there is nothing to compare");
        return Ok(None);
    }
    running::pool(&whole)?;
    let results = Results::read(plan, parts, &whole, units, failures.messages)?;
    write(&results, folder)?;
    if common.json {
        output::print_json(&tables::to_json(&results))?;
    } else {
        output::print(&tables::text(&results))?;
    }
    Ok(Some(!missing.is_empty()))
}

/// Writes every result file; the summary, which programs read, comes last.
fn write(results: &Results<'_>, folder: &OutputFolder) -> Result<()> {
    output::write_text(&folder.file("plan.toml")?, &results.plan.resolved.to_string())?;
    tables::write(results, folder)?;
    page::write(results, folder)?;
    output::write_text(&folder.file("summary.json")?, &(output::to_json(&tables::to_json(results))? + "\n"))
}

/// Checks, before hours of training, that the training of each method can begin and that every case of every part can
/// be used.
fn check(units: &[Unit<'_>], common: &Common) -> Result<()> {
    let (mut checked, mut read) = (Vec::new(), Vec::new());
    for unit in units {
        let own = (unit.method, unit.arm, unit.trial);
        if !checked.contains(&own) && unit.training()? != Training::Done {
            unit.check()?;
            checked.push(own);
            let settings = unit.settings();
            let data = (&settings.data, settings.fold, &settings.input);
            // Methods usually share their data.
            if !read.contains(&data) {
                segcal_train::job::check_cases(settings, unit.measured(), &common.observer())?;
                read.push(data);
            }
        }
    }
    Ok(())
}

/// Completes each method: first every trial up to its validation, then everything computed from the chosen ones.
fn complete(
    plan: &Plan,
    units: &[Unit<'_>],
    failures: &mut Failures,
    outcomes: &mut Cases,
    args: &Args,
    common: &Common,
) -> Result<()> {
    for method in 0..plan.methods.len() {
        let own: Vec<&Unit<'_>> = units.iter().filter(|unit| unit.method == method).collect();
        for unit in &own {
            // The predictions that validate a grid may be needed later to fit maps.
            let discard = args.discard_predictions && !unit.of().has_grid();
            if let Err(error) = unit.complete(&unit.steps(!unit.of().has_grid()), discard, common) {
                outcomes.fail(&failures.add(unit, error)?);
            }
        }
        let selection = Selection::of(plan, units, &|unit| failures.has(unit))?;
        let left: Vec<&Unit<'_>> = own.into_iter().filter(|unit| unit.of().has_grid() && !failures.has(unit)).collect();
        for unit in left {
            // For a trial that is not chosen, only discarding is left.
            if let Err(error) = unit.complete(&unit.steps(selection.has(unit)), args.discard_predictions, common) {
                outcomes.fail(&failures.add(unit, error)?);
            }
        }
    }
    Ok(())
}

/// Runs the jobs with this name.
fn only(
    name: &str,
    plan: &Plan,
    units: &[Unit<'_>],
    selection: &Selection,
    args: &Args,
    common: &Common,
) -> Result<Outcome> {
    let every = jobs::jobs(plan, units);
    let (mut failures, mut outcomes) = (Failures::default(), Cases::default());
    for job in jobs::named(&every, name)? {
        let Some(unit) = job.unit(selection) else {
            let missing = every.iter().filter(|other| job.needs.contains(&other.id));
            let missing = missing.filter(|other| other.state(selection).is_ok_and(|state| state != State::Done));
            let missing: Vec<&str> = missing.map(|other| other.id.as_str()).collect();
            let error = Error::new(format!("cannot run before {}", missing.join(", "))).at(&job.id);
            return Err(error.help("use --only to run these first"));
        };
        check(std::slice::from_ref(unit), common)?;
        let folder = OutputFolder::create(unit.folder())?;
        let Some(_lock) = folder.lock()? else {
            let error = Error::new("another process is running this job").at(&job.id);
            return Err(error.help("wait until it ends"));
        };
        if let Err(error) = unit.complete(
            &job.steps,
            args.discard_predictions && !(unit.of().has_grid() && job.needs.is_empty()),
            common,
        ) {
            outcomes.fail(&failures.add(unit, error)?);
        }
    }
    Ok(outcomes.outcome())
}

/// The failures, and the methods and units they concern.
#[derive(Default)]
struct Failures {
    methods: Vec<usize>,
    units: Vec<String>,
    messages: Vec<String>,
}

impl Failures {
    /// Records the error of a training and returns the error to report. After a signal or a failed write nothing else
    /// can continue, so it is returned as `Err`.
    fn add(&mut self, unit: &Unit<'_>, error: Error) -> Result<Error> {
        let go_on = "completed work is kept; run the same command again to continue";
        if let Some(signal) = signals::interrupted(&error) {
            return Err(Error::from_source(signal).at(&unit.place).help(go_on));
        }
        if output::is_write_failure(&error) {
            return Err(error.at(&unit.place));
        }
        let error = stopped::cause(&error).map_or(error, Error::new).at(&unit.place);
        self.units.push(unit.id());
        self.messages.push(error.to_string());
        Ok(error)
    }

    fn has(&self, unit: &Unit<'_>) -> bool {
        self.units.contains(&unit.id())
    }
}

/// Prints the steps.
fn tell(steps: &[jobs::Told], units: &[Unit<'_>], common: &Common) -> Result<()> {
    let trainings = jobs::trainings(units)?;
    if common.json {
        let step = |step: &jobs::Told| json!({ "of": step.place, "step": step.what, "state": step.state });
        let steps: Vec<_> = steps.iter().map(step).collect();
        return output::print_json(&json!({ "steps": steps, "trainings": trainings }));
    }
    let rows = steps.iter().map(|step| [step.place.clone(), step.what.clone(), step.state.clone()]);
    let rows: Vec<[String; 3]> = rows.collect();
    let left = steps.iter().filter(|step| step.state != DONE).count();
    output::print(&format!("{}\n{trainings}\n{left} of {} steps to do\n", output::table(&rows), steps.len()))
}

fn tell_jobs(plan: &Plan, units: &[Unit<'_>], selection: &Selection, common: &Common) -> Result<()> {
    let jobs = jobs::jobs(plan, units);
    if common.json {
        return output::print_json(&jobs::to_json(&jobs, selection)?);
    }
    output::print(&output::table(&jobs::rows(&jobs, selection)?))
}
