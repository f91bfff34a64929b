//! `resample` and its adjoint: both iterate over the same list of `(output voxel, input voxel, weight)`.

use super::{Array, for_each_voxel};
use crate::{Border, Interpolation, Sampling, Shape};

/// `y[n, c, o] = sum over v of weight(o, v) x[n, c, v]`.
pub(super) fn resample((x, x_shape): Array<'_>, sampling: &Sampling, out: Shape) -> Vec<f64> {
    let mut y = vec![0.0; out.len()];
    for_each_weight(sampling, x_shape, out, |at_x, at_y, weight| y[at_y] += weight * x[at_x]);
    y
}

/// `x[n, c, v] = sum over o of weight(o, v) y[n, c, o]`.
pub(super) fn resample_adjoint((y, y_shape): Array<'_>, sampling: &Sampling, x_shape: Shape) -> Vec<f64> {
    let mut x = vec![0.0; x_shape.len()];
    for_each_weight(sampling, x_shape, y_shape, |at_x, at_y, weight| x[at_x] += weight * y[at_y]);
    x
}

/// Calls `visit` with the memory offsets of an input and an output voxel and their weight, for all connected pairs.
fn for_each_weight(sampling: &Sampling, x_shape: Shape, y_shape: Shape, mut visit: impl FnMut(usize, usize, f64)) {
    let extents = x_shape.spatial();
    for_each_voxel(y_shape.spatial(), |[d, h, w]| {
        let source = source(sampling, [d, h, w]);
        let [along_d, along_h, along_w] = [0, 1, 2].map(|axis| neighbours(sampling, source[axis], extents[axis]));
        for (n, c) in (0..x_shape.n()).flat_map(|n| (0..x_shape.c()).map(move |c| (n, c))) {
            let at_y = y_shape.offset([n, c, d, h, w]);
            for &(xd, weight_d) in &along_d {
                for &(xh, weight_h) in &along_h {
                    for &(xw, weight_w) in &along_w {
                        visit(x_shape.offset([n, c, xd, xh, xw]), at_y, weight_d * weight_h * weight_w);
                    }
                }
            }
        }
    });
}

/// `matrix [o, 1]`.
fn source(sampling: &Sampling, [d, h, w]: [usize; 3]) -> [f64; 3] {
    sampling.matrix.map(|[a_d, a_h, a_w, offset]| a_d * d as f64 + a_h * h as f64 + a_w * w as f64 + offset)
}

/// The voxels along one axis that a source coordinate is interpolated from, with their weights. Voxels of weight 0 and
/// voxels outside the grid are left out.
fn neighbours(sampling: &Sampling, coordinate: f64, extent: usize) -> Vec<(usize, f64)> {
    let s = match sampling.border {
        Border::Clamp => coordinate.clamp(0.0, extent as f64 - 1.0),
        Border::Zero => coordinate,
    };
    let candidates = match sampling.interpolation {
        Interpolation::Nearest => vec![((s + 0.5).floor(), 1.0)],
        Interpolation::Linear => vec![(s.floor(), 1.0 - (s - s.floor())), (s.floor() + 1.0, s - s.floor())],
    };
    candidates
        .into_iter()
        .filter(|&(voxel, weight)| weight != 0.0 && (0.0..extent as f64).contains(&voxel))
        .map(|(voxel, weight)| (voxel as usize, weight))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(extent: usize) -> Shape {
        Shape::new(1, 1, 1, 1, extent)
    }

    fn along_w(scale: f64, offset: f64, interpolation: Interpolation, border: Border) -> Sampling {
        Sampling { border, ..Sampling::axes([1.0, 1.0, scale], [0.0, 0.0, offset], interpolation) }
    }

    #[test]
    fn doubling_mixes_three_to_one() {
        let up = Sampling::resize([1, 1, 2], [1, 1, 4], Interpolation::Linear);
        assert_eq!(resample((&[0.0, 4.0], row(2)), &up, row(4)), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(resample_adjoint((&[1.0, 10.0, 100.0, 1000.0], row(4)), &up, row(2)), [33.5, 1077.5]);
    }

    #[test]
    fn nearest_doubling_repeats() {
        let up = Sampling::resize([1, 2, 2], [1, 4, 4], Interpolation::Nearest);
        let (small, large) = (Shape::new(1, 1, 1, 2, 2), Shape::new(1, 1, 1, 4, 4));
        let y = resample((&[1.0, 2.0, 3.0, 4.0], small), &up, large);
        assert_eq!(y, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 3.0, 3.0, 4.0, 4.0]);
        assert_eq!(resample_adjoint((&y, large), &up, small), [4.0, 8.0, 12.0, 16.0]);
    }

    #[test]
    fn nearest_rounds_a_half_up() {
        let half = along_w(1.0, 0.5, Interpolation::Nearest, Border::Clamp);
        assert_eq!(resample((&[1.0, 2.0, 3.0], row(3)), &half, row(3)), [2.0, 3.0, 3.0]);
    }

    #[test]
    fn outside_is_the_edge_or_zero() {
        let x = [2.0, 4.0];
        let at = |offset, interpolation, border| {
            resample((&x, row(2)), &along_w(1.0, offset, interpolation, border), row(4))
        };
        assert_eq!(at(-1.25, Interpolation::Linear, Border::Clamp), [2.0, 2.0, 3.5, 4.0]);
        assert_eq!(at(-1.25, Interpolation::Linear, Border::Zero), [0.0, 1.5, 3.5, 1.0]);
        assert_eq!(at(-1.25, Interpolation::Nearest, Border::Clamp), [2.0, 2.0, 4.0, 4.0]);
        assert_eq!(at(-1.25, Interpolation::Nearest, Border::Zero), [0.0, 2.0, 4.0, 0.0]);
    }

    #[test]
    fn a_matrix_can_exchange_axes() {
        let transpose = Sampling {
            matrix: [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
            interpolation: Interpolation::Linear,
            border: Border::Zero,
        };
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let y = resample((&x, Shape::new(1, 1, 1, 2, 3)), &transpose, Shape::new(1, 1, 1, 3, 2));
        assert_eq!(y, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn trilinear_at_the_centre_is_the_mean_of_eight() {
        let shape = Shape::new(1, 2, 2, 2, 2);
        let centre = Sampling::axes([1.0; 3], [0.5; 3], Interpolation::Linear);
        let x: Vec<f64> = (0..16).map(f64::from).collect();
        assert_eq!(resample((&x, shape), &centre, Shape::new(1, 2, 1, 1, 1)), [3.5, 11.5]);
    }
}
