//! What of a comparison is done, and doing the rest: for each method and seed a training, for each level of noise a
//! prediction and an evaluation.
//!
//! A training knows how to go on by itself. A folder of predictions or of an evaluation bears a [`Mark`] of what it was
//! made from; where that is not what it would be made from now, it is made anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use segcal_core::{Context, Error, Result, Rng};
use serde::{Deserialize, Serialize};

use super::plan::{Method, Plan};
use crate::output::{self, OutputFolder};
use crate::{Common, doors};
use segcal_data::hash::Hash;
use segcal_data::{Case, Dataset, ENDINGS, limits};
use segcal_evaluate::inputs::{Files, Pair};
use segcal_evaluate::scores::Scores;
use segcal_evaluate::state::Prediction;
use segcal_evaluate::{self as evaluate, cohort};
use segcal_train::predict::Request;
use segcal_train::run::Verified;
use segcal_train::run_folder;
use segcal_train::settings::Settings;

/// Stream of the noise among those of a seed's random numbers.
const NOISE: u64 = 0x006e_6f69_7365;
/// Samples that go through the network together when it predicts.
const BATCH: usize = 16;
const PROBABILITIES: Prediction = Prediction::Scores(Scores::Probabilities);
const MARK: &str = "made-of.json";

/// The cases that everything is measured on.
#[derive(Clone, Debug)]
pub struct Part {
    /// `test`, or `validation` where the test part has no labels.
    pub name: &'static str,
    /// Its labelled cases.
    pub cases: Vec<Case>,
    /// Of each case, the SHA-256 of its images, and that of its images and label.
    contents: BTreeMap<String, [String; 2]>,
}

impl Part {
    /// The labelled cases of the test part, or else the validation part. Lists of the decathlon name no labels of test
    /// images: those in the folder `labelsX` beside the images' `imagesX` count as well.
    ///
    /// # Errors
    /// The data set cannot be read, or neither part holds a labelled case.
    pub fn of(settings: &Settings) -> Result<Self> {
        let data = Dataset::open_fold(&settings.data, settings.fold)?;
        let with_label = |case: Case| Case { label: case.label.clone().or_else(|| label_beside(&case)), ..case };
        let labelled: Vec<Case> = data.test.into_iter().map(with_label).filter(|case| case.label.is_some()).collect();
        let (name, cases) = if labelled.is_empty() { ("validation", data.val) } else { ("test", labelled) };
        if cases.is_empty() {
            let error = Error::new("neither the test nor the validation part holds a labelled case");
            return Err(error.at(settings.data.display()).help("divide the data set in a splits.json"));
        }
        let contents = |case: &Case| Ok((case.name.clone(), contents(case)?));
        let contents = cases.par_iter().map(contents).collect::<Result<_>>()?;
        Ok(Self { name, cases, contents })
    }
}

/// The SHA-256 of the images of a case, and that of its images and label.
fn contents(case: &Case) -> Result<[String; 2]> {
    let mut images = Hash::default();
    case.images.iter().try_for_each(|path| images.file(path))?;
    let images = images.hex();
    let mut all = Hash::default();
    all.text(&images);
    case.label.iter().try_for_each(|path| all.file(path))?;
    Ok([images, all.hex()])
}

/// The label map of an image in the folder beside the images'.
fn label_beside(case: &Case) -> Option<PathBuf> {
    let folder = case.images.first()?.parent()?;
    let kind = folder.file_name()?.to_str()?.strip_prefix("images")?;
    let labels = folder.with_file_name(format!("labels{kind}"));
    ENDINGS.iter().map(|ending| labels.join(format!("{}{ending}", case.name))).find(|path| path.is_file())
}

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Training {
    /// There is no epoch yet.
    Missing,
    /// So many epochs are done, more are asked for.
    Begun(usize),
    /// All epochs are done.
    Done,
}

