//! The transforms of Winograd's F(4x4, 3x3), one number per lane.
//!
//! Along one axis, four outputs of a three-tap correlation of six samples are `A^T [(G g) * (B^T d)]` with `*` the
//! elementwise product: six multiplications instead of twelve. This is the transpose of evaluating polynomials at the
//! five points `0, a, -a, b, -b` and at infinity, multiplying there, and interpolating back (Winograd 1980; Lavin and
//! Gray 2016 for convolution layers). In two dimensions the transforms act on columns, then on rows: 36 multiplications
//! instead of 144.
//!
//! The points can be chosen freely. Lavin and Gray use `a = 1, b = 2`; here `a = 1 / sqrt 2, b = sqrt 2`, whose powers
//! stay closer to 1: the largest absolute row sum of the three matrices together,
//! `gamma = max_ik sum_jl |A^T_ij| |G_jk| |B^T_jl|`, is 12.5 instead of 29.3 along each axis. `a b = 1` makes most
//! constants exact.

use super::super::simd::Simd;

const A1: f32 = std::f32::consts::FRAC_1_SQRT_2;
const A2: f32 = 0.5;
const A3: f32 = 0.5 * std::f32::consts::FRAC_1_SQRT_2;
const B1: f32 = std::f32::consts::SQRT_2;
const B2: f32 = 2.0;
const B3: f32 = 2.0 * std::f32::consts::SQRT_2;
/// `a^2 + b^2`; `a^2 b^2` is 1.
const SUM: f32 = 2.5;
/// `1 / (2 a^2 (a^2 - b^2))` and `1 / (2 b^2 (b^2 - a^2))`: the scale of the kernel at `±a` and `±b`.
const NA: f32 = -2.0 / 3.0;
const NB: f32 = 1.0 / 6.0;

/// A linear map from `A` to `B` numbers.
pub(super) trait Line<S: Simd, const A: usize, const B: usize> {
    /// Applies the map in every lane.
    ///
    /// # Safety
    /// The instruction set of `S` is available.
    unsafe fn apply(x: [S::V; A]) -> [S::V; B];
}

/// `B^T`: samples to points.
pub(super) struct Input;
/// `A^T`: points to outputs.
pub(super) struct Output;
/// `A`, the adjoint of [`Output`].
pub(super) struct OutputAdjoint;
/// `G`: kernel to points.
pub(super) struct Kernel;
/// `G^T`, the adjoint of [`Kernel`].
pub(super) struct KernelAdjoint;

// SAFETY of every block below: the trait's contract guarantees the instruction set.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one argument for all, above")]
mod lines {
    use super::{A1, A2, A3, B1, B2, B3, Input, Kernel, KernelAdjoint, Line, NA, NB, Output, OutputAdjoint, SUM, Simd};

    impl<S: Simd> Line<S, 6, 6> for Input {
        #[inline(always)]
        unsafe fn apply([x0, x1, x2, x3, x4, x5]: [S::V; 6]) -> [S::V; 6] {
            unsafe {
                let even_a = S::fma(S::splat(-B2), x2, x4);
                let odd_a = S::fma(S::splat(-B2), x1, x3);
                let even_b = S::fma(S::splat(-A2), x2, x4);
                let odd_b = S::fma(S::splat(-A2), x1, x3);
                [
                    S::fma(S::splat(-SUM), x2, S::add(x0, x4)),
                    S::fma(S::splat(A1), odd_a, even_a),
                    S::fma(S::splat(-A1), odd_a, even_a),
                    S::fma(S::splat(B1), odd_b, even_b),
                    S::fma(S::splat(-B1), odd_b, even_b),
                    S::fma(S::splat(-SUM), x3, S::add(x1, x5)),
                ]
            }
        }
    }

