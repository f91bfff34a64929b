//! Evaluates a network between two epochs: DSC and foreground ECE of whole volumes.

use segcal_core::{Backend, Context, Result};
use segcal_data::observer::{self, Observer, Steps};
use segcal_metrics::calibration::{Calibration, Region};
use segcal_metrics::measure::Nested;
use segcal_metrics::overlap::Confusion;
use segcal_metrics::volume::{Label, Probabilities, Structure};

use super::infer::{Predictor, Tiling};
use super::ranks::Ranks;
use super::ranks::wire::{bytes_of, numbers_of, strange};
use super::source::Source;

/// Means over the validation volumes.
pub struct Validation {
    /// DSC of each structure (label 1, 2, ...) or region; cases in which neither map contains the structure are left
    /// out of its mean.
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

/// The mean of the values that are not NaN; NaN if there are none.
fn mean(values: &[f64]) -> f64 {
    let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    present.iter().sum::<f64>() / present.len() as f64
}

/// What the network's outputs represent, which determines how they are evaluated.
#[derive(Clone, Copy, Debug)]
pub enum Judged<'a> {
    /// Classes with these names, the background first: DSC of each structure, ECE over the reference's foreground.
    Classes(&'a [String]),
    /// Regions: DSC of each in the label map derived from them, and the mean over regions of the one-versus-rest ECE
    /// within each region.
    Regions(&'a Nested),
}

/// Predicts and evaluates every volume, each on one of the ranks.
///
/// # Errors
/// A case cannot be read, the device fails, the network's output is not finite, or the observer asks to stop.
pub fn validate<B: Backend>(
    predictor: &Predictor<'_, B>,
    cases: &dyn Source,
    judged: Judged<'_>,
    tiling: &Tiling<'_>,
    (ranks, observer): (&dyn Ranks, &dyn Observer),
) -> Result<Validation> {
    let steps = Steps::begin(observer, "validation", cases.len());
    let ignored = cases.classes().ignored;
    let mut own: Vec<f64> = Vec::new();
    for case in (ranks.rank()..cases.len()).step_by(ranks.size()) {
        let prepared = cases.get(case)?;
        observer::check(observer).at(format!("validation of {}", prepared.name))?;
        let output = predictor.probabilities(&prepared.image, tiling).at(format!("validation of {}", prepared.name))?;
        let labels = prepared.label.values();
        let kept = |&voxel: &usize| Some(labels[voxel]) != ignored;
        let kept: Vec<usize> = (0..labels.len()).filter(kept).collect();
        let reference: Vec<Label> = kept.iter().map(|&voxel| labels[voxel] as Label).collect();
        let output: Vec<f32> =
            output.chunks(labels.len()).flat_map(|class| kept.iter().map(|&voxel| class[voxel])).collect();
        let (overlap, ece) = judged.figures(&output, &reference)?;
        own.extend(overlap);
        own.push(ece);
        steps.step(&prepared.name);
    }
    let all: Vec<Vec<f64>> = ranks.gather(&bytes_of(&own))?.iter().map(|bytes| numbers_of(bytes)).collect();
    let structures = judged.structures().len();
    let figure = |case: usize, number: usize| {
        let own = &all[case % ranks.size()];
        own.get(case / ranks.size() * (structures + 1) + number).copied().ok_or_else(strange)
    };
    let mean_of = |number: usize| (0..cases.len()).map(|case| figure(case, number)).collect::<Result<Vec<_>>>();
    let mean_of = |number: usize| mean_of(number).map(|values| mean(&values));
    Ok(Validation { dsc: (0..structures).map(mean_of).collect::<Result<_>>()?, ece: mean_of(structures)? })
}

impl Judged<'_> {
    /// Names of the structures.
    pub fn names(self) -> Vec<String> {
        match self {
            Self::Classes(names) => names.iter().skip(1).cloned().collect(),
            Self::Regions(nested) => nested.regions.iter().map(|region| region.name.clone()).collect(),
        }
    }

    fn structures(self) -> Vec<Structure> {
        match self {
            Self::Classes(names) => (1..names.len()).map(|class| Structure::single(class as Label)).collect(),
            Self::Regions(nested) => nested.regions.clone(),
        }
    }

    /// DSC of each structure, and ECE, of one case.
    fn figures(self, output: &[f32], reference: &[Label]) -> Result<(Vec<f64>, f64)> {
        let prediction = match self {
            Self::Classes(names) => Probabilities::new(output, names.len()).argmax(),
            Self::Regions(nested) => nested.label_map(output),
        };
        let structures = self.structures();
        let united = structures.iter().flat_map(|structure| &structure.labels);
        let largest = reference.iter().chain(&prediction).chain(united).copied().max().unwrap_or(0);
        let mut confusion = Confusion::new(usize::from(largest) + 1);
        confusion.add(reference, &prediction)?;
        let dsc = |structure: &Structure| confusion.counts(structure).dsc().formula().unwrap_or(f64::NAN);
        let dsc = structures.iter().map(dsc).collect();
        let ece = match self {
            Self::Classes(names) => ece(Probabilities::new(output, names.len()), reference)?,
            Self::Regions(nested) => {
                let each = nested.regions.iter().zip(output.chunks(reference.len().max(1)));
                let each = each.map(|(region, own)| {
                    let p: Vec<f32> = own.iter().map(|p| 1.0 - p).chain(own.iter().copied()).collect();
                    let inside: Vec<Label> = reference.iter().map(|&label| region.contains(label).into()).collect();
                    ece(Probabilities::new(&p, 2), &inside)
                });
                mean(&each.collect::<Result<Vec<f64>>>()?)
            }
        };
        Ok((dsc, ece))
    }
}

/// ECE over the voxels whose reference is not background.
fn ece(output: Probabilities<'_>, reference: &[Label]) -> Result<f64> {
    let mut calibration = Calibration::new(output.classes(), 15);
    calibration.add(output, reference, None)?;
    Ok(calibration.region(Region::Foreground).ece())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_judged_one_against_the_rest() {
        let region = |name: &str, labels| Structure { name: name.into(), labels };
        let nested = Nested { regions: vec![region("whole", vec![1, 2]), region("core", vec![2])], order: vec![1, 2] };
        let output = [0.9, 0.9, 0.6, 0.1, 0.2, 0.7, 0.8, 0.4];
        let (dsc, ece) = Judged::Regions(&nested).figures(&output, &[1, 2, 0, 1]).unwrap();
        // The label map is 1 2 2 0: the whole has 3 and 3 voxels, 2 common ones; the core 2 and 1, 1 common one.
        assert_eq!(dsc, [2.0 / 3.0, 2.0 / 3.0]);
        // The whole over its voxels: confidences 0.9 right, 0.9 right, 0.9 wrong; the core over its own: 0.7, right.
        let expected = 0.5 * ((2.0_f64 / 3.0 - 0.9).abs() + (1.0 - 0.7));
        assert!((ece - expected).abs() < 1e-6, "{ece} and {expected}");
    }
}