/// What predictions or an evaluation were made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// SHA-256 of the file of the weights.
    weights: String,
    /// Standard deviation of the noise.
    noise: f64,
    /// Name of each case, with the SHA-256 of its images (of predictions) or of its images and label.
    cases: BTreeMap<String, String>,
    /// What an empty mask counts; not for predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    empty: Option<String>,
}

impl Mark {
    fn of_folder(folder: &Path) -> Option<Self> {
        serde_json::from_str(&limits::read_text(&folder.join(MARK)).ok()?).ok()
    }

    fn write(&self, folder: &OutputFolder) -> Result<()> {
        output::write_text(&folder.file(MARK)?, &(output::to_json(self)? + "\n"))
    }
}

/// One method with one seed.
#[derive(Clone, Debug)]
pub struct Cell<'a> {
    plan: &'a Plan,
    part: &'a Part,
    /// The method.
    pub method: &'a Method,
    /// Its number among the methods, from 0.
    pub number: usize,
    /// The seed.
    pub seed: u64,
    /// `method 2/3 nacl, seed 1/3`.
    pub place: String,
    settings: Settings,
    folder: PathBuf,
}

/// Every method with every seed, a method's seeds together.
pub fn cells<'a>(plan: &'a Plan, part: &'a Part) -> Vec<Cell<'a>> {
    let (methods, seeds) = (plan.methods.len(), plan.seeds.len());
    let cell = |number: usize, place: usize| {
        let (method, seed) = (&plan.methods[number], plan.seeds[place]);
        let folder = plan.out.join(&method.name).join(format!("seed-{seed}"));
        let settings = Settings { seed, out: folder.join("run"), ..method.settings.clone() };
        let place = format!("method {}/{methods} {}, seed {}/{seeds}", number + 1, method.name, place + 1);
        Cell { plan, part, method, number, seed, place, settings, folder }
    };
    (0..methods).flat_map(|number| (0..seeds).map(move |place| cell(number, place))).collect()
}

