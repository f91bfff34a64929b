//! The convolution triple: each geometry gives a case of each of the three, with normal and with whole numbers.

use segcal_core::{Geometry, Shape};

use super::rng;
use crate::suites::{Array, Case, Op};

/// One geometry: name, x, w, stride, pad, dilation, groups.
type Row = (&'static str, [usize; 5], [usize; 5], [usize; 3], [usize; 3], [usize; 3], usize);

const ONE: [usize; 3] = [1; 3];
const NONE: [usize; 3] = [0; 3];

#[rustfmt::skip]
const GEOMETRIES: &[Row] = &[
    ("a single product", [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], ONE, NONE, ONE, 1),
    ("1x1", [2, 3, 1, 4, 5], [4, 3, 1, 1, 1], ONE, NONE, ONE, 1),
    ("1x1 of 70 channels", [1, 70, 1, 3, 5], [70, 70, 1, 1, 1], ONE, NONE, ONE, 1),
    ("1x1x1 strided", [1, 4, 5, 4, 7], [3, 4, 1, 1, 1], [2, 2, 2], NONE, ONE, 1),
    ("3x3 same", [1, 5, 1, 7, 11], [6, 5, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3 same, first layer", [2, 1, 1, 33, 40], [16, 1, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3 same, last layer", [1, 70, 1, 6, 7], [1, 70, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3 same, many channels", [1, 37, 1, 6, 9], [41, 37, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3 same, 64 channels", [1, 64, 1, 8, 8], [64, 64, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3 valid", [3, 2, 1, 5, 6], [3, 2, 1, 3, 3], ONE, NONE, ONE, 1),
    ("3x3 on one voxel", [1, 3, 1, 1, 1], [2, 3, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3 on a row", [1, 2, 1, 1, 19], [2, 2, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3 on a column", [1, 2, 1, 19, 1], [2, 2, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3 stride 2, even extents", [1, 3, 1, 8, 10], [4, 3, 1, 3, 3], [1, 2, 2], [0, 1, 1], ONE, 1),
    ("3x3 stride 2, odd extents", [2, 3, 1, 9, 11], [4, 3, 1, 3, 3], [1, 2, 2], [0, 1, 1], ONE, 1),
    ("3x3 stride 2, a rest that nobody reads", [1, 2, 1, 8, 10], [3, 2, 1, 3, 3], [1, 2, 2], NONE, ONE, 1),
    ("3x3 dilation 2", [1, 3, 1, 9, 10], [2, 3, 1, 3, 3], ONE, [0, 2, 2], [1, 2, 2], 1),
    ("3x3 dilation 3 on a small image", [1, 2, 1, 4, 5], [2, 2, 1, 3, 3], ONE, [0, 3, 3], [1, 3, 3], 1),
    ("3x3 stride 2 dilation 2, unequal padding", [1, 2, 1, 11, 13], [3, 2, 1, 3, 3], [1, 2, 2], [0, 1, 2], [1, 2, 2], 1),
    ("padding beyond the kernel", [1, 2, 1, 4, 3], [2, 2, 1, 3, 3], ONE, [0, 4, 3], ONE, 1),
    ("a kernel as large as the image", [1, 3, 1, 5, 4], [2, 3, 1, 5, 4], ONE, NONE, ONE, 1),
    ("a kernel larger than the image", [1, 2, 1, 2, 3], [2, 2, 1, 5, 5], ONE, [0, 2, 2], ONE, 1),
    ("2x2 stride 2", [1, 4, 1, 8, 6], [5, 4, 1, 2, 2], [1, 2, 2], NONE, ONE, 1),
    ("2x2, even kernel", [1, 3, 1, 5, 6], [2, 3, 1, 2, 2], ONE, [0, 1, 1], ONE, 1),
    ("4x4 stride 4", [1, 3, 1, 9, 13], [2, 3, 1, 4, 4], [1, 4, 4], NONE, ONE, 1),
    ("stride larger than the kernel", [1, 2, 1, 11, 12], [3, 2, 1, 2, 2], [1, 3, 5], NONE, ONE, 1),
    ("5x3, unequal kernel", [1, 2, 1, 8, 9], [3, 2, 1, 5, 3], ONE, [0, 2, 1], ONE, 1),
    ("7x7", [1, 2, 1, 12, 17], [3, 2, 1, 7, 7], ONE, [0, 3, 3], ONE, 1),
    ("along d", [1, 2, 9, 2, 3], [3, 2, 3, 1, 1], ONE, [1, 0, 0], ONE, 1),
    ("along h", [1, 2, 2, 9, 3], [3, 2, 1, 3, 1], ONE, [0, 1, 0], ONE, 1),
    ("along w, long", [1, 1, 1, 1, 257], [2, 1, 1, 1, 5], ONE, [0, 0, 2], ONE, 1),
    ("3x3x3 same", [1, 2, 4, 5, 6], [3, 2, 3, 3, 3], ONE, ONE, ONE, 1),
    ("3x3x3 same, many channels", [1, 17, 3, 4, 5], [18, 17, 3, 3, 3], ONE, ONE, ONE, 1),
    ("3x3x3 stride 2", [2, 3, 5, 6, 7], [4, 3, 3, 3, 3], [2, 2, 2], ONE, ONE, 1),
    ("3x3x3 stride 1 2 2, dilation 2 1 1", [1, 2, 6, 5, 7], [2, 2, 3, 3, 3], [1, 2, 2], [2, 1, 1], [2, 1, 1], 1),
    ("3x3x3 on one slice", [1, 2, 1, 6, 5], [2, 2, 3, 3, 3], ONE, ONE, ONE, 1),
    ("2x2x2 stride 2", [1, 3, 4, 6, 8], [4, 3, 2, 2, 2], [2, 2, 2], NONE, ONE, 1),
    ("two groups", [1, 6, 1, 5, 6], [4, 3, 1, 3, 3], ONE, [0, 1, 1], ONE, 2),
    ("three groups, strided, dilated", [2, 9, 1, 9, 8], [6, 3, 1, 3, 3], [1, 2, 2], [0, 2, 2], [1, 2, 2], 3),
    ("three groups in 3-D", [1, 6, 3, 4, 5], [9, 2, 3, 3, 3], ONE, ONE, ONE, 3),
    ("depthwise", [2, 7, 1, 6, 5], [7, 1, 1, 3, 3], ONE, [0, 1, 1], ONE, 7),
    ("depthwise, 70 channels", [1, 70, 1, 4, 5], [70, 1, 1, 3, 3], ONE, [0, 1, 1], ONE, 70),
    ("depthwise, two outputs each", [1, 5, 1, 6, 7], [10, 1, 1, 3, 3], ONE, [0, 1, 1], ONE, 5),
    ("depthwise along w, long kernel", [1, 4, 1, 3, 40], [4, 1, 1, 1, 15], ONE, [0, 0, 7], ONE, 4),
    ("depthwise in 3-D", [1, 4, 4, 5, 6], [4, 1, 3, 3, 3], ONE, ONE, ONE, 4),
    ("3x3 same, large", [1, 1, 1, 97, 101], [2, 1, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3 same, large, 13 channels", [1, 13, 1, 29, 31], [13, 13, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
    ("3x3x3 same, 12 channels", [2, 12, 5, 9, 10], [13, 12, 3, 3, 3], ONE, ONE, ONE, 1),
    ("batch of five", [5, 2, 1, 4, 6], [3, 2, 1, 3, 3], ONE, [0, 1, 1], ONE, 1),
];

pub(super) fn cases() -> Vec<Case> {
    GEOMETRIES.iter().flat_map(|row| triple(row, false).into_iter().chain(triple(row, true))).collect()
}

/// The three cases of one geometry.
fn triple(&(name, x, w, stride, pad, dilation, groups): &Row, whole: bool) -> [Case; 3] {
    let geometry = Geometry { stride, pad, dilation, groups };
    let (x_shape, w_shape) = (Shape::from_dims(x), Shape::from_dims(w));
    let y_shape = geometry.output(x_shape, w_shape).unwrap_or_else(|| panic!("{name}: the shapes do not fit"));
    let array = |shape, role| numbers(shape, &format!("conv {name} {role}"), whole);
    let (x, w, y) = (array(x_shape, "x"), array(w_shape, "w"), array(y_shape, "y"));
    let label = if whole { format!("{name}, whole numbers") } else { name.to_owned() };
    [
        Case::new(&label, Op::Conv { geometry, out: y_shape }, vec![x.clone(), w.clone()]),
        Case::new(&label, Op::ConvTranspose { geometry, out: x_shape }, vec![y.clone(), w]),
        Case::new(&label, Op::ConvWeight { geometry, out: w_shape }, vec![x, y]),
    ]
}

fn numbers(shape: Shape, label: &str, whole: bool) -> Array {
    if whole { Array::integers(shape, rng(label), -8, 8) } else { Array::normal(shape, rng(label)) }
}
