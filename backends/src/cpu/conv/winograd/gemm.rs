//! The product of small panels: `c[r][v] (+)= sum over segments, k of a[r][k] b[k][v]`.
//!
//! A register block of 12 rows x 2 vectors (6 x 2 with 16 registers): per step two vector loads and twelve broadcasts
//! for 24 multiply-adds.

use super::super::simd::Simd;

/// The operands of [`product`].
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    /// First matrix.
    pub(super) a: *const f32,
    /// Distance of its rows, and of its columns.
    pub(super) a_strides: [usize; 2],
    /// Second matrix: contiguous rows of `V` vectors.
    pub(super) b: *const f32,
    /// `(a, b)` offsets of each segment of the sum.
    pub(super) segments: &'a [(usize, usize)],
    /// Number of terms in a segment.
    pub(super) depth: usize,
    /// Result: contiguous rows of `V` vectors.
    pub(super) c: *mut f32,
    /// Whether to add to the result.
    pub(super) add: bool,
}

/// Computes the product for `rows` rows; up to three more rows are read and written.
///
/// # Safety
/// The instruction set is available, and everything that the panels refer to is valid for `rows` rounded up to a
/// multiple of four.
#[inline(always)]
pub(super) unsafe fn product<S: Simd, const V: usize>(panels: Panels<'_>, rows: usize) {
    let mut at = 0;
    while at < rows {
        let left = rows - at;
        // SAFETY: a block is never taller than the remaining rows, rounded up to a multiple of four.
        unsafe {
            let panels =
                Panels { a: panels.a.add(at * panels.a_strides[0]), c: panels.c.add(at * V * S::LANES), ..panels };
            at += if S::ROWS == 8 {
                match left {
                    9.. => block::<S, V, 12>(panels),
                    5..=8 => block::<S, V, 8>(panels),
                    _ => block::<S, V, 4>(panels),
                }
            } else {
                match left {
                    5.. => block::<S, V, 6>(panels),
                    3..=4 => block::<S, V, 4>(panels),
                    _ => block::<S, V, 2>(panels),
                }
            };
        }
    }
}

/// Computes one register block; returns its number of rows.
///
/// # Safety
/// As [`product`], for `R` rows.
#[inline(always)]
unsafe fn block<S: Simd, const V: usize, const R: usize>(panels: Panels<'_>) -> usize {
    let Panels { a, a_strides: [a_row, a_col], b, segments, depth, c, add } = panels;
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; R];
        if add {
            for r in 0..R {
                for v in 0..V {
                    sums[r][v] = S::load(c.add((r * V + v) * S::LANES));
                }
            }
        }
        for &(a_at, b_at) in segments {
            let (mut a, mut b) = (a.add(a_at), b.add(b_at));
            for _ in 0..depth {
                let mut row = [S::splat(0.0); V];
                for v in 0..V {
                    row[v] = S::load(b.add(v * S::LANES));
                }
                for r in 0..R {
                    let factor = S::splat(*a.add(r * a_row));
                    for v in 0..V {
                        sums[r][v] = S::fma(factor, row[v], sums[r][v]);
                    }
                }
                a = a.add(a_col);
                b = b.add(V * S::LANES);
            }
        }
        for r in 0..R {
            for v in 0..V {
                S::store(c.add((r * V + v) * S::LANES), sums[r][v]);
            }
        }
    }
    R
}
