//! The remaining work of a comparison, as steps for people and as jobs that machines can run in parallel.

use std::collections::BTreeMap;

use segcal_core::{Error, Result, nearest};
use serde_json::{Value, json};

use super::plan::{Plan, Select};
use super::selection::Selection;
use super::step::Step;
use super::unit::{Training, Unit};

/// Work that one machine can do on its own.
pub struct Job<'a, 'p> {
    /// `METHOD/DATASET/SEED`, with network and value of the grid where there are several.
    pub id: String,
    /// The trainings it may work on: one, or every trial of a grid, of which one is chosen.
    pub units: Vec<&'a Unit<'p>>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// The jobs that must be done first.
    pub needs: Vec<String>,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All of it is done.
    Done,
    /// It can be done now.
    Ready,
    /// Other jobs must be done first.
    Waits,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Ready => "ready",
            Self::Waits => "waits",
        }
    }
}

/// Every job of a plan: a training and everything computed from it; with a grid, each trial up to its validation, and
/// everything computed from the chosen one.
pub fn jobs<'a, 'p>(plan: &Plan, units: &'a [Unit<'p>]) -> Vec<Job<'a, 'p>> {
    let mut jobs: Vec<Job<'a, 'p>> = Vec::new();
    for unit in units {
        let (id, steps) = (unit.id(), unit.steps(!plan.methods[unit.method].has_grid()));
        jobs.push(Job { id, units: vec![unit], steps, needs: Vec::new() });
    }
    for unit in units.iter().filter(|unit| plan.methods[unit.method].has_grid() && unit.trial == 0) {
        let over_all = plan.methods[unit.method].select == Select::All;
        let trials = units.iter().filter(|other| other.method == unit.method);
        let needs = trials.clone().filter(|other| over_all || other.arm == unit.arm).map(Unit::id).collect();
        let own = trials.filter(|other| (other.arm, other.seed) == (unit.arm, unit.seed)).collect();
        let id = unit.id().replace(&format!("/{}/", unit.tried().name), "/");
        jobs.push(Job { id, units: own, steps: unit.last_steps(), needs });
    }
    jobs
}

impl<'p> Job<'_, 'p> {
    /// The training it works on, if already known.
    pub fn unit(&self, selection: &Selection) -> Option<&Unit<'p>> {
        match self.units[..] {
            [unit] => Some(unit),
            _ => self.units.iter().copied().find(|unit| selection.has(unit)),
        }
    }

    /// Returns its state.
    ///
    /// # Errors
    /// As [`Unit::done`].
    pub fn state(&self, selection: &Selection) -> Result<State> {
        let Some(unit) = self.unit(selection) else { return Ok(State::Waits) };
        Ok(if unit.done(&self.steps)?.into_iter().all(|done| done) { State::Done } else { State::Ready })
    }
}

/// The jobs with this name or below it; a seed may be given as its number.
///
/// # Errors
/// There is none.
pub fn named<'j, 'a, 'p>(jobs: &'j [Job<'a, 'p>], name: &str) -> Result<Vec<&'j Job<'a, 'p>>> {
    let with_seed = name.rsplit_once('/').filter(|(_, seed)| seed.parse::<u64>().is_ok());
    let name = with_seed.map_or_else(|| name.to_owned(), |(start, seed)| format!("{start}/seed-{seed}"));
    let found = |job: &&Job<'_, '_>| job.id == name || job.id.starts_with(&format!("{name}/"));
    let found: Vec<_> = jobs.iter().filter(found).collect();
    if found.is_empty() {
        let error = Error::new(format!("unknown job {name}")).at("--only");
        return Err(match nearest(&name, jobs.iter().map(|job| job.id.as_str())) {
            Some(near) => error.help(format!("did you mean {near}? --jobs lists all")),
            None => error.help("--jobs lists all"),
        });
    }
    Ok(found)
}

