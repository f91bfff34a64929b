//! `slice` and `place`: cutting boxes out and putting them together.

use super::{Array, for_each_place};
use crate::{Index, Shape};

/// `y[o] = x[start + o]`.
pub(super) fn slice((x, x_shape): Array<'_>, start: Index, out: Shape) -> Vec<f64> {
    let mut y = Vec::with_capacity(out.len());
    for_each_place(out, |at| y.push(x[x_shape.offset(shifted(at, start))]));
    y
}

/// `y[start_p + i] += part_p[i]`, from zero.
pub(super) fn place(parts: &[(Array<'_>, Index)], out: Shape) -> Vec<f64> {
    let mut y = vec![0.0; out.len()];
    for &((part, shape), start) in parts {
        for_each_place(shape, |at| y[out.offset(shifted(at, start))] += part[shape.offset(at)]);
    }
    y
}

fn shifted(at: Index, start: Index) -> Index {
    std::array::from_fn(|axis| at[axis] + start[axis])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Shape = Shape::new(1, 1, 1, 3, 3);
    const CORNER: Shape = Shape::new(1, 1, 1, 2, 2);

    #[test]
    fn slice_cuts_a_box() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        assert_eq!(slice((&x, BOX), [0, 0, 0, 1, 1], CORNER), [5.0, 6.0, 8.0, 9.0]);
        assert_eq!(slice((&x, BOX), [0, 0, 0, 0, 2], Shape::new(1, 1, 1, 3, 1)), [3.0, 6.0, 9.0]);
    }

    #[test]
    fn place_adds_where_parts_overlap() {
        let ones = [1.0; 4];
        let twos = [2.0; 4];
        let parts: [(Array<'_>, Index); 2] = [((&ones, CORNER), [0; 5]), ((&twos, CORNER), [0, 0, 0, 1, 1])];
        assert_eq!(place(&parts, BOX), [1.0, 1.0, 0.0, 1.0, 3.0, 2.0, 0.0, 2.0, 2.0]);
    }

    #[test]
    fn place_along_channels_concatenates() {
        let parts: [(Array<'_>, Index); 2] = [
            ((&[1.0, 2.0], Shape::new(1, 1, 1, 1, 2)), [0; 5]),
            ((&[3.0, 4.0], Shape::new(1, 1, 1, 1, 2)), [0, 1, 0, 0, 0]),
        ];
        assert_eq!(place(&parts, Shape::new(1, 2, 1, 1, 2)), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn no_parts_give_zeros() {
        assert_eq!(place(&[], Shape::new(1, 1, 1, 1, 2)), [0.0, 0.0]);
    }
}
