//! Each case on a backend and on [`Reference`], within the documented accuracy.

use segcal_core::{Backend, Reference};

use super::bounds::bounds;
use super::{Accuracy, Case, Report};

/// At most this share of an output may be left open because rounding could turn a comparison.
const LARGEST_OPEN_SHARE: f64 = 0.01;

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
    let [open, all] = count_open(backend, accuracy, case)?;
    if open as f64 <= LARGEST_OPEN_SHARE * all as f64 {
        return Ok(());
    }
    Err(format!("the accuracy leaves {open} of {all} numbers open"))
}

/// The same, with any number of open places: how many there are, of how many.
pub(crate) fn count_open<B: Backend>(backend: &B, accuracy: &Accuracy, case: &Case) -> Result<[usize; 2], String> {
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
        within(found, expected, bounds).map_err(|what| format!("output {number}: {what}"))?;
    }
    let open = bounds.iter().flatten().filter(|bound| **bound == f64::INFINITY).count();
    Ok([open, bounds.iter().map(Vec::len).sum()])
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
    use segcal_core::{Program, Shape};

    use super::*;
    use crate::suites::{Array, Op};

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
        let x = Array::new(Shape::new(1, 1, 1, 1, 4), [1.0, 2.0, 3.0, 4.0]);
        let program = Program::new(|p| (p.input(0) * 0.1).lt(0.3));
        let op = Op::Map { program, scalars: vec![], out: x.shape };
        let case = Case::new("open", op, vec![x]);
        assert_eq!(count_open(&Reference, &Accuracy::CPU, &case), Ok([1, 4]), "0.1 and 0.3 are rounded");
        assert!(compare(&Reference, &Accuracy::CPU, &case).is_err());
        assert_eq!(compare(&Reference, &Accuracy::F64, &case), Ok(()));
    }
}
