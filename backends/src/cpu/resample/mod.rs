//! `resample` and its adjoint.
//!
//! If no axis depends on another, each axis has a table of the (at most two) voxels that each output voxel is
//! interpolated from and, for the adjoint, the transposed table. A row of the result is a weighted sum of rows, which
//! is then interpolated along `w`. Any other sampling is computed voxel by voxel.

mod rows;
mod table;
mod voxels;

use segcal_core::{Sampling, Shape};

use super::{Array, CHUNK, Cpu};
use rows::{add_row, mix_row};
use table::{Table, tables};
use voxels::{by_voxel, scatter};

/// `y[n, c, o] = sum over v of weight(o, v) x[n, c, v]`.
pub(super) fn resample(cpu: &Cpu, (x, x_shape): Array<'_>, sampling: &Sampling, y: &mut [f32], out: Shape) {
    if x.is_empty() {
        y.fill(0.0);
    } else if let Some(axes) = tables(sampling, x_shape, out) {
        apply(cpu, &axes, (x, x_shape), y, out);
    } else {
        by_voxel(cpu, (x, x_shape), sampling, y, out);
    }
}

/// `x[n, c, v] = sum over o of weight(o, v) y[n, c, o]`.
pub(super) fn resample_adjoint(cpu: &Cpu, (y, y_shape): Array<'_>, sampling: &Sampling, x: &mut [f32], x_shape: Shape) {
    if y.is_empty() {
        x.fill(0.0);
    } else if let Some(axes) = tables(sampling, x_shape, y_shape) {
        let extents = x_shape.spatial();
        let transposed = std::array::from_fn(|axis| axes[axis].transposed(extents[axis]));
        apply(cpu, &transposed, (y, y_shape), x, x_shape);
    } else {
        scatter(cpu, (y, y_shape), sampling, x, x_shape);
    }
}
/// Interpolates along all three axes, row by row of the result.
fn apply(cpu: &Cpu, [along_d, along_h, along_w]: &[Table; 3], (x, x_shape): Array<'_>, y: &mut [f32], y_shape: Shape) {
    let ([x_d, x_h, x_w], [y_d, y_h, y_w]) = (x_shape.spatial(), y_shape.spatial());
    let rows = (CHUNK / 4).div_ceil(y_w.max(x_w));
    cpu.chunks(y, rows * y_w, |task, y| {
        let mut mixed = vec![0.0; x_w];
        for (i, y) in y.chunks_mut(y_w).enumerate() {
            let row = task * rows + i;
            let (plane, d, h) = (row / (y_h * y_d), row / y_h % y_d, row % y_h);
            let line = |d: usize, h: usize| &x[((plane * x_d + d) * x_h + h) * x_w..][..x_w];
            match (along_d.terms(d), along_h.terms(h)) {
                (&[(d, 1.0)], &[(h, 1.0)]) => mix_row(along_w, line(d, h), y),
                (terms_d, terms_h) => {
                    mixed.fill(0.0);
                    for &(d, weight_d) in terms_d {
                        for &(h, weight_h) in terms_h {
                            add_row(line(d, h), weight_d * weight_h, &mut mixed);
                        }
                    }
                    mix_row(along_w, &mixed, y);
                }
            }
        }
    });
}
#[cfg(test)]
mod tests {
    use segcal_core::{Backend, Border, Interpolation};

    use super::table::Kind;
    use super::*;

    fn row(extent: usize) -> Shape {
        Shape::new(1, 1, 1, 1, extent)
    }

    #[test]
    fn doubling_mixes_three_to_one() {
        let cpu = Cpu::default();
        let up = Sampling::resize([1, 1, 2], [1, 1, 4], Interpolation::Linear);
        let (x, y) = (cpu.upload(vec![0.0, 4.0]), cpu.upload(vec![1.0, 10.0, 100.0, 1000.0]));
        assert_eq!(cpu.resample((&x, row(2)), &up, row(4)).to_vec(), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(cpu.resample_adjoint((&y, row(4)), &up, row(2)).to_vec(), [33.5, 1077.5]);
    }

    #[test]
    fn nearest_doubling_repeats_and_its_adjoint_sums() {
        let cpu = Cpu::default();
        let up = Sampling::resize([1, 1, 2], [1, 2, 4], Interpolation::Nearest);
        let (small, large) = (Shape::new(1, 1, 1, 1, 2), Shape::new(1, 1, 1, 2, 4));
        let y = cpu.resample((&cpu.upload(vec![1.0, 2.0]), small), &up, large);
        assert_eq!(y.to_vec(), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(cpu.resample_adjoint((&y, large), &up, small).to_vec(), [4.0, 8.0]);
    }

    #[test]
    fn common_tables_take_the_short_ways() {
        let kinds = |from, to, interpolation| {
            let (from, to) = ([1, 1, from], [1, 1, to]);
            let axes = tables(&Sampling::resize(from, to, interpolation), row(from[2]), row(to[2])).unwrap();
            (axes[2].transposed(from[2]).kind, axes[0].kind == Kind::Copy)
        };
        assert_eq!(kinds(8, 16, Interpolation::Nearest), (Kind::Sum(2), true));
        assert_eq!(kinds(8, 8, Interpolation::Linear), (Kind::Copy, true));
        assert_eq!(kinds(8, 16, Interpolation::Linear), (Kind::Halve, true));
        assert!(matches!(kinds(8, 12, Interpolation::Linear), (Kind::Few(_), true)));
        assert_eq!(kinds(2, 80, Interpolation::Linear).0, Kind::Many);
    }

    /// Voxels of weight 0 may be NaN.
    #[test]
    fn neighbours_without_weight_do_not_count() {
        let cpu = Cpu::default();
        let x = cpu.upload(vec![1.0, f32::NAN, 3.0]);
        let mut identity = Sampling::resize([1, 1, 3], [1, 1, 3], Interpolation::Linear);
        let straight = cpu.resample((&x, row(3)), &identity, row(3)).to_vec();
        identity.matrix[1][2] = 1e-9;
        let turned = cpu.resample((&x, row(3)), &identity, row(3)).to_vec();
        for y in [straight, turned] {
            assert!(y[0] == 1.0 && y[1].is_nan() && y[2] == 3.0, "{y:?}");
        }
    }

    #[test]
    fn a_matrix_can_exchange_axes() {
        let cpu = Cpu::default();
        let transpose = Sampling {
            matrix: [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
            interpolation: Interpolation::Linear,
            border: Border::Zero,
        };
        let x = cpu.upload(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let y = cpu.resample((&x, Shape::new(1, 1, 1, 2, 3)), &transpose, Shape::new(1, 1, 1, 3, 2));
        assert_eq!(y.to_vec(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
