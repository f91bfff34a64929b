//! One training of a comparison and everything computed from it: a method's trial on a data set with a network and a
//! seed.
//!
//! Training resumes by itself. A folder of predictions, of a map or of an evaluation contains a [`Mark`] of the inputs
//! it was computed from; if they have changed, it is computed again.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use segcal_core::{Error, Result};
use segcal_data::Case;
use segcal_data::hash::{self, Hash};
use segcal_evaluate::calibrate::map::Method as Map;
use segcal_train::run::Verified;
use segcal_train::run_folder;
use segcal_train::settings::Settings;

use super::part::{Part, Parts};
use super::plan::{Arm, Method, Plan, Trial};
use super::step::{LOGITS, Mark, Step, View};

/// The state of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Training {
    /// No epoch is finished.
    Missing,
    /// This many epochs are done, and the plan asks for more.
    Begun(usize),
    /// All epochs are done.
    Done,
}

/// A method's trial on an arm with a seed.
#[derive(Debug)]
pub struct Unit<'a> {
    pub(super) plan: &'a Plan,
    pub(super) parts: &'a Parts,
    /// Index of the method.
    pub method: usize,
    /// Index of the trial among the method's.
    pub trial: usize,
    /// Index of the arm.
    pub arm: usize,
    /// The seed.
    pub seed: u64,
    /// Index of the fold among the plan's; `None` if the data set has only one split.
    pub fold: Option<usize>,
    /// `method 2/3 nacl, seed 1/3`.
    pub place: String,
    pub(super) settings: Settings,
    folder: PathBuf,
    /// The arithmetic that predictions and evaluations are computed with now.
    arithmetic: &'a str,
    /// SHA-256 of the weights, once known.
    weights: Mutex<Option<String>>,
}

/// Every unit of the plan, ordered by method, then arm, trial and seed.
pub fn units<'a>(plan: &'a Plan, parts: &'a [Parts], arithmetic: &'a str) -> Vec<Unit<'a>> {
    let mut units = Vec::new();
    for method in 0..plan.methods.len() {
        for (arm, parts) in parts.iter().enumerate() {
            for trial in 0..plan.methods[method].trials.len() {
                let numbers = [method, arm, trial];
                let folds = || (0..plan.folds.len()).map(Some).chain(plan.folds.is_empty().then_some(None));
                let places = (0..plan.seeds.len()).flat_map(|seed| folds().map(move |fold| (seed, fold)));
                let from = (plan, parts, arithmetic);
                units.extend(places.map(|place| Unit::new(from, numbers, place)));
            }
        }
    }
    units
}

impl<'a> Unit<'a> {
    fn new(
        (plan, parts, arithmetic): (&'a Plan, &'a Parts, &'a str),
        [method, arm, trial]: [usize; 3],
        (place, fold): (usize, Option<usize>),
    ) -> Self {
        let (own, seed) = (&plan.methods[method], plan.seeds[place]);
        let (on, tried) = (&plan.arms[arm], &own.trials[trial]);
        let mut folder = plan.out.join(&own.name).join(on.folder());
        if !tried.name.is_empty() {
            folder.push(&tried.name);
        }
        folder.push(format!("seed-{seed}"));
        let mut settings = Settings { seed, ..tried.settings[arm].clone() };
        if let Some(fold) = fold.map(|fold| plan.folds[fold]) {
            folder.push(format!("fold-{fold}"));
            settings.fold = fold;
        }
        settings.out = folder.join("run");
        let more = [on.name(), tried.name.clone()].into_iter().filter(|name| !name.is_empty());
        let more: String = more.map(|name| format!(", {name}")).collect();
        let (methods, seeds) = (plan.methods.len(), plan.seeds.len());
        let held = fold.map_or_else(String::new, |fold| format!(", fold {}", plan.folds[fold]));
        let place = format!("method {}/{methods} {}{more}, seed {}/{seeds}{held}", method + 1, own.name, place + 1);
        let weights = Mutex::default();
        Self { plan, parts, method, trial, arm, seed, fold, place, settings, folder, arithmetic, weights }
    }

    /// Its method.
    pub fn of(&self) -> &'a Method {
        &self.plan.methods[self.method]
    }