impl Cell<'_> {
    /// How far the training is.
    ///
    /// # Errors
    /// The run in the folder was started with another config, or has more epochs than the plan; the message names the key.
    pub fn training(&self) -> Result<Training> {
        let run = &self.settings.out;
        if !run.join("config.toml").exists() {
            return Ok(Training::Missing);
        }
        let refused = |what: String| {
            let error = Error::new(what).at(run.display()).at(&self.place);
            Err(error.help("give the changed method another name, or the plan another out"))
        };
        if let Some(key) = run_folder::changed_key(run, &self.settings.to_table())? {
            return refused(format!("was trained with another {key}"));
        }
        let last = run.join("last.safetensors");
        // What is wrong with a checkpoint that cannot be read is said where the training goes on from it.
        match Verified::open(&last, &self.settings).map_or(0, |checkpoint| checkpoint.epoch) {
            0 => Ok(Training::Missing),
            done if done < self.settings.epochs => Ok(Training::Begun(done)),
            done if done > self.settings.epochs => {
                refused(format!("was trained for {done} epochs, the plan has epochs = {}", self.settings.epochs))
            }
            _ => Ok(Training::Done),
        }
    }

    /// Number of epochs that the plan asks for.
    pub fn epochs(&self) -> usize {
        self.settings.epochs
    }

    /// Refuses links among the folders that the comparison makes: it would write elsewhere.
    ///
    /// # Errors
    /// One is a symbolic link.
    pub fn expect_no_links(&self) -> Result<()> {
        let above = [self.plan.out.join(&self.method.name), self.folder.clone(), self.settings.out.clone()];
        let levels = self.plan.noise.iter().flat_map(|&noise| [self.predictions(noise), self.evaluation(noise)]);
        match above.into_iter().chain(levels).find(|folder| folder.is_symlink()) {
            Some(link) => {
                let error = Error::new("is a symbolic link inside an output folder").at(link.display());
                Err(error.help("remove the link or choose another output folder"))
            }
            None => Ok(()),
        }
    }

    /// The settings of its training.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the training that the plan describes can begin.
    ///
    /// # Errors
    /// Those of [`segcal_train::job::check`].
    pub fn check(&self) -> Result<()> {
        doors::check_training(&self.settings).at(&self.method.name)
    }

    /// Trains what is left to train.
    ///
    /// # Errors
    /// Those of [`segcal_train::train`].
    pub fn train(&self, common: &Common) -> Result<()> {
        doors::train(&self.settings, self.settings.out.join("config.toml").exists(), common)
    }

    /// Folder of the predictions at a level of noise.
    pub fn predictions(&self, noise: f64) -> PathBuf {
        self.folder.join(format!("predictions-noise-{noise}"))
    }

    /// Folder of the evaluation at a level of noise.
    pub fn evaluation(&self, noise: f64) -> PathBuf {
        self.folder.join(format!("evaluation-noise-{noise}"))
    }

    /// What the predictions at each level of noise are made from; those of an evaluation hold its rule as well.
    ///
    /// # Errors
    /// The run holds no weights.
    fn mark(&self, noise: f64, empty: bool) -> Result<Mark> {
        let mut weights = Hash::default();
        weights.file(&self.settings.out.join("best.safetensors"))?;
        let of = |(name, contents): (&String, &[String; 2])| (name.clone(), contents[usize::from(empty)].clone());
        let cases = self.part.contents.iter().map(of).collect();
        Ok(Mark { weights: weights.hex(), noise, cases, empty: empty.then(|| self.plan.empty.name().to_owned()) })
    }

    /// The cases that are to be predicted at a level of noise; all of them where the predictions are of other weights.
    fn unpredicted(&self, noise: f64) -> Result<Vec<Case>> {
        let folder = self.predictions(noise);
        let current = Mark::of_folder(&folder) == Some(self.mark(noise, false)?);
        let file = |kind: &str, case: &Case| folder.join(kind).join(format!("{}.nii.gz", case.name));
        // The segmentation is written after the probabilities.
        let done =
            |case: &Case| current && ["probabilities", "segmentations"].iter().all(|kind| file(kind, case).exists());
        Ok(self.part.cases.iter().filter(|case| !done(case)).cloned().collect())
    }

    /// Whether the evaluation at a level of noise is done.
    ///
    /// # Errors
    /// The weights of the run cannot be read.
    pub fn is_evaluated(&self, noise: f64) -> Result<bool> {
        Ok(Mark::of_folder(&self.evaluation(noise)) == Some(self.mark(noise, true)?))
    }

    /// Whether every case is predicted at a level of noise.
    ///
    /// # Errors
    /// The weights of the run cannot be read.
    pub fn is_predicted(&self, noise: f64) -> Result<bool> {
        Ok(self.unpredicted(noise)?.is_empty())
    }

    /// Predicts the cases that are left at a level of noise.
    ///
    /// # Errors
    /// A case cannot be predicted, or the folder cannot be written.
    pub fn predict(&self, noise: f64, common: &Common) -> Result<()> {
        let left = self.unpredicted(noise)?;
        let (path, mark) = (self.predictions(noise), self.mark(noise, false)?);
        if Mark::of_folder(&path).as_ref() != Some(&mark) {
            remove_folder(&path)?;
            mark.write(&OutputFolder::create(&path)?)?;
        }
        let request = Request {
            run: &self.settings.out,
            cases: &left,
            out: &path,
            batch: BATCH,
            probabilities: true,
            change: &|case, image| self.disturb(noise, case, image),
        };
        match doors::predict(&request, common)?.failed.len() {
            0 => Ok(()),
            failed => Err(Error::new(format!("{failed} of {} cases could not be predicted", left.len()))),
        }
    }

    /// Adds Gaussian noise to a prepared image: the same for every method, another one for each seed, level and case.
    fn disturb(&self, noise: f64, case: &str, image: &mut [f32]) {
        if noise == 0.0 {
            return;
        }
        let rng = Rng::new(self.seed).stream(NOISE).stream(noise.to_bits());
        let rng = case.bytes().fold(rng, |rng, byte| rng.stream(u64::from(byte)));
        for (voxel, value) in image.iter_mut().enumerate() {
            *value += (noise * rng.normal(voxel as u64)) as f32;
        }
    }

    /// Evaluates the predictions at a level of noise.
    ///
    /// # Errors
    /// A case cannot be evaluated, or the folder cannot be written.
    pub fn evaluate(&self, noise: f64, common: &Common) -> Result<()> {
        let path = self.evaluation(noise);
        remove_folder(&path)?;
        let probabilities = self.predictions(noise).join("probabilities");
        let labelled = || self.part.cases.iter().filter_map(|case| Some((case, case.label.clone()?)));
        let pair = |(case, reference): (&Case, PathBuf)| Pair {
            case: case.name.clone(),
            prediction: Files::One(probabilities.join(format!("{}.nii.gz", case.name))),
            reference,
            image: case.images.first().cloned(),
        };
        let pairs: Vec<Pair> = labelled().map(pair).collect();
        let labels = labelled().find_map(|(_, label)| label.parent().map(Path::to_path_buf)).unwrap_or_default();
        let measure = evaluate::settings::Settings::default().measure(PROBABILITIES, false)?;
        let request = evaluate::Request {
            predictions: &probabilities,
            labels: &labels,
            dataset: None,
            images: None,
            out: &path,
            measure: &measure,
            plan: cohort::Plan { empty: self.plan.empty, convention: cohort::Convention::Segcal, seed: 0 },
            resume: false,
        };
        if !doors::evaluate(&request, Some(&pairs), common)?.failed.is_empty() {
            return Err(Error::new("some cases could not be evaluated").at(path.display()));
        }
        // The mark says that all of it is there, so it comes last.
        self.mark(noise, true)?.write(&OutputFolder::create(&path)?)
    }

    /// Removes the probabilities at a level of noise.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn discard(&self, noise: f64) -> Result<()> {
        remove_folder(&self.predictions(noise).join("probabilities"))
    }
}

