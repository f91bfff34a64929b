//! Transfer, slice and place.

use segcal_core::{Index, Shape};

use super::{SHAPES, rng};
use crate::suites::{Array, Case, Op};

pub(super) fn cases() -> Vec<Case> {
    transfers().chain(slices()).chain(places()).collect()
}

fn transfers() -> impl Iterator<Item = Case> {
    let shapes = SHAPES
        .into_iter()
        .map(|shape| Case::new(format!("{shape}"), Op::Transfer, vec![Array::normal(shape, rng("transfer"))]));
    let special = [f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX), -0.0, 0.0, f64::from(f32::MIN), 1.0, -1.0];
    let special = Array::new(Shape::new(1, 1, 1, 1, special.len()), special);
    shapes.chain([Case::new("extremes of f32", Op::Transfer, vec![special])])
}

#[rustfmt::skip]
const SLICES: &[(&str, [usize; 5], Index, [usize; 5])] = &[
    ("everything", [2, 3, 4, 5, 6], [0; 5], [2, 3, 4, 5, 6]),
    ("one sample", [4, 2, 1, 3, 5], [2, 0, 0, 0, 0], [1, 2, 1, 3, 5]),
    ("some channels", [2, 7, 1, 3, 5], [0, 3, 0, 0, 0], [2, 2, 1, 3, 5]),
    ("some depths", [1, 2, 6, 3, 5], [0, 0, 1, 0, 0], [1, 2, 4, 3, 5]),
    ("some rows", [1, 2, 1, 9, 5], [0, 0, 0, 4, 0], [1, 2, 1, 5, 5]),
    ("some columns", [2, 2, 1, 3, 11], [0, 0, 0, 0, 3], [2, 2, 1, 3, 7]),
    ("a box inside", [2, 3, 4, 5, 6], [1, 1, 1, 2, 1], [1, 2, 2, 2, 3]),
    ("one number", [2, 3, 4, 5, 6], [1, 2, 3, 4, 5], [1, 1, 1, 1, 1]),
    ("a long row", [1, 1, 1, 2, 300], [0, 0, 0, 1, 7], [1, 1, 1, 1, 280]),
    ("large", [2, 3, 1, 120, 120], [0, 1, 0, 3, 5], [2, 2, 1, 110, 113]),
    ("every second of many channels", [1, 70, 1, 2, 2], [0, 35, 0, 0, 0], [1, 35, 1, 2, 2]),
];

fn slices() -> impl Iterator<Item = Case> {
    SLICES.iter().map(|&(name, x, start, out)| {
        let x = Array::normal(Shape::from_dims(x), rng(name));
        Case::new(name, Op::Slice { start, out: Shape::from_dims(out) }, vec![x])
    })
}

/// Name, output, and the parts: start and shape.
type Placed = (&'static str, [usize; 5], &'static [(Index, [usize; 5])]);

#[rustfmt::skip]
const PLACES: &[Placed] = &[
    ("one part, everywhere", [1, 2, 1, 3, 4], &[([0; 5], [1, 2, 1, 3, 4])]),
    ("one part, zeros around", [1, 2, 3, 6, 7], &[([0, 0, 1, 2, 1], [1, 2, 1, 3, 5])]),
    ("channels side by side", [2, 7, 1, 3, 5], &[([0; 5], [2, 3, 1, 3, 5]), ([0, 3, 0, 0, 0], [2, 4, 1, 3, 5])]),
    ("samples side by side", [3, 2, 1, 2, 3], &[([0; 5], [1, 2, 1, 2, 3]), ([1, 0, 0, 0, 0], [2, 2, 1, 2, 3])]),
    ("depths out of order", [1, 1, 5, 2, 3], &[([0, 0, 3, 0, 0], [1, 1, 2, 2, 3]), ([0; 5], [1, 1, 3, 2, 3])]),
    ("rows with a gap", [1, 2, 1, 7, 3], &[([0; 5], [1, 2, 1, 2, 3]), ([0, 0, 0, 4, 0], [1, 2, 1, 3, 3])]),
    ("two that overlap", [1, 1, 1, 5, 6], &[([0; 5], [1, 1, 1, 4, 4]), ([0, 0, 0, 1, 2], [1, 1, 1, 4, 4])]),
    ("five tiles that overlap", [1, 3, 1, 6, 9], &[
        ([0; 5], [1, 3, 1, 4, 5]), ([0, 0, 0, 0, 4], [1, 3, 1, 4, 5]), ([0, 0, 0, 2, 0], [1, 3, 1, 4, 5]),
        ([0, 0, 0, 2, 4], [1, 3, 1, 4, 5]), ([0, 0, 0, 1, 2], [1, 3, 1, 4, 5]),
    ]),
    ("the same box three times", [2, 2, 2, 2, 2], &[
        ([1, 0, 1, 0, 1], [1, 2, 1, 2, 1]), ([1, 0, 1, 0, 1], [1, 2, 1, 2, 1]), ([1, 0, 1, 0, 1], [1, 2, 1, 2, 1]),
    ]),
    ("large tiles that overlap", [1, 2, 1, 150, 170], &[
        ([0; 5], [1, 2, 1, 150, 100]), ([0, 0, 0, 0, 70], [1, 2, 1, 90, 100]), ([0, 0, 0, 80, 60], [1, 2, 1, 70, 110]),
    ]),
    ("one number in a corner", [2, 3, 4, 5, 6], &[([1, 2, 3, 4, 5], [1, 1, 1, 1, 1])]),
    ("nine channels of one", [1, 9, 1, 2, 2], &[
        ([0, 0, 0, 0, 0], [1, 1, 1, 2, 2]), ([0, 1, 0, 0, 0], [1, 1, 1, 2, 2]), ([0, 2, 0, 0, 0], [1, 1, 1, 2, 2]),
        ([0, 3, 0, 0, 0], [1, 1, 1, 2, 2]), ([0, 4, 0, 0, 0], [1, 1, 1, 2, 2]), ([0, 5, 0, 0, 0], [1, 1, 1, 2, 2]),
        ([0, 6, 0, 0, 0], [1, 1, 1, 2, 2]), ([0, 7, 0, 0, 0], [1, 1, 1, 2, 2]), ([0, 8, 0, 0, 0], [1, 1, 1, 2, 2]),
    ]),
];

fn places() -> impl Iterator<Item = Case> {
    PLACES.iter().map(|&(name, out, parts)| {
        let part = |(number, &(_, shape)): (usize, &(Index, [usize; 5]))| {
            Array::normal(Shape::from_dims(shape), rng(name).stream(number as u64))
        };
        let arrays = parts.iter().enumerate().map(part).collect();
        let starts = parts.iter().map(|&(start, _)| start).collect();
        Case::new(name, Op::Place { starts, out: Shape::from_dims(out) }, arrays)
    })
}
