//! `segcal train CONFIG fold=all`: cross-validation.

use std::path::{Path, PathBuf};
use std::slice;

use segcal_core::{Context, Error, Result};
use segcal_data::dataset;
use segcal_data::part::Part;
use segcal_train::predict::{FileFormat, Noise, Output, Predicted, Request, Split};
use segcal_train::settings::Settings;

use crate::{Common, Outcome, doors, output};

/// Trains each fold and predicts its held-out cases. Together, every case is predicted by a network that was not
/// trained on it.
///
/// # Errors
/// Those of one training, or the data set has only one split.
pub(super) fn run(settings: &Settings, resume: bool, common: &Common) -> Result<Outcome> {
    let count = dataset::folds(&settings.data)?;
    if count < 2 {
        let error =
            Error::new("fold=all needs several folds, but the data set has only one split").at(settings.data.display());
        return Err(
            error.help("list folds in splits_final.json, as segcal prepare --folds 5 does, and remove splits.json")
        );
    }
    let runs: Vec<PathBuf> = (0..count).map(|fold| settings.out.join(format!("fold-{fold}"))).collect();
    let predictions = settings.out.join("out-of-fold");
    let mut failed = 0;
    for (fold, run) in runs.iter().enumerate() {
        let settings = Settings { fold, out: run.clone(), ..settings.clone() };
        doors::train(&settings, resume && run.exists(), common).at(format!("fold {fold}"))?;
        failed += predict(&settings, &predictions, common)?.failed.len();
    }
    if common.json {
        output::print_json(&serde_json::json!({ "runs": runs, "predictions": predictions }))?;
    } else {
        output::print(&format!("{}\n", predictions.display()))?;
    }
    Ok(Outcome::of(failed))
}

/// Predicts the held-out cases of the fold of these settings. Existing predictions from the same weights are kept.
fn predict(settings: &Settings, out: &Path, common: &Common) -> Result<Predicted> {
    let request = Request {
        runs: slice::from_ref(&settings.out),
        cases: &Split::Val.of(settings)?,
        out,
        batch: settings.batch,
        format: FileFormat::default(),
        write: &[Output::Segmentations, Output::Probabilities],
        mirror: false,
        noise: Noise { sigma: 0.0, seed: 0 },
        part: Part::WHOLE,
        resume: true,
    };
    doors::predict(&request, common)
}
