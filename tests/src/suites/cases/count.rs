//! Weighted counts and table look-up.

use segcal_core::{Rng, Shape};

use super::rng;
use crate::suites::{Array, Case, Op};

pub(super) fn cases() -> Vec<Case> {
    let random = ROWS.iter().flat_map(|&(name, shape, count, low, high)| {
        let shape = Shape::from_dims(shape);
        let bins = Array::integers(shape, rng(name), low, high);
        let table = Array::normal(Shape::new(1, 1, 1, 1, count), rng(name).stream(2));
        [
            bincount(name, &bins, count, |rng| vec![Array::normal(shape, rng)]),
            bincount(&format!("{name}, ones"), &bins, count, |_| vec![bins.map(|_| 1.0)]),
            Case::new(name, Op::Take, vec![table, bins]),
        ]
    });
    random.chain([several_weights(), between_bins(), one_bin_gets_everything(), no_weights()]).collect()
}

/// Name, shape, number of bins, smallest and largest bin number that occurs.
#[rustfmt::skip]
const ROWS: &[(&str, [usize; 5], usize, i32, i32)] = &[
    ("a few bins", [1, 1, 1, 5, 7], 4, 0, 3),
    ("one bin", [1, 1, 1, 1, 9], 1, 0, 0),
    ("one number", [1, 1, 1, 1, 1], 3, 2, 2),
    ("outside on both sides", [2, 1, 3, 5, 7], 6, -3, 9),
    ("all outside", [1, 1, 1, 3, 3], 2, 5, 8),
    ("more bins than numbers", [1, 1, 1, 2, 3], 300, 0, 299),
    ("joint histogram", [2, 3, 4, 5, 6], 64, 0, 63),
    ("many numbers", [1, 1, 1, 97, 111], 15, 0, 14),
    ("large", [1, 3, 1, 151, 157], 30, -1, 30),
    ("70 channels", [1, 70, 1, 3, 5], 70, 0, 69),
];

fn bincount(name: &str, bins: &Array, count: usize, weights: impl FnOnce(Rng) -> Vec<Array>) -> Case {
    let mut arrays = vec![bins.clone()];
    arrays.extend(weights(rng(name).stream(1)));
    Case::new(name, Op::Bincount { count }, arrays)
}

fn several_weights() -> Case {
    let bins = Array::integers(Shape::new(1, 2, 3, 4, 5), rng("several"), -1, 8);
    bincount("several weights", &bins, 8, |rng| {
        (0..4).map(|number| Array::normal(bins.shape, rng.stream(number))).collect()
    })
}

fn no_weights() -> Case {
    let bins = Array::integers(Shape::new(1, 1, 1, 2, 3), rng("none"), 0, 2);
    bincount("no weights", &bins, 3, |_| Vec::new())
}

fn between_bins() -> Case {
    let bins = Array::new(Shape::new(1, 1, 1, 1, 6), [0.5, 1.0, 1.25, -0.5, 2.0, 1.75]);
    bincount("a number between two bins counts nowhere", &bins, 3, |_| vec![bins.map(|_| 1.0)])
}

fn one_bin_gets_everything() -> Case {
    let bins = Array::new(Shape::new(1, 1, 1, 60, 61), vec![2.0; 60 * 61]);
    bincount("one bin gets everything", &bins, 5, |rng| vec![Array::integers(bins.shape, rng, -50, 50)])
}
