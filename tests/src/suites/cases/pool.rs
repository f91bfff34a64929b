//! Maximum pooling and its adjoint.

use segcal_core::{Backend, Reference, Shape, Window};

use super::rng;
use crate::suites::{Array, Case, Op};

/// Name, input, size and stride of the window.
type Row = (&'static str, [usize; 5], [usize; 3], [usize; 3]);

#[rustfmt::skip]
const WINDOWS: &[Row] = &[
    ("2x2", [2, 3, 1, 6, 8], [1, 2, 2], [1, 2, 2]),
    ("2x2, a rest that nobody reads", [1, 3, 1, 7, 9], [1, 2, 2], [1, 2, 2]),
    ("2x2x2", [1, 3, 4, 6, 8], [2, 2, 2], [2, 2, 2]),
    ("2x2x2, ragged", [2, 1, 5, 3, 7], [2, 2, 2], [2, 2, 2]),
    ("4x4", [1, 2, 1, 8, 13], [1, 4, 4], [1, 4, 4]),
    ("3x3 stride 2, overlapping", [1, 4, 1, 9, 11], [1, 3, 3], [1, 2, 2]),
    ("3x3 sliding", [1, 2, 1, 6, 7], [1, 3, 3], [1, 1, 1]),
    ("3x3x3 sliding", [1, 2, 4, 5, 6], [3, 3, 3], [1, 1, 1]),
    ("1x1", [1, 2, 1, 3, 4], [1, 1, 1], [1, 1, 1]),
    ("1x1 stride 2", [1, 2, 1, 5, 6], [1, 1, 1], [1, 2, 2]),
    ("stride larger than the window", [1, 2, 1, 10, 11], [1, 2, 2], [1, 3, 4]),
    ("the whole volume", [2, 3, 3, 4, 5], [3, 4, 5], [1, 1, 1]),
    ("along d", [1, 2, 7, 2, 3], [3, 1, 1], [2, 1, 1]),
    ("along w, long", [1, 1, 1, 1, 101], [1, 1, 7], [1, 1, 5]),
    ("2x2, large", [1, 2, 1, 271, 280], [1, 2, 2], [1, 2, 2]),
    ("3x3 stride 2, large", [1, 2, 1, 271, 280], [1, 3, 3], [1, 2, 2]),
    ("70 channels", [1, 70, 1, 4, 4], [1, 2, 2], [1, 2, 2]),
];

pub(super) fn cases() -> Vec<Case> {
    WINDOWS.iter().flat_map(of_window).chain([nan(), lowest()]).collect()
}

/// Normal numbers, few distinct numbers (so that maxima tie), and the way back of each.
fn of_window(&(name, x, size, stride): &Row) -> [Case; 4] {
    let (shape, window) = (Shape::from_dims(x), Window { size, stride });
    let ties = format!("{name}, ties");
    let [pool, unpool] = pair(name, Array::normal(shape, rng(name)), window);
    let [pool_ties, unpool_ties] = pair(&ties, Array::integers(shape, rng(&ties), -1, 1), window);
    [pool, unpool, pool_ties, unpool_ties]
}

fn pair(name: &str, x: Array, window: Window) -> [Case; 2] {
    let out = window.output(x.shape).unwrap_or_else(|| panic!("{name}: the window does not fit"));
    let (_, index) = Reference.max_pool((&Reference.upload(x.data.clone()), x.shape), &window, out);
    let y = Array::normal(out, rng(name).stream(1));
    let unpool = Op::MaxUnpool { window, out: x.shape };
    let unpool = Case::new(name, unpool, vec![y, Array::new(out, index.iter().copied())]);
    [Case::new(name, Op::MaxPool { window, out }, vec![x]), unpool]
}

fn nan() -> Case {
    let x = Array::new(Shape::new(1, 1, 1, 2, 4), [1.0, f64::NAN, 2.0, 3.0, f64::NAN, 5.0, 4.0, 4.0]);
    let window = Window::tiles([1, 2, 2]);
    Case::new("NaN is the largest", Op::MaxPool { window, out: Shape::new(1, 1, 1, 1, 2) }, vec![x])
}

fn lowest() -> Case {
    let x = Array::new(Shape::new(1, 1, 1, 1, 4), [f64::from(f32::MIN); 4]);
    let window = Window::tiles([1, 1, 2]);
    Case::new("the lowest number", Op::MaxPool { window, out: Shape::new(1, 1, 1, 1, 2) }, vec![x])
}
