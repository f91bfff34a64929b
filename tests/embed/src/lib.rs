//! Another program: it trains on arrays in memory, predicts an image with a trained run, measures two arrays, and reads
//! and writes NIfTI, by the libraries of segcal alone. Its test compares every number with those of `segcal`.

use std::path::Path;
use std::sync::Arc;

use segcal_backends::Cpu;
use segcal_core::{Backend, Result, axis, ops, stable};
use segcal_data::observer::Silent;
use segcal_data::{Case, Dataset, Volume, nifti};
use segcal_losses::{Batch, Criterion, Value};
use segcal_metrics::measure::{Figures, Options, Prediction, measure};
use segcal_metrics::volume::{Grid, Label};
use segcal_train::prepared::{Classes, prepare};
use segcal_train::record::EpochRecord;
use segcal_train::run::{Trained, network};
use segcal_train::settings::Settings;
use segcal_train::source::Memory;
use segcal_train::trainer::{Data, Trainer};

/// Cross entropy as somebody else would write it, `-sum_k y_k log s_k`, averaged over the pixels.
pub struct OwnCrossEntropy;

impl Criterion for OwnCrossEntropy {
    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let log_softmax = stable::log_softmax(batch.logits);
        let share = 1.0 / batch.labels.shape().len() as f64;
        let total = ops::sum_all(&[&log_softmax, batch.labels], |p| {
            p.input(1).equals(p.coord(axis::C)).select(-p.input(0), 0.0) * share
        });
        Value { total, terms: Vec::new() }
    }
}

/// Trains on the cases of a data set, held in memory.
///
/// # Errors
/// The data set cannot be read, a setting is out of range, or training diverges.
pub fn train(dataset: &Path, keys: &[&str], loss: impl Criterion) -> Result<Vec<EpochRecord>> {
    let backend = Cpu::new(None)?;
    let settings = Settings::with(keys)?;
    let data = Dataset::open(dataset)?;
    let classes = Classes { count: data.classes.len(), ignored: data.ignore_label };
    let memory = |cases: &[Case]| {
        let cases = cases.iter().map(|case| prepare(case, &settings.input, &classes)).collect::<Result<Vec<_>>>()?;
        Memory::new(cases, classes).map(Arc::new)
    };
    let (training, validation) = (memory(&data.train)?, memory(&data.val)?);
    let network = network(&settings, 1, classes.count)?;
    let data = Data { training, validation, class_names: data.classes };
    Trainer::new(&backend, network, loss, data, &settings)?.run(&Silent)
}

/// Class probabilities of an image by a run that `segcal train` made.
///
/// # Errors
/// The run or the image cannot be read.
pub fn predict(run: &Path, image: &Path) -> Result<Volume<f32>> {
    let backend = Cpu::new(None)?;
    Trained::open(run, &backend)?.probabilities(&backend, nifti::read_image(image)?)
}

/// Every figure of two arrays: class probabilities against the labels of a file.
///
/// # Errors
/// The file cannot be read, holds a label without a class, or lies on another grid.
pub fn evaluate(probabilities: &Volume<f32>, labels: &Path) -> Result<Figures> {
    let labels = nifti::read_labels(labels)?;
    let grid = labels.grid.clone();
    grid.expect_same("the label", &probabilities.grid, "the prediction")?;
    let reference: Vec<Label> = labels.values().iter().map(|&label| label as Label).collect();
    let prediction = Prediction::Probabilities(probabilities.values().into());
    measure(&Cpu::new(None)?, prediction, &reference, Grid::new(grid.extent, grid.spacing_mm()), &Options::default())
}

/// Writes class probabilities, the class last.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, probabilities: &Volume<f32>) -> Result<()> {
    nifti::write(path, probabilities)
}