/// The jobs as `{"jobs": [{"job", "steps", "needs", "state"}]}`.
///
/// # Errors
/// As [`Unit::done`].
pub fn to_json(jobs: &[Job<'_, '_>], selection: &Selection) -> Result<Value> {
    let job = |job: &Job<'_, '_>| {
        let steps: Vec<String> = job.steps.iter().map(|step| step.what()).collect();
        Ok(json!({ "job": job.id, "steps": steps, "needs": job.needs, "state": job.state(selection)?.name() }))
    };
    Ok(json!({ "jobs": jobs.iter().map(job).collect::<Result<Vec<_>>>()? }))
}

/// The jobs as table rows.
///
/// # Errors
/// As [`Unit::done`].
pub fn rows(jobs: &[Job<'_, '_>], selection: &Selection) -> Result<Vec<[String; 3]>> {
    let row = |job: &Job<'_, '_>| {
        let needs = match job.needs.len() {
            0 => String::new(),
            count => format!("needs {count} others"),
        };
        Ok([job.id.clone(), job.state(selection)?.name().to_owned(), needs])
    };
    jobs.iter().map(row).collect()
}

/// One step and its state.
pub struct Told {
    /// The training it belongs to.
    pub place: String,
    /// What it does, in a few words.
    pub what: String,
    /// `done`, `to do`, `to do from epoch 3 of 9`.
    pub state: String,
}

/// The state of a step that is done.
pub const DONE: &str = "done";

/// Every step of every training, as far as values have been chosen.
///
/// # Errors
/// As [`Unit::done`].
pub fn told(units: &[Unit<'_>], selection: &Selection) -> Result<Vec<Told>> {
    let mut told = Vec::new();
    for unit in units {
        let known = selection.chosen[unit.method][unit.arm].is_some();
        let steps = unit.steps(selection.has(unit) || (!known && unit.trial == 0));
        let (done, training) = (unit.done(&steps)?, unit.training()?);
        let first = unit.first_steps().len();
        for (number, (step, done)) in steps.iter().zip(done).enumerate() {
            let state = match (*step, training) {
                _ if done => DONE.into(),
                (Step::Train, Training::Begun(epochs)) => {
                    format!("to do from epoch {} of {}", epochs + 1, unit.settings().epochs)
                }
                _ if number >= first && !known => "to do with the chosen value".into(),
                _ => "to do".into(),
            };
            told.push(Told { place: unit.place.clone(), what: step.what(), state });
        }
    }
    Ok(told)
}

/// The number of trainings, how many are left, and how long they will take, estimated from completed epochs.
///
/// # Errors
/// As [`Unit::training`].
pub fn trainings(units: &[Unit<'_>]) -> Result<String> {
    let (mut left, mut todo): (usize, Vec<(usize, usize)>) = (0, Vec::new());
    let mut measured: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for unit in units {
        let done = match unit.training()? {
            Training::Done => unit.settings().epochs,
            Training::Begun(epochs) => epochs,
            Training::Missing => 0,
        };
        left += usize::from(done < unit.settings().epochs);
        todo.push((unit.arm, unit.settings().epochs - done));
        measured.entry(unit.arm).or_default().extend(seconds(unit));
    }
    let mean = |seconds: &[f64]| seconds.iter().sum::<f64>() / seconds.len() as f64;
    let all: Vec<f64> = measured.values().flatten().copied().collect();
    let of_arm =
        |arm: &usize| measured.get(arm).filter(|own| !own.is_empty()).map_or_else(|| mean(&all), |own| mean(own));
    let total: f64 =
        todo.iter().map(|(arm, epochs)| if *epochs > 0 { *epochs as f64 * of_arm(arm) } else { 0.0 }).sum();
    let long = match left {
        0 => String::new(),
        _ if total.is_finite() => format!(", about {} of training, judging by completed epochs", duration(total)),
        _ => ", with an estimate of the time after the first epoch".into(),
    };
    Ok(format!("{} trainings, {left} to do{long}", units.len()))
}

/// The duration in seconds of each epoch in the log of a run.
fn seconds(unit: &Unit<'_>) -> Vec<f64> {
    let log = std::fs::read_to_string(unit.settings().out.join("log.jsonl")).unwrap_or_default();
    let record = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("seconds")?.as_f64();
    log.lines().filter_map(record).collect()
}

fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 90.0 => format!("{seconds:.0} s"),
        seconds if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}