    /// Its trial.
    pub fn tried(&self) -> &'a Trial {
        &self.of().trials[self.trial]
    }

    /// Its data set and network.
    pub fn on(&self) -> &'a Arm {
        &self.plan.arms[self.arm]
    }

    /// Its folder below that of the comparison: `nacl/hippocampus/lambda-0.1/seed-1`.
    pub fn id(&self) -> String {
        let below = self.folder.strip_prefix(&self.plan.out).unwrap_or(&self.folder);
        below.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings of its training.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The cases that it is evaluated on.
    pub fn measured(&self) -> &'a [Case] {
        &self.part(View::Noise(0.0)).cases
    }

    /// Whether another unit differs only in the fold.
    pub fn is_with(&self, other: &Unit<'_>) -> bool {
        let of = |unit: &Unit<'_>| (unit.method, unit.trial, unit.arm, unit.seed);
        of(self) == of(other)
    }

    /// Folder of the evaluation over all folds; the unit's own folder if there are none.
    pub fn pooled_evaluation(&self, view: View) -> PathBuf {
        let above = self.fold.and(self.folder.parent()).unwrap_or(&self.folder);
        above.join(format!("evaluation-{}", view.name()))
    }

    /// The steps before grid values are chosen. They see nothing of the measured part.
    pub fn first_steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Train];
        if self.of().has_grid() {
            steps.extend([Step::Predict(View::Validation), Step::Evaluate(View::Validation)]);
        }
        steps
    }

    /// The steps for the chosen value.
    pub fn last_steps(&self) -> Vec<Step> {
        let (mut steps, maps) = (Vec::new(), &self.plan.calibrate);
        if !maps.is_empty() {
            steps.push(Step::Predict(View::Validation));
            steps.extend(maps.iter().map(|&map| Step::Fit(map)));
        }
        for &noise in &self.plan.noise {
            steps.extend([Step::Predict(View::Noise(noise)), Step::Evaluate(View::Noise(noise))]);
            for &map in maps {
                steps.extend([
                    Step::Predict(View::Calibrated(map, noise)),
                    Step::Evaluate(View::Calibrated(map, noise)),
                ]);
            }
        }
        steps
    }

    /// The steps before the choice and, for a trial that is measured, those after it.
    pub fn steps(&self, measured: bool) -> Vec<Step> {
        let mut steps = self.first_steps();
        let more = if measured { self.last_steps() } else { Vec::new() };
        more.into_iter().for_each(|step| {
            if !steps.contains(&step) {
                steps.push(step);
            }
        });
        steps
    }

    /// Returns the state of the training.
    ///
    /// # Errors
    /// The run in the folder was started with a different config, or has more epochs than the plan; the message names
    /// the key.
    pub fn training(&self) -> Result<Training> {
        let run = &self.settings.out;
        if !run.join("config.toml").exists() {
            return Ok(Training::Missing);
        }
        let refused = |what: String| {
            let error = Error::new(what).at(run.display()).at(&self.place);
            Err(error.help("rename the changed method, or set another out in the plan"))
        };
        if let Some(key) = run_folder::changed_key(run, &self.settings.to_table())? {
            return refused(format!("was trained with a different {key}"));
        }
        let last = run.join("last.safetensors");
        // An unreadable checkpoint counts as missing here; resuming reports what is wrong with it.
        match Verified::open(&last, &self.settings).map_or(0, |checkpoint| checkpoint.epoch) {
            0 => Ok(Training::Missing),
            done if done < self.settings.epochs && !run_folder::is_stopped_early(run, &self.settings)? => {
                Ok(Training::Begun(done))
            }
            done if done > self.settings.epochs => {
                refused(format!("was trained for {done} epochs, but the plan has epochs = {}", self.settings.epochs))
            }
            _ => Ok(Training::Done),
        }
    }

    /// Refuses symbolic links among the comparison's folders, which would make it write elsewhere.
    ///
    /// # Errors
    /// One is a symbolic link.
    pub fn expect_no_links(&self) -> Result<()> {
        let above = self.folder.ancestors().take_while(|folder| *folder != self.plan.out).map(Path::to_path_buf);
        let steps = self.first_steps().into_iter().chain(self.last_steps());
        let made = steps.map(|step| match step {
            Step::Train => self.settings.out.clone(),
            Step::Predict(view) => self.predictions(view),
            Step::Fit(map) => self.map_folder(map),
            Step::Evaluate(view) => self.evaluation(view),
        });
        match above.chain(made).find(|folder| folder.is_symlink()) {
            Some(link) => {
                let error = Error::new("is a symbolic link inside an output folder").at(link.display());
                Err(error.help("remove the link or choose another output folder"))
            }
            None => Ok(()),
        }
    }

    /// Folder of predictions.
    pub fn predictions(&self, view: View) -> PathBuf {
        self.folder.join(format!("predictions-{}", view.name()))
    }

    /// Folder of an evaluation.
    pub fn evaluation(&self, view: View) -> PathBuf {
        self.folder.join(format!("evaluation-{}", view.name()))
    }

    pub(super) fn map_folder(&self, map: Map) -> PathBuf {
        self.folder.join(format!("map-{}", map.name()))
    }

    /// The file of a fitted map.
    pub fn map_file(&self, map: Map) -> PathBuf {
        self.map_folder(map).join(if map == Map::Local { "map.safetensors" } else { "map.json" })
    }

    pub(super) fn part(&self, view: View) -> &'a Part {
        match (view, self.fold) {
            (_, Some(fold)) => &self.parts.folds[fold],
            (View::Validation, None) => &self.parts.validation,
            (View::Noise(_) | View::Calibrated(..), None) => &self.parts.measured,
        }
    }

    /// Forgets the hash of the weights, which may change from now on.
    pub(super) fn forget_weights(&self) {
        *self.known_weights() = None;
    }

    fn known_weights(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SHA-256 of the weights, read once; hashed as in the marks of earlier versions.
    fn weights(&self) -> Result<String> {
        let mut known = self.known_weights();
        if let Some(hex) = &*known {
            return Ok(hex.clone());
        }
        let mut hash = Hash::default();
        hash.file(&self.settings.out.join("best.safetensors"))?;
        Ok(known.insert(hash.hex()).clone())
    }

    /// The inputs that a step's folder is computed from.
    ///
    /// # Errors
    /// The run contains no weights, or the map to apply is missing.
    pub(super) fn mark(&self, step: Step) -> Result<Mark> {
        let (view, labels) = match step {
            Step::Train | Step::Fit(_) => (View::Validation, true),
            Step::Predict(view) => (view, false),
            Step::Evaluate(view) => (view, true),
        };
        let map = match (step, view) {
            (Step::Fit(map), _) => Some(format!("{} of logits", map.name())),
            (_, View::Calibrated(map, _)) => Some(hash::of_file(&self.map_file(map))?),
            _ => None,
        };
        let evaluated = matches!(step, Step::Evaluate(_));
        let of = |(name, contents): (&String, &[String; 2])| (name.clone(), contents[usize::from(labels)].clone());
        Ok(Mark {
            weights: self.weights()?,
            arithmetic: self.arithmetic.to_owned(),
            noise: view.noise(),
            cases: self.part(view).contents.iter().map(of).collect(),
            empty: evaluated.then(|| self.plan.empty.name().to_owned()),
            measuring: self.on().measuring.mark().filter(|_| evaluated),
            map,
        })
    }

    /// Whether the network's logits, which maps need, are stored.
    pub(super) fn keeps_logits(&self, view: View) -> bool {
        !self.plan.calibrate.is_empty() && !matches!(view, View::Calibrated(..))
    }

    /// The cases still to be predicted; all of them if the predictions come from other weights.
    pub(super) fn unpredicted(&self, view: View) -> Result<Vec<Case>> {
        let folder = self.predictions(view);
        let current = Mark::of_folder(&folder) == Some(self.mark(Step::Predict(view))?);
        let file = |kind: &str, case: &Case| folder.join(kind).join(format!("{}.nii.gz", case.name));
        // The segmentation is written after the probabilities.
        let mut kinds = vec!["probabilities"];
        kinds.extend((!matches!(view, View::Calibrated(..))).then_some("segmentations"));
        kinds.extend(self.keeps_logits(view).then_some(LOGITS));
        let done = |case: &Case| current && kinds.iter().all(|kind| file(kind, case).exists());
        Ok(self.part(view).cases.iter().filter(|case| !done(case)).cloned().collect())
    }

    /// Which of these steps, in the order in which they run, are done. Predictions count as done once every step that
    /// needs them is done.
    ///
    /// # Errors
    /// As [`Unit::training`].
    pub fn done(&self, steps: &[Step]) -> Result<Vec<bool>> {
        let mut done = vec![false; steps.len()];
        if self.training()? != Training::Done {
            return Ok(done);
        }
        for number in (0..steps.len()).rev() {
            let needs = |later: &usize| steps[*later].needs(steps[number]);
            let mut later = (number + 1..steps.len()).filter(needs).peekable();
            let unneeded = matches!(steps[number], Step::Predict(_)) && later.peek().is_some();
            done[number] = (unneeded && later.all(|later| done[later])) || self.is_done(steps[number])?;
        }
        Ok(done)
    }

    fn is_done(&self, step: Step) -> Result<bool> {
        let current = |folder: PathBuf| Ok(Mark::of_folder(&folder) == Some(self.mark(step)?));
        match step {
            Step::Train => Ok(true),
            Step::Predict(View::Calibrated(map, _)) | Step::Evaluate(View::Calibrated(map, _))
                if !self.is_fitted(map)? =>
            {
                Ok(false)
            }
            Step::Predict(view) => Ok(self.unpredicted(view)?.is_empty()),
            Step::Fit(map) => self.is_fitted(map),
            Step::Evaluate(view) => current(self.evaluation(view)),
        }
    }

    /// Whether there is a map that was fitted on the network's current outputs.
    fn is_fitted(&self, map: Map) -> Result<bool> {
        let marked = Mark::of_folder(&self.map_folder(map)) == Some(self.mark(Step::Fit(map))?);
        Ok(marked && self.map_file(map).is_file())
    }
}
