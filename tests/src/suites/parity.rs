//! Each case on a backend and on [`Reference`], within the documented accuracy.

use segcal_core::{Backend, Reference};

use super::bounds::bounds;
use super::{Accuracy, Case, Report};

/// At most this share of an output may be left open because rounding could turn a comparison.
const LARGEST_UNDECIDED_SHARE: f64 = 0.01;

/// Compares the backend with the reference on all cases and reports every one that deviates.
pub fn check<B: Backend>(backend: &B, accuracy: &Accuracy, cases: &[Case]) -> Report {
    let mut report = Report::default();
    for case in cases {
        report.check(&case.name, || compare(backend, accuracy, case));
    }
    report
}

/// Compares one case.
///
/// # Errors
/// What deviates most, by how much, and how much the documented accuracy allows.
pub fn compare<B: Backend>(backend: &B, accuracy: &Accuracy, case: &Case) -> Result<(), String> {
    compare_with(backend, accuracy, case, LARGEST_UNDECIDED_SHARE)
}

/// The same where any share of the numbers may be undecided: random programs compare rounded numbers with themselves.
pub(crate) fn compare_decided<B: Backend>(backend: &B, accuracy: &Accuracy, case: &Case) -> Result<(), String> {
    compare_with(backend, accuracy, case, 1.0)
}

fn compare_with<B: Backend>(
    backend: &B,
    accuracy: &Accuracy,
    case: &Case,
    largest_undecided_share: f64,
) -> Result<(), String> {
    let expected = case.run(&Reference);
    let found = case.run(backend);
    if found.len() != expected.len() {
        return Err(format!("{} outputs instead of {}", found.len(), expected.len()));
    }
    let bounds = bounds(case, accuracy, &expected);
    for (number, ((found, expected), bounds)) in found.iter().zip(&expected).zip(&bounds).enumerate() {
        if found.len() != expected.len() {
            return Err(format!("output {number} has {} numbers instead of {}", found.len(), expected.len()));
        }
        decided(bounds, largest_undecided_share)?;
        within(found, expected, bounds).map_err(|what| format!("output {number}: {what}"))?;
    }
    Ok(())
}

/// Whether at most a share of the bounds is infinite.
fn decided(bounds: &[f64], largest_undecided_share: f64) -> Result<(), String> {
    let undecided = bounds.iter().filter(|bound| **bound == f64::INFINITY).count();
    if undecided as f64 <= largest_undecided_share * bounds.len() as f64 {
        return Ok(());
    }
    Err(format!("the accuracy leaves {undecided} of {} numbers undecided", bounds.len()))
}

/// Whether each number lies within its bound of what is expected; NaN matches NaN.
fn within(found: &[f64], expected: &[f64], bounds: &[f64]) -> Result<(), String> {
    let mut worst: Option<(f64, usize)> = None;
    let mut wrong = 0;
    for place in 0..found.len() {
        let deviation = (found[place] - expected[place]).abs();
        let same = found[place] == expected[place] || found[place].is_nan() && expected[place].is_nan();
        if same || deviation <= bounds[place] {
            continue;
        }
        wrong += 1;
        let excess = if deviation.is_nan() { f64::INFINITY } else { deviation / bounds[place] };
        if worst.is_none_or(|(most, _)| excess > most) {
            worst = Some((excess, place));
        }
    }
    let Some((_, place)) = worst else { return Ok(()) };
    Err(format!(
        "{wrong} of {} numbers deviate, most at {place}: {:e} instead of {:e}, deviation {:.2e}, bound {:.2e}",
        found.len(),
        found[place],
        expected[place],
        (found[place] - expected[place]).abs(),
        bounds[place]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_deviation_is_named() {
        let message =
            within(&[1.0, 2.5, 3.25, f64::NAN], &[1.0, 2.0, 3.0, f64::NAN], &[0.0, 0.1, 0.01, 0.0]).unwrap_err();
        assert!(message.starts_with("2 of 4 numbers deviate, most at 2: 3.25e0 instead of 3e0"), "{message}");
    }

    #[test]
    fn nan_is_not_a_number_that_was_expected() {
        assert!(within(&[f64::NAN], &[1.0], &[10.0]).is_err());
        assert!(within(&[1.0], &[f64::NAN], &[10.0]).is_err());
    }

    #[test]
    fn too_many_open_places_are_a_failure() {
        assert!(decided(&[0.0, f64::INFINITY], 0.25).is_err());
        assert!(decided(&[0.0, f64::INFINITY], 0.5).is_ok());
    }
}
