//! `segcal compare PLAN`.

use std::path::PathBuf;

use segcal_core::{Error, Result};
use serde_json::json;

use crate::compare::plan::Plan;
use crate::compare::results::Results;
use crate::compare::running::{self, Cell, Part, Training};
use crate::compare::{page, tables};
use crate::output::OutputFolder;
use segcal_train::stopped;
use crate::{Common, Outcome, output, progress, signals};

use super::Cases;

/// Compare losses: train each with several seeds, measure all on the same cases, with and without noise, and rank them.
///
/// PLAN is a TOML file. Each `[[method]]` has a name and the keys of a training config in which it differs, usually `loss`;
/// an ablation is a method that differs in one parameter. The keys of `[train]` are shared; its `config` is a file beside the
/// plan, `data` and `out` are folders as seen from here. Everything that is done is kept: the same command goes on where it
/// stopped, and prints the results again once all is done.
///
/// Measured are the labelled test cases of the data set, or its validation cases if it has none.
///
/// Writes results.csv, summary.csv, summary.json, report.html and plots/, and METHOD/seed-N/ with the run, the predictions
/// and the evaluation of each level of noise.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  segcal compare configs/compare-hippocampus.toml data=../hippocampus

A plan:
  out = \"runs/losses\"              # default: runs/ and the name of the plan
  seeds = [1, 2, 3]
  noise = [0.05, 0.1]              # standard deviations (images are in [0, 1]); 0 is always there
  metrics = [\"dsc\", \"hd95_max\", \"ece\", \"cece_mean\"]
  region = \"foreground\"            # of the calibration metrics
  empty = \"nan\"                    # what an empty mask counts, as for evaluate

  [train]                          # keys of a training config, for all methods
  config = \"hippocampus.toml\"      # what they are laid over
  data = \"../hippocampus\"
  epochs = 12

  [[method]]
  name = \"ce\"
  loss = { name = \"ce\" }

  [[method]]
  name = \"nacl-0.3\"
  loss = { name = \"nacl\", lambda = 0.3 }")]
pub struct Args {
    /// The plan, a TOML file.
    pub plan: PathBuf,
    /// Keys that replace those of the plan's `[train]`, such as epochs=50.
    #[arg(value_name = "key=value")]
    pub overrides: Vec<String>,
    /// Folder of everything it makes, instead of the plan's `out`.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Say what is done already and what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Remove the probabilities of the test cases once they are evaluated; segmentations are kept.
    #[arg(long)]
    pub discard_predictions: bool,
}

/// Does what is left of the plan, and prints the results.
///
/// # Errors
/// The plan or the data set is malformed, what was done before was done with another plan, or the folder cannot be
/// written. A training that fails is reported, and the others go on.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let plan = Plan::read(&args.plan, &args.overrides, args.out.as_deref())?;
    let part = Part::of(&plan.methods[0].settings)?;
    let cells = running::cells(&plan, &part);
    cells.iter().try_for_each(Cell::expect_no_links)?;
    let steps = cells.iter().map(|cell| steps(cell, &plan)).collect::<Result<Vec<_>>>()?.concat();
    check(&cells, &part, common)?;
    if args.dry_run {
        return tell(&steps, common).map(|()| Outcome::Done);
    }
    let folder = OutputFolder::create(&plan.out)?;
    let Some(_lock) = folder.lock()? else {
        let error = Error::new("another process writes to this comparison").at(plan.out.display());
        return Err(error.help("wait until it ends, or give another folder with --out"));
    };
    folder.remove_unfinished();
    let done = steps.iter().filter(|step| step.state == DONE).count();
    if done > 0 {
        common.say(&format!("{done} of {} steps are done already", steps.len()));
    }
    let (mut failures, mut outcomes) = (Failures::default(), Cases::default());
    for cell in &cells {
        if let Err(error) = complete(cell, &plan, args, common) {
            outcomes.fail(&failures.add(cell, error)?);
        }
    }
    let whole: Vec<&Cell<'_>> = cells.iter().filter(|cell| !failures.methods.contains(&cell.number)).collect();
    if whole.is_empty() {
        progress::line("no method is done with all its seeds: there is nothing to compare");
        return Ok(Outcome::SomeFailed);
    }
    let results = Results::read(&plan, &part, &whole, failures.messages)?;
    write(&results, &folder)?;
    if common.json {
        output::print_json(&tables::to_json(&results))?;
    } else {
        output::print(&tables::text(&results))?;
    }
    Ok(outcomes.outcome())
}

