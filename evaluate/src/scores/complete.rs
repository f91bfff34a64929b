//! Turns the numbers of a file into one score per class: rescales them, adds missing classes, and checks that they are
//! the kind of scores they are declared to be.

use segcal_core::{Error, Result};
use segcal_metrics::guard::{Evidence, Kind};
use segcal_metrics::volume::{Label, Probabilities};

use super::{Notes, Scores};
use crate::reading::Background;

/// Returns the scores `[k, d, h, w]` with one for every class, and the number of classes. A single score per voxel is
/// that of the foreground of two classes: p stands for (1 - p, p), a logit z for (0, z). Probabilities stored as whole
/// numbers are divided by the value that stands for 1.
///
/// # Errors
/// The numbers are not the declared kind of scores, in the whole volume or in a part of `reference`.
pub(super) fn complete(
    mut values: Vec<f32>,
    classes: usize,
    kind: Scores,
    background: Background,
    reference: Option<&[Label]>,
    notes: &mut Notes<'_>,
) -> Result<(Vec<f32>, usize)> {
    if classes == 0 {
        return Err(Error::new("contains no class"));
    }
    if classes > usize::from(Label::MAX) {
        let problem = format!("contains {classes} classes, but at most {} are supported", Label::MAX);
        return Err(Error::new(problem).help("check which axis is that of the classes"));
    }
    let mut evidence = Evidence::new(Probabilities::new(&values, classes));
    let missing = background == Background::Implied || classes == 1;
    if kind == Scores::Logits {
        if classes > 1 && evidence.outside == 0 && evidence.smallest >= 0.0 {
            notes.warn(
                "all logits lie between 0 and 1: are they probabilities or sigmoid outputs? Softmax is applied to them"
                    .into(),
            );
        }
        return logits(values, &evidence, background);
    }
    if classes == 1 && background == Background::Stored {
        expect_foreground(&evidence)?;
    }
    let scale = evidence.full_scale().filter(|_| evidence.outside > 0);
    if let Some(scale) = scale {
        notes.warn(format!("the scores are whole numbers up to {scale}, which is taken as a probability of 1"));
        values.iter_mut().for_each(|value| *value = (f64::from(*value) / scale) as f32);
    }
    let classes = if missing { classes + 1 } else { classes };
    if missing {
        let rest = rest(&values, classes - 1)?;
        values.splice(0..0, rest);
    }
    if scale.is_some() || missing {
        evidence = Evidence::new(Probabilities::new(&values, classes));
    }
    expect_probabilities(&values, &evidence, reference, notes)?;
    Ok((values, classes))
}

fn logits(mut values: Vec<f32>, evidence: &Evidence, background: Background) -> Result<(Vec<f32>, usize)> {
    let classes = evidence.classes;
    if classes == 1 {
        expect_foreground_logits(evidence)?;
        let voxels = values.len();
        values.splice(0..0, std::iter::repeat_n(0.0, voxels));
        return Ok((values, 2));
    }
    if background == Background::Implied {
        return Err(Error::new("the logit of the background cannot be computed from those of the other classes")
            .help("--background implied needs probabilities: write those instead"));
    }
    evidence.expect_logits()?;
    Ok((values, classes))
}

/// 1 minus the sum of the scores of each voxel.
fn rest(values: &[f32], classes: usize) -> Result<Vec<f32>> {
    let voxels = values.len() / classes;
    let mut rest = Vec::new();
    rest.try_reserve_exact(voxels).map_err(Error::from_source)?;
    rest.extend((0..voxels).map(|voxel| {
        let sum: f64 = (0..classes).map(|class| f64::from(values[class * voxels + voxel])).sum();
        (1.0 - sum).clamp(0.0, 1.0) as f32
    }));
    Ok(rest)
}

/// Checks that a single score per voxel is a probability of the foreground.
fn expect_foreground(evidence: &Evidence) -> Result<()> {
    let kind = evidence.verdict().kind;
    let [smallest, largest] = [evidence.smallest, evidence.largest];
    if kind == Kind::Broken {
        evidence.expect_probabilities()
    } else if evidence.whole && evidence.smallest >= 0.0 {
        Err(Error::new(format!("contains one class of whole numbers from {smallest} to {largest}")).help(
            "for a label map use --segmentations, for 8-bit or 16-bit scores of the foreground --background implied",
        ))
    } else if evidence.outside > 0 {
        Err(Error::new(format!(
            "contains one class of numbers from {smallest} to {largest}: these are not probabilities"
        ))
        .help("for logits use --logits"))
    } else {
        Ok(())
    }
}