    impl<S: Simd> Line<S, 6, 4> for Output {
        #[inline(always)]
        unsafe fn apply([m0, m1, m2, m3, m4, m5]: [S::V; 6]) -> [S::V; 4] {
            unsafe {
                let (sum_a, dif_a) = (S::add(m1, m2), S::sub(m1, m2));
                let (sum_b, dif_b) = (S::add(m3, m4), S::sub(m3, m4));
                let zero = S::splat(0.0);
                [
                    S::add(m0, S::add(sum_a, sum_b)),
                    S::fma(S::splat(B1), dif_b, S::fma(S::splat(A1), dif_a, zero)),
                    S::fma(S::splat(B2), sum_b, S::fma(S::splat(A2), sum_a, zero)),
                    S::fma(S::splat(B3), dif_b, S::fma(S::splat(A3), dif_a, m5)),
                ]
            }
        }
    }

    impl<S: Simd> Line<S, 4, 6> for OutputAdjoint {
        #[inline(always)]
        unsafe fn apply([y0, y1, y2, y3]: [S::V; 4]) -> [S::V; 6] {
            unsafe {
                let zero = S::splat(0.0);
                let even_a = S::fma(S::splat(A2), y2, y0);
                let odd_a = S::fma(S::splat(A3), y3, S::fma(S::splat(A1), y1, zero));
                let even_b = S::fma(S::splat(B2), y2, y0);
                let odd_b = S::fma(S::splat(B3), y3, S::fma(S::splat(B1), y1, zero));
                [y0, S::add(even_a, odd_a), S::sub(even_a, odd_a), S::add(even_b, odd_b), S::sub(even_b, odd_b), y3]
            }
        }
    }

    impl<S: Simd> Line<S, 3, 6> for Kernel {
        #[inline(always)]
        unsafe fn apply([g0, g1, g2]: [S::V; 3]) -> [S::V; 6] {
            unsafe {
                let zero = S::splat(0.0);
                let even_a = S::fma(S::splat(NA * A2), g2, S::fma(S::splat(NA), g0, zero));
                let even_b = S::fma(S::splat(NB * B2), g2, S::fma(S::splat(NB), g0, zero));
                [
                    g0,
                    S::fma(S::splat(NA * A1), g1, even_a),
                    S::fma(S::splat(-NA * A1), g1, even_a),
                    S::fma(S::splat(NB * B1), g1, even_b),
                    S::fma(S::splat(-NB * B1), g1, even_b),
                    g2,
                ]
            }
        }
    }

    impl<S: Simd> Line<S, 6, 3> for KernelAdjoint {
        #[inline(always)]
        unsafe fn apply([u0, u1, u2, u3, u4, u5]: [S::V; 6]) -> [S::V; 3] {
            unsafe {
                let (sum_a, dif_a) = (S::add(u1, u2), S::sub(u1, u2));
                let (sum_b, dif_b) = (S::add(u3, u4), S::sub(u3, u4));
                let zero = S::splat(0.0);
                [
                    S::fma(S::splat(NB), sum_b, S::fma(S::splat(NA), sum_a, u0)),
                    S::fma(S::splat(NB * B1), dif_b, S::fma(S::splat(NA * A1), dif_a, zero)),
                    S::fma(S::splat(NB * B2), sum_b, S::fma(S::splat(NA * A2), sum_a, u5)),
                ]
            }
        }
    }
}

/// Applies the map along columns, then along rows: element `(i, j)` at `from + i row + j col` to
/// `to + i to_row + j to_col`.
///
/// # Safety
/// The instruction set of `S` is available, and a vector is valid at each of those addresses.
#[inline(always)]
pub(super) unsafe fn both<S: Simd, T: Line<S, A, B>, const A: usize, const B: usize>(
    from: *const f32,
    [row, col]: [usize; 2],
    to: *mut f32,
    [to_row, to_col]: [usize; 2],
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut half = [[S::splat(0.0); A]; B];
        for j in 0..A {
            let mut column = [S::splat(0.0); A];
            for i in 0..A {
                column[i] = S::load(from.add(i * row + j * col));
            }
            let column = T::apply(column);
            for i in 0..B {
                half[i][j] = column[i];
            }
        }
        for i in 0..B {
            let line = T::apply(half[i]);
            for j in 0..B {
                S::store(to.add(i * to_row + j * to_col), line[j]);
            }
        }
    }
}
