//! THE list of cases, one file per family. Parity, adjoint identities and thread tests all go through it.

mod conv;
mod count;
mod layout;
mod map;
mod pool;
mod resample;
mod spatial;

use segcal_core::{Rng, Shape};

use super::Case;

/// Every case.
pub fn all() -> Vec<Case> {
    let families = [map::map(), map::reduce(), layout::cases(), conv::cases(), pool::cases(), resample::cases()];
    families.into_iter().flatten().chain(spatial::cases()).chain(count::cases()).collect()
}

/// A source of numbers of its own for each label.
fn rng(label: &str) -> Rng {
    label.bytes().fold(Rng::new(0), |rng, byte| rng.stream(u64::from(byte)))
}

/// A few shapes that no loop should find convenient: ragged, flat, thin, single, batched.
const SHAPES: [Shape; 8] = [
    Shape::SCALAR,
    Shape::new(1, 1, 1, 1, 17),
    Shape::new(1, 1, 1, 13, 1),
    Shape::new(1, 1, 7, 1, 1),
    Shape::new(3, 1, 1, 5, 9),
    Shape::new(2, 70, 1, 3, 2),
    Shape::new(1, 5, 3, 6, 33),
    Shape::new(2, 3, 4, 5, 7),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::suites::Op;

    #[test]
    fn every_method_has_cases_and_every_name_is_unique() {
        let cases = all();
        let names: HashSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
        for method in Op::METHODS {
            assert!(cases.iter().filter(|case| case.op.method() == method).count() >= 8, "{method}");
        }
    }

    #[test]
    fn every_number_is_exact_in_f32() {
        for case in all() {
            let exact = |&value: &f64| value.is_nan() || f64::from(value as f32) == value;
            assert!(case.arrays.iter().all(|array| array.data.iter().all(exact)), "{}", case.name);
        }
    }
}
