//! `max_pool` and its adjoint.

use super::{Array, for_each_place, for_each_voxel};
use crate::{Index, Shape, Window};

/// The maximum of each window and its index within the window, the first if several are equal; NaN counts as the
/// largest value.
pub(super) fn max_pool((x, x_shape): Array<'_>, window: &Window, out: Shape) -> (Vec<f64>, Vec<f64>) {
    let (mut y, mut index) = (Vec::with_capacity(out.len()), Vec::with_capacity(out.len()));
    for_each_place(out, |at| {
        let (mut best, mut best_place, mut place) = (f64::NEG_INFINITY, 0, 0);
        for_each_voxel(window.size, |inside| {
            let value = x[x_shape.offset(source(at, inside, window))];
            let larger = value > best || value.is_nan() && !best.is_nan();
            if place == 0 || larger {
                (best, best_place) = (value, place);
            }
            place += 1;
        });
        y.push(best);
        index.push(f64::from(best_place));
    });
    (y, index)
}

/// Adds each value at the position given by its index.
pub(super) fn max_unpool((y, y_shape): Array<'_>, (index, _): Array<'_>, window: &Window, x_shape: Shape) -> Vec<f64> {
    let mut x = vec![0.0; x_shape.len()];
    let inside = Shape::new(1, 1, window.size[0], window.size[1], window.size[2]);
    for_each_place(y_shape, |at| {
        let place = y_shape.offset(at);
        let [_, _, d, h, w] = inside.coordinate(index[place] as usize);
        x[x_shape.offset(source(at, [d, h, w], window))] += y[place];
    });
    x
}

/// The input coordinate at offset `inside` within the window of an output coordinate.
fn source([n, c, d, h, w]: Index, inside: [usize; 3], window: &Window) -> Index {
    let [sd, sh, sw] = window.stride;
    [n, c, d * sd + inside[0], h * sh + inside[1], w * sw + inside[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_give_their_maximum_and_its_place() {
        let shape = Shape::new(1, 1, 1, 2, 5);
        let x = [1.0, 5.0, 3.0, 3.0, 9.0, 2.0, 4.0, 3.0, 3.0, 9.0];
        let window = Window::tiles([1, 2, 2]);
        let out = window.output(shape).unwrap();
        let (y, index) = max_pool((&x, shape), &window, out);
        assert_eq!(y, [5.0, 3.0]);
        assert_eq!(index, [1.0, 0.0], "the first of equals");
        let back = max_unpool((&[10.0, 20.0], out), (&index, out), &window, shape);
        assert_eq!(back, [0.0, 10.0, 20.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn overlapping_windows_add_on_the_way_back() {
        let shape = Shape::new(1, 1, 1, 1, 4);
        let window = Window::sliding([1, 1, 2]);
        let out = window.output(shape).unwrap();
        let (y, index) = max_pool((&[1.0, 7.0, 2.0, 3.0], shape), &window, out);
        assert_eq!((y, index.clone()), (vec![7.0, 7.0, 3.0], vec![1.0, 0.0, 1.0]));
        assert_eq!(max_unpool((&[1.0, 10.0, 100.0], out), (&index, out), &window, shape), [0.0, 11.0, 0.0, 100.0]);
    }

    #[test]
    fn the_index_counts_through_depth_height_and_width() {
        let shape = Shape::new(1, 1, 2, 2, 2);
        let x = [0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 6.0, 7.0];
        let window = Window::tiles([2, 2, 2]);
        let (y, index) = max_pool((&x, shape), &window, Shape::SCALAR);
        assert_eq!((y, index.clone()), (vec![9.0], vec![5.0]));
        let back = max_unpool((&[2.0], Shape::SCALAR), (&index, Shape::SCALAR), &window, shape);
        assert_eq!(back, [0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn nan_is_the_largest_and_minus_infinity_a_value() {
        let shape = Shape::new(1, 1, 1, 1, 4);
        let window = Window::tiles([1, 1, 4]);
        let (y, index) = max_pool((&[1.0, f64::NAN, f64::NAN, 2.0], shape), &window, Shape::SCALAR);
        assert!(y[0].is_nan());
        assert_eq!(index, [1.0]);
        let (y, index) = max_pool((&[f64::NEG_INFINITY; 4], shape), &window, Shape::SCALAR);
        assert_eq!((y, index), (vec![f64::NEG_INFINITY], vec![0.0]));
    }
}
