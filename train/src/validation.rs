//! What a network is worth between two epochs: DSC and foreground ECE of whole volumes.

use segcal_core::{Backend, Context, Result};
use segcal_data::observer::{self, Observer, Steps};
use segcal_metrics::calibration::{Calibration, Region};
use segcal_metrics::overlap::Confusion;
use segcal_metrics::volume::{Label, Probabilities, Structure};

use super::infer::{Predictor, Tiling};
use super::source::Source;

/// Means over the validation volumes.
pub struct Validation {
    /// DSC of each structure (label 1, 2, ...); a structure that neither map holds is left out of its mean.
    pub dsc: Vec<f64>,
    /// ECE over the voxels whose reference is not background.
    pub ece: f64,
}

impl Validation {
    /// Mean of the structures' DSC.
    pub fn mean_dsc(&self) -> f64 {
        mean(&self.dsc)
    }
}

/// The mean of what is a number; NaN if nothing is.
fn mean(values: &[f64]) -> f64 {
    let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    present.iter().sum::<f64>() / present.len() as f64
}

/// Predicts and measures every volume.
///
/// # Errors
/// A case cannot be read, the device fails, the network's output is not finite, or the observer asks to stop.
pub fn validate<B: Backend>(
    predictor: &Predictor<'_, B>,
    cases: &dyn Source,
    classes: usize,
    tiling: &Tiling<'_>,
    observer: &dyn Observer,
) -> Result<Validation> {
    let steps = Steps::begin(observer, "validation", cases.len());
    let ignored = cases.classes().ignored;
    let mut dsc = vec![Vec::new(); classes - 1];
    let mut ece = Vec::new();
    for case in 0..cases.len() {
        let prepared = cases.get(case)?;
        observer::check(observer).at(format!("validation of {}", prepared.name))?;
        let output = predictor.probabilities(&prepared.image, tiling).at(format!("validation of {}", prepared.name))?;
        let labels = prepared.label.values();
        let kept = |&voxel: &usize| Some(labels[voxel]) != ignored;
        let kept: Vec<usize> = (0..labels.len()).filter(kept).collect();
        let reference: Vec<Label> = kept.iter().map(|&voxel| labels[voxel] as Label).collect();
        let output: Vec<f32> =
            output.chunks(labels.len()).flat_map(|class| kept.iter().map(|&voxel| class[voxel])).collect();
        let output = Probabilities::new(&output, classes);
        let mut confusion = Confusion::new(classes);
        confusion.add(&reference, &output.argmax())?;
        for (structure, values) in dsc.iter_mut().enumerate() {
            let structure = Structure::single(structure as Label + 1);
            values.push(confusion.counts(&structure).dsc().formula().unwrap_or(f64::NAN));
        }
        let mut calibration = Calibration::new(classes, 15);
        calibration.add(output, &reference, None)?;
        ece.push(calibration.region(Region::Foreground).ece());
        steps.step(&prepared.name);
    }
    Ok(Validation { dsc: dsc.iter().map(|values| mean(values)).collect(), ece: mean(&ece) })
}
