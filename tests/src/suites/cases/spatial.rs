//! Rank filters and distances.

use segcal_core::{Rank, Shape, Window};

use super::rng;
use crate::suites::{Array, Case, Op};

pub(super) fn cases() -> Vec<Case> {
    RANKS.iter().flat_map(rank).chain(distances()).collect()
}

#[rustfmt::skip]
const RANKS: &[(&str, [usize; 5], [usize; 3])] = &[
    ("3x3", [2, 3, 1, 5, 7], [1, 3, 3]),
    ("3x3x3", [1, 2, 4, 5, 6], [3, 3, 3]),
    ("5x5", [1, 1, 1, 9, 8], [1, 5, 5]),
    ("5x5x5", [1, 1, 6, 6, 7], [5, 5, 5]),
    ("2x2, even count", [1, 2, 1, 4, 5], [1, 2, 2]),
    ("1x1", [1, 2, 2, 3, 4], [1, 1, 1]),
    ("3x3, large", [1, 2, 1, 137, 139], [1, 3, 3]),
    ("along d", [1, 2, 6, 2, 3], [3, 1, 1]),
    ("along w", [1, 1, 1, 2, 23], [1, 1, 7]),
    ("the whole volume", [2, 1, 2, 3, 4], [2, 3, 4]),
    ("3x1x5", [1, 2, 4, 3, 8], [3, 1, 5]),
];

/// Minimum, lower quartile, median, maximum and mode of normal numbers and of numbers with ties.
fn rank(&(name, x, size): &(&str, [usize; 5], [usize; 3])) -> Vec<Case> {
    let (shape, window) = (Shape::from_dims(x), Window::sliding(size));
    let out = window.output(shape).unwrap_or_else(|| panic!("{name}: the window does not fit"));
    let last = window.len() - 1;
    let mut ranks = vec![("minimum", Rank::Nth(0)), ("mode", Rank::Mode), ("maximum", Rank::Nth(last))];
    if last > 1 {
        ranks.extend([("quartile", Rank::Nth(last / 4)), ("median", Rank::Nth(window.len() / 2))]);
    }
    let arrays = [("", Array::normal(shape, rng(name))), (", ties", Array::integers(shape, rng(name), -2, 2))];
    let of_array = |(ties, x): (&str, Array)| {
        let case = |&(rank_name, rank): &(&str, Rank)| {
            Case::new(format!("{name}, {rank_name}{ties}"), Op::RankFilter { size, rank, out }, vec![x.clone()])
        };
        ranks.iter().map(case).collect::<Vec<_>>()
    };
    arrays.into_iter().flat_map(of_array).collect()
}

/// Name, shape, share of marked voxels, spacing.
#[rustfmt::skip]
const DISTANCES: &[(&str, [usize; 5], f64, [f64; 3])] = &[
    ("sparse in 2-D", [1, 1, 1, 17, 23], 0.02, [1.0, 1.0, 1.0]),
    ("sparse in 3-D", [2, 2, 7, 9, 11], 0.01, [1.0, 1.0, 1.0]),
    ("half", [1, 2, 5, 6, 7], 0.5, [1.0, 1.0, 1.0]),
    ("dense", [1, 1, 6, 7, 8], 0.97, [1.0, 1.0, 1.0]),
    ("all marked", [1, 2, 2, 3, 4], 1.0, [1.0, 1.0, 1.0]),
    ("none marked", [2, 1, 2, 3, 4], 0.0, [1.0, 1.0, 1.0]),
    ("unequal spacing", [1, 1, 8, 9, 10], 0.01, [3.0, 0.7, 1.3]),
    ("thick slices in 2-D", [3, 1, 1, 12, 15], 0.03, [5.0, 0.25, 0.5]),
    ("small spacing", [1, 1, 5, 9, 9], 0.02, [1e-3, 2e-3, 1.5e-3]),
    ("a row", [1, 1, 1, 1, 129], 0.03, [1.0, 1.0, 0.8]),
    ("a column", [1, 1, 1, 67, 1], 0.03, [1.0, 0.8, 1.0]),
    ("a stack", [1, 1, 40, 1, 1], 0.05, [2.5, 1.0, 1.0]),
    ("one voxel", [1, 1, 1, 1, 1], 1.0, [1.0, 1.0, 1.0]),
    ("large in 2-D", [2, 1, 1, 131, 137], 0.001, [1.0, 1.0, 1.0]),
    ("large in 3-D", [1, 2, 27, 26, 31], 0.001, [1.5, 1.0, 1.0]),
];

fn distances() -> impl Iterator<Item = Case> {
    let random = DISTANCES.iter().map(|&(name, shape, share, spacing)| {
        let mask = Array::uniform(Shape::from_dims(shape), rng(name), 0.0, 1.0);
        let mask = mask.map(|value| if value < share { 1.0 } else { 0.0 });
        Case::new(name, Op::Distance { spacing }, vec![mask])
    });
    random.chain([corner(), any_value_marks(), one_empty_volume()])
}

fn corner() -> Case {
    let shape = Shape::new(1, 1, 9, 10, 11);
    let mask = Array::new(shape, (0..shape.len()).map(|place| f64::from(u8::from(place == 0))));
    Case::new("one corner", Op::Distance { spacing: [1.5, 1.0, 0.5] }, vec![mask])
}

fn any_value_marks() -> Case {
    let values = [0.0, -1.0, 0.0, 0.25, 0.0, -0.0, 0.0, 3.0];
    let mask = Array::new(Shape::new(1, 1, 1, 2, 4), values);
    Case::new("any number but 0 marks", Op::Distance { spacing: [1.0, 2.0, 1.0] }, vec![mask])
}

fn one_empty_volume() -> Case {
    let shape = Shape::new(2, 2, 2, 3, 3);
    let mask = Array::new(shape, (0..shape.len()).map(|place| f64::from(u8::from(place < 18 || place % 18 == 7))));
    let mut mask = mask;
    mask.data[18..36].fill(0.0);
    Case::new("one empty volume of four", Op::Distance { spacing: [1.0; 3] }, vec![mask])
}