fn expect_foreground_logits(evidence: &Evidence) -> Result<()> {
    let [smallest, largest] = [evidence.smallest, evidence.largest];
    if evidence.verdict().kind == Kind::Broken {
        evidence.expect_logits()
    } else if evidence.whole && evidence.smallest >= 0.0 {
        Err(Error::new(format!(
            "contains one class of whole numbers from {smallest} to {largest}: these are not logits"
        ))
        .help("for a label map use --segmentations"))
    } else if evidence.outside == 0 {
        Err(Error::new(format!(
            "these are probabilities, not logits: one class of numbers from {smallest} to {largest}"
        ))
        .help("use --probabilities"))
    } else {
        Ok(())
    }
}

fn expect_probabilities(
    values: &[f32],
    evidence: &Evidence,
    reference: Option<&[Label]>,
    notes: &mut Notes<'_>,
) -> Result<()> {
    let forgiven = evidence.expect_parts(Probabilities::new(values, evidence.classes), reference)?;
    if forgiven > 0 {
        let (voxels, tolerance) = (evidence.voxels, evidence.tolerance);
        notes.warn(format!(
            "the probabilities of {forgiven} of {voxels} voxels do not sum to 1 within {tolerance:.4}; they are used \
             unchanged"
        ));
    }
    if evidence.verdict().kind == Kind::OneHot {
        notes.warn("every probability is 0 or 1: this is a segmentation, whose calibration is meaningless".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(values: &[f32], classes: usize, background: Background) -> Result<(Vec<f32>, usize)> {
        complete(values.to_vec(), classes, Scores::Probabilities, background, None, &mut Notes::of(Path::new("p")))
    }

    #[test]
    fn one_score_is_two_classes() {
        assert_eq!(of(&[0.25, 0.75], 1, Background::Stored).unwrap(), (vec![0.75, 0.25, 0.25, 0.75], 2));
        let logits =
            complete(vec![-2.0, 3.0], 1, Scores::Logits, Background::Stored, None, &mut Notes::of(Path::new("p")))
                .unwrap();
        assert_eq!(logits, (vec![0.0, 0.0, -2.0, 3.0], 2));
        assert!(of(&[0.0, 1.0], 1, Background::Stored).unwrap_err().to_string().contains("--segmentations"));
        assert!(of(&[0.0, 255.0], 1, Background::Stored).unwrap_err().to_string().contains("--background implied"));
        assert!(of(&[-2.0, 3.0], 1, Background::Stored).unwrap_err().to_string().contains("--logits"));
        let probabilities =
            complete(vec![0.2, 0.3], 1, Scores::Logits, Background::Stored, None, &mut Notes::of(Path::new("p")));
        assert!(probabilities.unwrap_err().to_string().contains("--probabilities"));
    }

    #[test]
    fn whole_numbers_are_scaled_by_what_stands_for_one() {
        for (full, kind) in [(255.0, "8 bits"), (65535.0, "16 bits"), (100.0, "percent")] {
            let stored: Vec<f32> =
                [0.2_f32, 0.6, 1.0, 0.8, 0.4, 0.0].iter().map(|p: &f32| (p * full).round()).collect();
            let (values, classes) = of(&stored, 2, Background::Stored).unwrap();
            let expected: Vec<f32> = [0.2, 0.6, 1.0, 0.8, 0.4, 0.0].to_vec();
            assert!(values.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{kind}");
            assert_eq!(classes, 2);
            let (values, classes) = of(&stored[..3], 1, Background::Implied).unwrap();
            assert_eq!(classes, 2);
            assert!(values.iter().zip([0.8, 0.4, 0.0, 0.2, 0.6, 1.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{kind}");
        }
    }

    #[test]
    fn foreground_alone_is_refused_until_it_is_said() {
        let tissue = [0.0, 255.0, 100.0, 0.0, 0.0, 155.0];
        assert!(of(&tissue, 2, Background::Stored).unwrap_err().to_string().contains("--background implied"));
        let logits =
            complete(tissue.to_vec(), 2, Scores::Logits, Background::Stored, None, &mut Notes::of(Path::new("p")));
        assert!(logits.unwrap_err().to_string().contains("scaled probabilities"));
        let (values, classes) = of(&tissue, 2, Background::Implied).unwrap();
        assert_eq!((classes, &values[..3]), (3, &[1.0, 0.0, 0.0][..]));
        let overlapping = [0.9, 0.2, 0.8, 0.1];
        assert!(of(&overlapping, 2, Background::Implied).is_err());
    }
}