/// Every file of the results; the summary, which is read by programs, is the last.
fn write(results: &Results<'_>, folder: &OutputFolder) -> Result<()> {
    output::write_text(&folder.file("plan.toml")?, &results.plan.resolved.to_string())?;
    output::write_text(&folder.file("results.csv")?, &tables::results_csv(results))?;
    output::write_text(&folder.file("summary.csv")?, &tables::summary_csv(results))?;
    page::write(results, folder)?;
    output::write_text(&folder.file("summary.json")?, &(output::to_json(&tables::to_json(results))? + "\n"))
}

/// Before hours of training: whether each method's can begin, and whether every case of every part can be used.
fn check(cells: &[Cell<'_>], part: &Part, common: &Common) -> Result<()> {
    let (mut checked, mut read) = (None, Vec::new());
    for cell in cells {
        if checked != Some(cell.number) && cell.training()? != Training::Done {
            cell.check()?;
            checked = Some(cell.number);
            let settings = cell.settings();
            let data = (&settings.data, settings.fold, &settings.input);
            // Methods usually share their data.
            if !read.contains(&data) {
                segcal_train::job::check_cases(settings, &part.cases, &common.observer())?;
                read.push(data);
            }
        }
    }
    Ok(())
}

/// Does what is left of a method with a seed.
fn complete(cell: &Cell<'_>, plan: &Plan, args: &Args, common: &Common) -> Result<()> {
    if cell.training()? != Training::Done {
        common.say(&format!("{}: training", cell.place));
        cell.train(common)?;
    }
    for &noise in &plan.noise {
        if !cell.is_evaluated(noise)? {
            if !cell.is_predicted(noise)? {
                common.say(&format!("{}: predicting, noise {noise}", cell.place));
                cell.predict(noise, common)?;
            }
            common.say(&format!("{}: evaluating, noise {noise}", cell.place));
            cell.evaluate(noise, common)?;
        }
        if args.discard_predictions {
            cell.discard(noise)?;
        }
    }
    Ok(())
}

/// What went wrong, and for which methods.
#[derive(Default)]
struct Failures {
    methods: Vec<usize>,
    messages: Vec<String>,
}

impl Failures {
    /// Takes note of the error of a method with a seed, and gives what is to be said of it; nothing else can go on after
    /// a signal, or where nothing can be written.
    fn add(&mut self, cell: &Cell<'_>, error: Error) -> Result<Error> {
        let go_on = "what is done is kept; the same command goes on from there";
        if let Some(signal) = signals::interrupted(&error) {
            return Err(Error::from_source(signal).at(&cell.place).help(go_on));
        }
        if output::is_write_failure(&error) {
            return Err(error.at(&cell.place));
        }
        let error = stopped::cause(&error).map_or(error, Error::new).at(&cell.place);
        self.methods.push(cell.number);
        self.messages.push(error.to_string());
        Ok(error)
    }
}

/// One thing to do, and how far it is.
#[derive(Clone)]
struct Step {
    place: String,
    what: String,
    state: String,
}

const DONE: &str = "done";

fn steps(cell: &Cell<'_>, plan: &Plan) -> Result<Vec<Step>> {
    let step = |what: &str, state: String| Step { place: cell.place.clone(), what: what.to_owned(), state };
    let state = |done: bool| if done { DONE.to_owned() } else { "to do".into() };
    let training = cell.training()?;
    let shown = match training {
        Training::Missing => state(false),
        Training::Begun(epochs) => format!("to do from epoch {} of {} on", epochs + 1, cell.epochs()),
        Training::Done => state(true),
    };
    let mut steps = vec![step("train", shown)];
    for &noise in &plan.noise {
        let trained = training == Training::Done;
        let evaluated = trained && cell.is_evaluated(noise)?;
        // What is evaluated needs no predictions any more.
        let predicted = evaluated || (trained && cell.is_predicted(noise)?);
        steps.push(step(&format!("predict, noise {noise}"), state(predicted)));
        steps.push(step(&format!("evaluate, noise {noise}"), state(evaluated)));
    }
    Ok(steps)
}

/// Prints the steps.
fn tell(steps: &[Step], common: &Common) -> Result<()> {
    if common.json {
        let step = |step: &Step| json!({ "of": step.place, "step": step.what, "state": step.state });
        return output::print_json(&json!({ "steps": steps.iter().map(step).collect::<Vec<_>>() }));
    }
    let rows = steps.iter().map(|step| [step.place.clone(), step.what.clone(), step.state.clone()]);
    let rows: Vec<[String; 3]> = rows.collect();
    let left = steps.iter().filter(|step| step.state != DONE).count();
    output::print(&format!("{}\n{left} of {} steps to do\n", output::table(&rows), steps.len()))
}
