//! Runs the steps of a unit.

use std::fs;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_data::Case;
use segcal_data::part::Part;
use segcal_evaluate::calibrate::job::{ApplyRequest, FitRequest};
use segcal_evaluate::calibrate::map::Method as Map;
use segcal_evaluate::calibrate::recipe::Training;
use segcal_evaluate::inputs::{Files, Pair};
use segcal_evaluate::reading::Reading;
use segcal_evaluate::scores::Scores;
use segcal_evaluate::state::Prediction;
use segcal_evaluate::{self as evaluate, cohort};
use segcal_metrics::calibration::Region;
use segcal_train::predict::{FileFormat, Noise, Output, Request};

use super::part::KEPT;
use super::step::{LOGITS, MARK, Mark, Step, View};
use super::unit::Unit;
use crate::output::{self, OutputFolder};
use crate::{Common, doors};

/// Number of samples per forward pass in prediction.
const BATCH: usize = 16;
/// The outputs that are predicted; the last only for maps.
const ALL_OUTPUTS: [Output; 3] = [Output::Segmentations, Output::Probabilities, Output::Logits];
const PROBABILITIES: Prediction = Prediction::Scores(Scores::Probabilities);

impl Unit<'_> {
    /// Runs those of these steps that are not done, in order.
    ///
    /// # Errors
    /// A step fails.
    pub fn complete(&self, steps: &[Step], discard: bool, common: &Common) -> Result<()> {
        let done = self.done(steps)?;
        for (&step, _) in steps.iter().zip(done).filter(|(_, done)| !done) {
            common.say(&format!("{}: {}", self.place, step.what()));
            self.take(step, common)?;
        }
        if discard {
            let predicted =
                steps.iter().filter_map(|step| if let Step::Predict(view) = step { Some(*view) } else { None });
            predicted.into_iter().try_for_each(|view| self.discard(view))?;
        }
        Ok(())
    }

    /// Removes probabilities, except those of the subject without noise, which a figure shows.
    fn discard(&self, view: View) -> Result<()> {
        let folder = self.predictions(view);
        remove_folder(&folder.join(LOGITS))?;
        let (from, to) = (folder.join("probabilities"), folder.join(KEPT));
        if let Some(case) = self.part(view).subject(self.plan).filter(|_| view == View::Noise(0.0)) {
            let name = format!("{}.nii.gz", case.name);
            if from.join(&name).is_file() {
                let kept = OutputFolder::create(&to)?.file(&name)?;
                fs::rename(from.join(&name), kept).map_err(|error| output::write_failure(&error)).at(to.display())?;
            }
        }
        remove_folder(&from)
    }

    fn take(&self, step: Step, common: &Common) -> Result<()> {
        match step {
            Step::Train => {
                self.forget_weights();
                doors::train(&self.settings, self.settings.out.join("config.toml").exists(), common).map(drop)
            }
            Step::Predict(View::Calibrated(map, noise)) => self.calibrate(map, noise, common),
            Step::Predict(view) => self.predict(view, common),
            Step::Fit(map) => self.fit(map, common),
            Step::Evaluate(view) => self.evaluate(view, common),
        }
    }

    /// Checks that the training that the plan describes can begin.
    ///
    /// # Errors
    /// Those of [`segcal_train::job::check`].
    pub fn check(&self) -> Result<()> {
        doors::check_training(&self.settings).at(&self.of().name)
    }

    /// Predicts the remaining cases.
    fn predict(&self, view: View, common: &Common) -> Result<()> {
        let left = self.unpredicted(view)?;
        let path = self.predictions(view);
        self.begin(&path, Step::Predict(view))?;
        let request = Request {
            runs: std::slice::from_ref(&self.settings.out),
            cases: &left,
            out: &path,
            batch: BATCH,
            format: FileFormat::Nifti,
            write: if self.keeps_logits(view) { &ALL_OUTPUTS[..] } else { &ALL_OUTPUTS[..2] },
            mirror: false,
            // The same for every method, but different for each seed, level and case.
            noise: Noise { sigma: view.noise(), seed: self.seed },
            part: Part::WHOLE,
            resume: false,
        };
        match doors::predict(&request, common)?.failed.len() {
            0 => Ok(()),
            failed => Err(Error::new(format!("{failed} of {} cases could not be predicted", left.len()))),
        }
    }

    /// Marks a folder with its current inputs; a folder computed from other inputs is emptied first.
    fn begin(&self, path: &Path, step: Step) -> Result<()> {
        let mark = self.mark(step)?;
        if Mark::of_folder(path).as_ref() != Some(&mark) {
            remove_folder(path)?;
            mark.write(&OutputFolder::create(path)?)?;
        }
        Ok(())
    }

    /// The stored scores of a part, in a folder of this name, with their references.
    fn pairs(&self, view: View, kind: &str) -> Vec<Pair> {
        let scores = self.predictions(view).join(kind);
        let labelled = self.part(view).cases.iter().filter_map(|case| Some((case, case.label.clone()?)));
        let pair = |(case, reference): (&Case, PathBuf)| Pair {
            case: case.name.clone(),
            prediction: Files::One(scores.join(format!("{}.nii.gz", case.name))),
            reference,
            masks: None,
            image: case.images.first().cloned(),
        };
        labelled.map(pair).collect()
    }

    /// The folder of the references, whose `dataset.json` names the structures.
    fn labels(&self, view: View) -> PathBuf {
        let mut labels = self.part(view).cases.iter().filter_map(|case| case.label.as_ref());
        labels.find_map(|label| label.parent().map(Path::to_path_buf)).unwrap_or_default()
    }

    /// Fits a map on the predictions of the validation part.
    fn fit(&self, map: Map, common: &Common) -> Result<()> {
        let (folder, out) = (self.map_folder(map), self.map_file(map));
        remove_folder(&folder)?;
        let made = OutputFolder::create(&folder)?;
        let pairs = self.pairs(View::Validation, LOGITS);
        let request = FitRequest {
            scores: &self.predictions(View::Validation).join(LOGITS),
            kind: Scores::Logits,
            reading: &Reading::default(),
            ignored: None,
            labels: &self.labels(View::Validation),
            dataset: None,
            pairs: Some(&pairs),
            region: Region::All,
            out: &out,
        };
        if map == Map::Local {
            let training = Training { seed: self.seed, ..Training::default() };
            doors::fit_local(&request, None, training, common)?;
        } else {
            evaluate::calibrate::job::fit(map, &request)?;
        }
        // The mark declares the map complete, so it is written last.
        self.mark(Step::Fit(map))?.write(&made)
    }

    /// Applies a map to the predictions at a level of noise.
    fn calibrate(&self, map: Map, noise: f64, common: &Common) -> Result<()> {
        let view = View::Calibrated(map, noise);
        let path = self.predictions(view);
        self.begin(&path, Step::Predict(view))?;
        // Local temperatures read the image from its file, without noise.
        let mut images = self.part(view).cases.iter().filter_map(|case| case.images.first()?.parent());
        let request = ApplyRequest {
            map: &self.map_file(map),
            scores: &self.predictions(View::Noise(noise)).join(LOGITS),
            kind: Scores::Logits,
            reading: &Reading::default(),
            ignored: None,
            labels: None,
            images: images.next(),
            out: &path.join("probabilities"),
            part: Part::WHOLE,
            resume: false,
        };
        match doors::apply(&request, common)?.failed.into_iter().next() {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Evaluates predictions.
    fn evaluate(&self, view: View, common: &Common) -> Result<()> {
        let path = self.evaluation(view);
        remove_folder(&path)?;
        let measuring = &self.on().measuring;
        let measure = measuring.settings.clone().measure(PROBABILITIES, measuring.voxel_units)?;
        let request = evaluate::Request {
            predictions: &self.predictions(view).join("probabilities"),
            labels: &self.labels(view),
            dataset: None,
            images: None,
            out: &path,
            measure: &measure,
            plan: cohort::Plan { empty: self.plan.empty, convention: measuring.convention, seed: 0 },
            only_predicted: false,
            resume: false,
        };
        if !doors::evaluate(&request, Some(&self.pairs(view, "probabilities")), common)?.failed.is_empty() {
            return Err(Error::new("some cases could not be evaluated").at(path.display()));
        }
        // The mark declares the evaluation complete, so it is written last.
        self.mark(Step::Evaluate(view))?.write(&OutputFolder::create(&path)?)
    }
}

/// Joins the evaluations of the folds of each training: every case once, predicted by a network that was not trained on
/// it.
///
/// # Errors
/// An evaluation cannot be read, or the joined one cannot be written.
pub fn pool(units: &[&Unit<'_>]) -> Result<()> {
    for first in units.iter().filter(|unit| unit.fold == Some(0)) {
        for &noise in &first.plan.noise {
            let view = View::Noise(noise);
            let own = units.iter().filter(|unit| unit.is_with(first)).map(|unit| unit.evaluation(view));
            let out = first.pooled_evaluation(view);
            remove_folder(&out)?;
            let plan = cohort::Plan { empty: first.plan.empty, convention: first.on().measuring.convention, seed: 0 };
            evaluate::merge::merge(&own.collect::<Vec<_>>(), &out, plan)?;
        }
    }
    Ok(())
}

/// Removes a folder that a comparison created, if it exists. Refuses a symbolic link in its place.
fn remove_folder(path: &Path) -> Result<()> {
    if path.is_symlink() {
        return Err(Error::new("is a symbolic link").at(path.display()).help("remove the link"));
    }
    if !path.exists() {
        return Ok(());
    }
    // The mark goes first: without it, a partly removed folder counts as nothing.
    let mark = path.join(MARK);
    let removed = if mark.exists() { fs::remove_file(&mark) } else { Ok(()) };
    removed.and_then(|()| fs::remove_dir_all(path)).map_err(|error| output::write_failure(&error)).at(path.display())
}
