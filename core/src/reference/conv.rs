//! The three convolutions. All are the same sum of products `x[..] w[..] y[..]`, with a different one of the three
//! arrays as the result; [`for_each_product`] enumerates the terms of that sum.

use super::{Array, for_each_place};
use crate::{Geometry, Shape};

/// `y[n, o, p] = sum over c, t of x[n, g c_g + c, p stride - pad + t dilation] w[o, c, t]`.
pub(super) fn conv((x, x_shape): Array<'_>, (w, w_shape): Array<'_>, geometry: &Geometry, out: Shape) -> Vec<f64> {
    let mut y = vec![0.0; out.len()];
    for_each_product(x_shape, w_shape, out, geometry, |at_x, at_w, at_y| y[at_y] += x[at_x] * w[at_w]);
    y
}

/// The adjoint with respect to `x`.
pub(super) fn conv_transpose(
    (y, y_shape): Array<'_>,
    (w, w_shape): Array<'_>,
    geometry: &Geometry,
    x_shape: Shape,
) -> Vec<f64> {
    let mut x = vec![0.0; x_shape.len()];
    for_each_product(x_shape, w_shape, y_shape, geometry, |at_x, at_w, at_y| x[at_x] += y[at_y] * w[at_w]);
    x
}

/// The adjoint with respect to `w`.
pub(super) fn conv_weight(
    (x, x_shape): Array<'_>,
    (y, y_shape): Array<'_>,
    geometry: &Geometry,
    w_shape: Shape,
) -> Vec<f64> {
    let mut w = vec![0.0; w_shape.len()];
    for_each_product(x_shape, w_shape, y_shape, geometry, |at_x, at_w, at_y| w[at_w] += x[at_x] * y[at_y]);
    w
}

/// Calls `visit` with the memory offsets in `(x, w, y)` for each term of the sum. Terms outside `x` are skipped.
fn for_each_product(
    x_shape: Shape,
    w_shape: Shape,
    y_shape: Shape,
    geometry: &Geometry,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let outputs_per_group = y_shape.c() / geometry.groups;
    for n in 0..x_shape.n() {
        for_each_place(w_shape, |[o, c, kd, kh, kw]| {
            let at_w = w_shape.offset([o, c, kd, kh, kw]);
            let channel = o / outputs_per_group * w_shape.c() + c;
            let along = |axis, tap| pairs(geometry, axis, tap, x_shape.spatial()[axis], y_shape.spatial()[axis]);
            let [depths, rows, columns] = [along(0, kd), along(1, kh), along(2, kw)];
            for (xd, yd) in depths {
                for (xh, yh) in rows.clone() {
                    let x_row = x_shape.offset([n, channel, xd, xh, 0]);
                    let y_row = y_shape.offset([n, o, yd, yh, 0]);
                    for (xw, yw) in columns.clone() {
                        visit(x_row + xw, at_w, y_row + yw);
                    }
                }
            }
        });
    }
}

/// The pairs `(input position, output position)` along one axis that one tap of the kernel connects.
fn pairs(
    geometry: &Geometry,
    axis: usize,
    tap: usize,
    x_extent: usize,
    y_extent: usize,
) -> impl Iterator<Item = (usize, usize)> + Clone + use<> {
    let (stride, pad) = (geometry.stride[axis], geometry.pad[axis]);
    let reach = tap * geometry.dilation[axis];
    // Output position p reads p stride + reach - pad, which is inside the input for p in `first..end`.
    let first = pad.saturating_sub(reach).div_ceil(stride);
    let end = (x_extent + pad).saturating_sub(reach).div_ceil(stride).min(y_extent);
    (first..end).map(move |p| (p * stride + reach - pad, p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(extent: usize) -> Shape {
        Shape::new(1, 1, 1, 1, extent)
    }

    #[test]
    fn conv_is_a_cross_correlation() {
        let x = [1.0, 2.0, 4.0, 8.0];
        let w = [1.0, 10.0, 100.0];
        assert_eq!(conv((&x, row(4)), (&w, row(3)), &Geometry::VALID, row(2)), [421.0, 842.0]);
        let same = Geometry::same([1, 1, 3]);
        assert_eq!(conv((&x, row(4)), (&w, row(3)), &same, row(4)), [210.0, 421.0, 842.0, 84.0]);
    }

    #[test]
    fn stride_and_dilation() {
        let x = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let geometry = Geometry { stride: [1, 1, 2], dilation: [1, 1, 3], ..Geometry::VALID };
        let out = geometry.output(row(6), row(2)).unwrap();
        assert_eq!(conv((&x, row(6)), (&[1.0, 100.0], row(2)), &geometry, out), [801.0, 3204.0]);
    }

    #[test]
    fn groups_read_only_their_own_channels() {
        let (x_shape, w_shape) = (Shape::new(1, 4, 1, 1, 1), Shape::new(2, 2, 1, 1, 1));
        let geometry = Geometry { groups: 2, ..Geometry::VALID };
        let y = conv(
            (&[1.0, 2.0, 3.0, 4.0], x_shape),
            (&[1.0, 10.0, 1.0, 10.0], w_shape),
            &geometry,
            Shape::new(1, 2, 1, 1, 1),
        );
        assert_eq!(y, [21.0, 43.0]);
    }

    #[test]
    fn a_kernel_over_depth_sums_a_volume() {
        let shape = Shape::new(1, 1, 2, 2, 2);
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let w = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0];
        assert_eq!(conv((&x, shape), (&w, shape), &Geometry::VALID, Shape::SCALAR), [17.0]);
    }

    #[test]
    fn conv_transpose_spreads_the_kernel() {
        let geometry = Geometry { stride: [1, 1, 2], ..Geometry::VALID };
        let x = conv_transpose((&[1.0, 10.0], row(2)), (&[1.0, 2.0, 3.0], row(3)), &geometry, row(5));
        assert_eq!(x, [1.0, 2.0, 13.0, 20.0, 30.0]);
        let padded = Geometry { pad: [0, 0, 1], ..geometry };
        let x = conv_transpose((&[1.0, 10.0], row(2)), (&[1.0, 2.0, 3.0], row(3)), &padded, row(3));
        assert_eq!(x, [2.0, 13.0, 20.0]);
    }

    #[test]
    fn conv_weight_correlates_input_and_output() {
        let x = [1.0, 2.0, 4.0, 8.0];
        let w = conv_weight((&x, row(4)), (&[1.0, 10.0], row(2)), &Geometry::VALID, row(3));
        assert_eq!(w, [21.0, 42.0, 84.0]);
        let same = Geometry::same([1, 1, 3]);
        let w = conv_weight((&x, row(4)), (&[1.0, 0.0, 0.0, 10.0], row(4)), &same, row(3));
        assert_eq!(w, [40.0, 81.0, 2.0]);
    }

    #[test]
    fn samples_add_up_in_the_weight_only() {
        let x_shape = Shape::new(2, 1, 1, 1, 1);
        let (x, one) = ([3.0, 5.0], ([2.0], Shape::SCALAR));
        assert_eq!(conv((&x, x_shape), (&one.0, one.1), &Geometry::VALID, x_shape), [6.0, 10.0]);
        assert_eq!(conv_weight((&x, x_shape), (&[1.0, 10.0], x_shape), &Geometry::VALID, Shape::SCALAR), [53.0]);
    }
}
