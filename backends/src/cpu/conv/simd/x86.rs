//! The vectors of x86-64.

use super::{Job, Simd};
use std::arch::x86_64::{
    __m256, __m512, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadu_ps, _mm_movehl_ps, _mm_shuffle_ps, _mm_storeu_ps,
    _mm256_add_ps, _mm256_castps128_ps256, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_insertf128_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_sub_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm512_add_ps, _mm512_castps128_ps512, _mm512_castps512_ps128,
    _mm512_extractf32x4_ps, _mm512_fmadd_ps, _mm512_insertf32x4, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_storeu_ps, _mm512_sub_ps, _mm512_unpackhi_ps,
    _mm512_unpacklo_ps,
};

/// 16 lanes.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// 8 lanes.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// # Safety
/// The machine has AVX-512F, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) unsafe fn run_avx512(job: impl Job) {
    // SAFETY: the features are enabled here.
    unsafe { job.run::<Avx512>() }
}

/// # Safety
/// The machine has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2(job: impl Job) {
    // SAFETY: the features are enabled here.
    unsafe { job.run::<Avx2>() }
}

/// The methods that are a single instruction.
macro_rules! arithmetic {
    ($splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $sub:ident) => {
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::V {
            unsafe { $splat(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            unsafe { $load(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: Self::V) {
            unsafe { $store(to, v) }
        }

        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { $fma(a, b, c) }
        }

        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { $add(a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            unsafe { $sub(a, b) }
        }
    };
}

/// The transposition of 4 x 4 blocks, each of which is within one 128-bit lane.
macro_rules! turn {
    ($low:ident, $high:ident, $shuffle:ident) => {
        #[inline(always)]
        unsafe fn turn([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
            unsafe {
                let (ab0, ab1) = ($low(a, b), $high(a, b));
                let (cd0, cd1) = ($low(c, d), $high(c, d));
                [
                    $shuffle::<0x44>(ab0, cd0),
                    $shuffle::<0xEE>(ab0, cd0),
                    $shuffle::<0x44>(ab1, cd1),
                    $shuffle::<0xEE>(ab1, cd1),
                ]
            }
        }
    };
}

// SAFETY of every block below: the trait's contract guarantees the instruction set and valid pointers.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one argument for all, above")]
impl Simd for Avx512 {
    const LANES: usize = 16;
    const ROWS: usize = 8;
    type V = __m512;

    arithmetic!(_mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_sub_ps);
    turn!(_mm512_unpacklo_ps, _mm512_unpackhi_ps, _mm512_shuffle_ps);

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }

    /// Whole rows, then whole blocks: 16 loads instead of 64, which matters if the distance between rows is a power of
    /// two and they share cache sets.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 16];
            for quad in (0..16).step_by(4) {
                let row = |j: usize| from.add((quad + j) * from_stride);
                let four = [Self::load(row(0)), Self::load(row(1)), Self::load(row(2)), Self::load(row(3))];
                rows[quad..quad + 4].copy_from_slice(&Self::turn(four));
            }
            for j in 0..4 {
                let (a, b, c, d) = (rows[j], rows[4 + j], rows[8 + j], rows[12 + j]);
                let (ab0, ab1) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b));
                let (cd0, cd1) = (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xEE>(c, d));
                Self::store(to.add(j * to_stride), _mm512_shuffle_f32x4::<0x88>(ab0, cd0));
                Self::store(to.add((4 + j) * to_stride), _mm512_shuffle_f32x4::<0xDD>(ab0, cd0));
                Self::store(to.add((8 + j) * to_stride), _mm512_shuffle_f32x4::<0x88>(ab1, cd1));
                Self::store(to.add((12 + j) * to_stride), _mm512_shuffle_f32x4::<0xDD>(ab1, cd1));
            }
        }
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, step: usize) -> Self::V {
        unsafe {
            let v = _mm512_castps128_ps512(_mm_loadu_ps(from));
            let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(from.add(step)));
            let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(from.add(2 * step)));
            _mm512_insertf32x4::<3>(v, _mm_loadu_ps(from.add(3 * step)))
        }
    }

    #[inline(always)]
    unsafe fn scatter(to: *mut f32, step: usize, v: Self::V) {
        unsafe {
            _mm_storeu_ps(to, _mm512_castps512_ps128(v));
            _mm_storeu_ps(to.add(step), _mm512_extractf32x4_ps::<1>(v));
            _mm_storeu_ps(to.add(2 * step), _mm512_extractf32x4_ps::<2>(v));
            _mm_storeu_ps(to.add(3 * step), _mm512_extractf32x4_ps::<3>(v));
        }
    }
}

// SAFETY of every block below: the trait's contract guarantees the instruction set and valid pointers.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one argument for all, above")]
impl Simd for Avx2 {
    const LANES: usize = 8;
    const ROWS: usize = 4;
    type V = __m256;

    arithmetic!(_mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps, _mm256_add_ps, _mm256_sub_ps);
    turn!(_mm256_unpacklo_ps, _mm256_unpackhi_ps, _mm256_shuffle_ps);

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        unsafe {
            let half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
        }
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, step: usize) -> Self::V {
        unsafe { _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from.add(step))) }
    }

    #[inline(always)]
    unsafe fn scatter(to: *mut f32, step: usize, v: Self::V) {
        unsafe {
            _mm_storeu_ps(to, _mm256_castps256_ps128(v));
            _mm_storeu_ps(to.add(step), _mm256_extractf128_ps::<1>(v));
        }
    }
}
