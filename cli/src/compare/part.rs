//! The cases of a comparison: those that everything is evaluated on, and those that grid values and maps are chosen on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;
use segcal_core::{Error, Result};
use segcal_data::hash::Hash;
use segcal_data::{Case, Dataset, ENDINGS};
use segcal_train::settings::Settings;

use super::plan::Plan;

/// The parts of a data set.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The cases that everything is evaluated on.
    pub measured: Part,
    /// The cases that grid values and maps are chosen on.
    pub validation: Part,
    /// The held-out cases of each of the plan's folds; all of them together are evaluated.
    pub folds: Vec<Part>,
}

/// The cases of one part.
#[derive(Clone, Debug)]
pub struct Part {
    /// `test`, or `validation` where the test part has no labels.
    pub name: &'static str,
    /// Its labelled cases.
    pub cases: Vec<Case>,
    /// For each case, the SHA-256 of its images, and that of its images and label.
    pub(super) contents: BTreeMap<String, [String; 2]>,
}

impl Parts {
    /// The parts of each arm's data set.
    ///
    /// # Errors
    /// Those of [`Part`].
    pub fn of(plan: &Plan) -> Result<Vec<Self>> {
        let mut found: Vec<Self> = Vec::with_capacity(plan.arms.len());
        for (number, arm) in plan.arms.iter().enumerate() {
            let again = found.get(arm.cases_of).cloned();
            found.push(again.map_or_else(|| Self::on(plan, plan.settings(number)), Ok)?);
        }
        Ok(found)
    }

    fn on(plan: &Plan, settings: &Settings) -> Result<Self> {
        if plan.folds.is_empty() {
            return Self::new(settings);
        }
        let held = |&fold: &usize| Part::new("validation", Dataset::open_fold(&settings.data, fold)?.val);
        let folds: Vec<Part> = plan.folds.iter().map(held).collect::<Result<_>>()?;
        let all: Vec<Case> = folds.iter().flat_map(|fold| fold.cases.iter().cloned()).collect();
        let measured = Part::new("validation", all)?;
        if measured.contents.len() < measured.cases.len() || folds.iter().any(|fold| fold.cases.is_empty()) {
            let error = Error::new("two folds hold out the same case, or a fold holds out none");
            return Err(error.at(settings.data.display()).help("segcal prepare --folds puts each case into one fold"));
        }
        Ok(Self { validation: measured.clone(), measured, folds })
    }

    /// The labelled cases of the test part, or else the validation part. The lists of the decathlon name no labels for
    /// test images, so labels in the folder `labelsX` beside `imagesX` count as well.
    fn new(settings: &Settings) -> Result<Self> {
        let data = Dataset::open_fold(&settings.data, settings.fold)?;
        let with_label = |case: Case| Case { label: case.label.clone().or_else(|| label_beside(&case)), ..case };
        let labelled: Vec<Case> = data.test.into_iter().map(with_label).filter(|case| case.label.is_some()).collect();
        let validation = Part::new("validation", data.val)?;
        let measured = if labelled.is_empty() { validation.clone() } else { Part::new("test", labelled)? };
        if measured.cases.is_empty() {
            let error = Error::new("neither the test nor the validation part contains a labelled case");
            return Err(error.at(settings.data.display()).help("define the split in a splits.json"));
        }
        Ok(Self { measured, validation, folds: Vec::new() })
    }
}

/// Folder that keeps the subject's probabilities when the others are removed.
pub const KEPT: &str = "subject";

impl Part {
    /// The case that a figure shows for every method: the plan's, or else the first by name; `None` if the plan's is
    /// not in this part.
    pub fn subject(&self, plan: &Plan) -> Option<&Case> {
        match &plan.subject.0 {
            Some(name) => self.cases.iter().find(|case| &case.name == name),
            None => self.cases.iter().min_by(|a, b| a.name.cmp(&b.name)),
        }
    }

    fn new(name: &'static str, cases: Vec<Case>) -> Result<Self> {
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
