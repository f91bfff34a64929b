//! Scores of regions that may overlap: each channel is an independent probability.

use rayon::prelude::*;
use segcal_core::{Error, Result};
use segcal_metrics::guard::{Evidence, Kind};
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::Probabilities;

use super::{Notes, Scores};

/// Probabilities of regions from the numbers of a file. As [`stored`], but the sigmoid is applied to logits.
///
/// # Errors
/// As [`stored`].
pub(super) fn probabilities(
    values: Vec<f32>,
    channels: usize,
    kind: Scores,
    nested: &Nested,
    notes: &mut Notes<'_>,
) -> Result<Vec<f32>> {
    let mut values = stored(values, channels, kind, nested, notes)?;
    if kind == Scores::Logits {
        values.par_iter_mut().for_each(|value| *value = sigmoid(*value));
    }
    Ok(values)
}

/// Scores of regions as stored in a file, except that probabilities stored as whole numbers are divided by the value
/// that stands for 1.
///
/// # Errors
/// There is not one channel per region, or the numbers are not the declared kind of scores.
pub(super) fn stored(
    mut values: Vec<f32>,
    channels: usize,
    kind: Scores,
    nested: &Nested,
    notes: &mut Notes<'_>,
) -> Result<Vec<f32>> {
    expect_channels(channels, nested)?;
    let evidence = Evidence::new(Probabilities::new(&values, channels));
    let range = format!("values from {} to {}", evidence.smallest, evidence.largest);
    if evidence.verdict().kind == Kind::Broken {
        evidence.expect_probabilities()?;
    }
    if kind == Scores::Logits {
        if evidence.outside == 0 {
            return Err(Error::new(format!("these are probabilities, not logits: {range}")).help("use --probabilities"));
        }
        if evidence.whole && evidence.smallest >= 0.0 {
            return Err(Error::new(format!("these are scaled probabilities, not logits: whole {range}"))
                .help("use --probabilities"));
        }
        return Ok(values);
    }
    if evidence.outside == 0 {
        return Ok(values);
    }
    let scale = [255.0_f32, 65535.0, 100.0].into_iter().find(|&scale| {
        evidence.whole && evidence.smallest >= 0.0 && evidence.largest <= scale && evidence.largest > 0.9 * scale
    });
    let Some(scale) = scale else {
        return Err(
            Error::new(format!("these are not probabilities of regions: {range}")).help("for logits use --logits")
        );
    };
    notes.warn(format!("the scores are whole numbers up to {scale}, which is taken as a probability of 1"));
    values.par_iter_mut().for_each(|value| *value /= scale);
    Ok(values)
}

/// Checks that there is one channel per region.
pub(super) fn expect_channels(channels: usize, nested: &Nested) -> Result<()> {
    if channels == nested.regions.len() {
        return Ok(());
    }
    let names: Vec<&str> = nested.regions.iter().map(|region| region.name.as_str()).collect();
    let problem = format!("contains {channels} channels, but there are {} regions ({})", names.len(), names.join(", "));
    Err(Error::new(problem).help("write one channel per region, in the order of dataset.json"))
}

/// The probability of a logit.
fn sigmoid(z: f32) -> f32 {
    let z = f64::from(z);
    (if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }) as f32
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use segcal_metrics::volume::Structure;

    fn of(values: &[f32], channels: usize, kind: Scores) -> Result<Vec<f32>> {
        let region = |label| Structure { name: format!("region {label}"), labels: vec![label] };
        let nested = Nested { regions: vec![region(1), region(2)], order: vec![1, 2] };
        probabilities(values.to_vec(), channels, kind, &nested, &mut Notes::of(Path::new("p")))
    }

    #[test]
    fn each_channel_is_a_probability() {
        let p = [0.9, 0.2, 0.8, 0.1];
        assert_eq!(of(&p, 2, Scores::Probabilities).unwrap(), p);
        let z = of(&[0.0, 800.0, -800.0, 1.0], 2, Scores::Logits).unwrap();
        assert_eq!(z[..3], [0.5, 1.0, 0.0]);
        assert!((z[3] - 0.731_058_6).abs() < 1e-6);
        assert_eq!(of(&[0.0, 255.0, 51.0, 204.0], 2, Scores::Probabilities).unwrap(), [0.0, 1.0, 0.2, 0.8]);
    }

    #[test]
    fn other_numbers_are_refused() {
        let message = |values: &[f32], channels, kind| of(values, channels, kind).unwrap_err().to_string();
        assert!(message(&[0.5; 6], 3, Scores::Probabilities).contains("3 channels, but there are 2 regions"));
        assert!(message(&[-3.0, 2.0, 1.0, 4.0], 2, Scores::Probabilities).contains("--logits"));
        assert!(message(&[0.0, 0.2, 0.4, 1.0], 2, Scores::Logits).contains("--probabilities"));
        assert!(message(&[0.0, 255.0, 51.0, 204.0], 2, Scores::Logits).contains("--probabilities"));
        assert!(message(&[0.0, f32::NAN, 0.5, 0.5], 2, Scores::Probabilities).contains("NaN"));
    }
}
