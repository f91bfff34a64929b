//! Vectors of `f32` at the widest level that the machine supports.
//!
//! A kernel is a [`Job`]: a value whose `run` is written once, over [`Simd`]. [`Level::run`] instantiates it inside a
//! function that is compiled for the level's instruction set, so that everything `#[inline(always)]` below it uses
//! those instructions. On the baseline, [`Portable`] is four-lane arithmetic on arrays, which the compiler turns into
//! vectors of its target.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::cpu::isa::Level;

/// Vectors of [`LANES`](Simd::LANES) numbers.
///
/// # Safety
/// Methods may only be called if the instruction set of the level is available, which holds inside [`Job::run`].
/// Pointers must be valid (possibly unaligned) for `LANES` elements, or for those that the doc of the method names.
pub(super) trait Simd: Copy + Send + Sync {
    /// Number of elements in a vector.
    const LANES: usize;
    /// Rows of a register block of `ROWS x 3` accumulators.
    const ROWS: usize;
    /// The vector type.
    type V: Copy;

    /// Sets all lanes to `x`.
    unsafe fn splat(x: f32) -> Self::V;
    /// Loads `LANES` elements.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Stores `LANES` elements.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// `a b + c`, with a single rounding if the machine supports it.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// The sum of the lanes, in the same order for every call.
    unsafe fn sum(v: Self::V) -> f32;
    /// The 4 x 4 numbers at `4 k .. 4 k + 4` of the four vectors, transposed for each `k`: number `4 k + i` of result
    /// `j` is number `4 k + j` of vector `i`.
    unsafe fn turn(rows: [Self::V; 4]) -> [Self::V; 4];
    /// Loads four elements from each of `LANES / 4` addresses that are `step` apart.
    unsafe fn gather(from: *const f32, step: usize) -> Self::V;
    /// Stores four elements to each of `LANES / 4` addresses that are `step` apart.
    unsafe fn scatter(to: *mut f32, step: usize, v: Self::V);

    /// `to[i * to_stride + j] = from[j * from_stride + i]` for `i, j` in `0..LANES`, through registers.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for i in (0..Self::LANES).step_by(4) {
            // SAFETY: the caller's guarantee holds for every four of its columns.
            unsafe { Self::transpose_in(from.add(i), from_stride, to.add(i * to_stride), to_stride) };
        }
    }

    /// The same for `i` in `0..4`: `LANES` rows of four numbers become four vectors.
    #[inline(always)]
    unsafe fn transpose_in(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: vector `j` has the rows `j`, `j + 4` and so on, of those that the caller guarantees.
        unsafe {
            let a = Self::gather(from, 4 * from_stride);
            let b = Self::gather(from.add(from_stride), 4 * from_stride);
            let c = Self::gather(from.add(2 * from_stride), 4 * from_stride);
            let d = Self::gather(from.add(3 * from_stride), 4 * from_stride);
            for (i, v) in Self::turn([a, b, c, d]).into_iter().enumerate() {
                Self::store(to.add(i * to_stride), v);
            }
        }
    }

    /// The same for `j` in `0..4`: four vectors become `LANES` rows of four numbers.
    #[inline(always)]
    unsafe fn transpose_out(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: vector `i` has the rows `i`, `i + 4` and so on, of those that the caller guarantees.
        unsafe {
            let a = Self::load(from);
            let b = Self::load(from.add(from_stride));
            let c = Self::load(from.add(2 * from_stride));
            let d = Self::load(from.add(3 * from_stride));
            for (i, v) in Self::turn([a, b, c, d]).into_iter().enumerate() {
                Self::scatter(to.add(i * to_stride), 4 * to_stride, v);
            }
        }
    }
}

/// Work that is written once for every level.
pub(super) trait Job {
    /// Does the work.
    ///
    /// # Safety
    /// The instruction set of `S` is available. Implementations are `#[inline(always)]`.
    unsafe fn run<S: Simd>(self);
}

impl Level {
    /// Number of elements in a vector.
    pub(super) const fn lanes(self) -> usize {
        match self {
            Self::Baseline => Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::Avx512::LANES,
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => Portable::LANES,
        }
    }

    /// Rows of the register block.
    pub(super) const fn rows(self) -> usize {
        match self {
            Self::Baseline => Portable::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::Avx2::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::Avx512::ROWS,
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => Portable::ROWS,
        }
    }

    /// Runs a job at this level, which must be among the [`available`](Self::available).
    pub(super) fn run(self, job: impl Job) {
        // SAFETY: values of `Level` come from `available`, which detects what the machine supports.
        unsafe {
            match self {
                Self::Baseline => job.run::<Portable>(),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => x86::run_avx2(job),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => x86::run_avx512(job),
                #[cfg(not(target_arch = "x86_64"))]
                Self::Avx2 | Self::Avx512 => job.run::<Portable>(),
            }
        }
    }
}

/// Four lanes in plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Simd for Portable {
    const LANES: usize = 4;
    const ROWS: usize = 4;
    type V = [f32; 4];

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the trait's contract.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the trait's contract.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Fused only where it is one instruction: elsewhere it would be a slow library call.
        let one = |i: usize| if cfg!(target_arch = "aarch64") { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] };
        [one(0), one(1), one(2), one(3)]
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        [a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]]
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        (v[0] + v[2]) + (v[1] + v[3])
    }

    #[inline(always)]
    unsafe fn turn(rows: [Self::V; 4]) -> [Self::V; 4] {
        let column = |j: usize| [rows[0][j], rows[1][j], rows[2][j], rows[3][j]];
        [column(0), column(1), column(2), column(3)]
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, _step: usize) -> Self::V {
        // SAFETY: the trait's contract.
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    unsafe fn scatter(to: *mut f32, _step: usize, v: Self::V) {
        // SAFETY: the trait's contract.
        unsafe { Self::store(to, v) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the three transpositions are correct and write nowhere else.
    struct Transpositions;

    impl Job for Transpositions {
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            const FROM: usize = 19;
            const TO: usize = 23;
            let from: Vec<f32> = (0..16 * FROM).map(|place| place as f32).collect();
            let mut results = [(); 3].map(|()| vec![-1.0; 16 * TO]);
            let [square, inwards, outwards] = results.each_mut().map(Vec::as_mut_ptr);
            // SAFETY: the instruction set is available; at most 16 rows of 16 numbers are read and written.
            unsafe {
                S::transpose(from.as_ptr(), FROM, square, TO);
                S::transpose_in(from.as_ptr(), FROM, inwards, TO);
                S::transpose_out(from.as_ptr(), FROM, outwards, TO);
            }
            let extents = [[S::LANES, S::LANES], [4, S::LANES], [S::LANES, 4]];
            for (to, [rows, columns]) in results.iter().zip(extents) {
                for (place, &found) in to.iter().enumerate() {
                    let (i, j) = (place / TO, place % TO);
                    let expected = if i < rows && j < columns { (j * FROM + i) as f32 } else { -1.0 };
                    assert_eq!(found, expected, "{rows} x {columns}: row {i}, column {j}");
                }
            }
        }
    }

    #[test]
    fn transpositions_exchange_rows_and_columns_and_touch_nothing_else() {
        Level::available().for_each(|level| level.run(Transpositions));
    }
}