/// Removes a folder that a comparison made, if it is there. A link in its place is refused.
fn remove_folder(path: &Path) -> Result<()> {
    if path.is_symlink() {
        return Err(Error::new("is a symbolic link").at(path.display()).help("remove the link"));
    }
    if !path.exists() {
        return Ok(());
    }
    // Without its mark, what is left of a folder is that of nothing.
    let mark = path.join(MARK);
    let removed = if mark.exists() { fs::remove_file(&mark) } else { Ok(()) };
    removed.and_then(|()| fs::remove_dir_all(path)).map_err(|error| output::write_failure(&error)).at(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance within five standard errors, the same for every method, another for each seed, level and case.
    #[test]
    fn noise_is_gaussian_and_depends_on_seed_level_and_case_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        let text =
            "seeds = [1, 2]\n[train]\ndata = \"d\"\n[[method]]\nname = \"a\"\n[[method]]\nname = \"b\"\nepochs = 2\n";
        fs::write(&path, text).unwrap();
        let plan = Plan::read(&path, &[], None).unwrap();
        let part = Part { name: "test", cases: Vec::new(), contents: BTreeMap::new() };
        let cells = cells(&plan, &part);
        let count = 20_000;
        let noise = |cell: usize, level: f64, case: &str| {
            let mut image = vec![0.5_f32; count];
            cells[cell].disturb(level, case, &mut image);
            image
        };
        let first = noise(0, 0.25, "case");
        assert_eq!(first, noise(2, 0.25, "case"), "methods see the same");
        for other in [noise(1, 0.25, "case"), noise(0, 0.125, "case"), noise(0, 0.25, "cases")] {
            assert_ne!(first, other);
        }
        assert_eq!(noise(0, 0.0, "case"), vec![0.5; count]);
        let (n, added) = (count as f64, first.iter().map(|&x| f64::from(x) - 0.5));
        let (sum, squares) = added.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        assert!((sum / n).abs() < 5.0 * 0.25 / n.sqrt());
        assert!((squares / n - 0.0625).abs() < 5.0 * 0.0625 * (2.0 / n).sqrt());
    }
}
