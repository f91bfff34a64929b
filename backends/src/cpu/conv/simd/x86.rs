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

/// Transposes the 4 x 4 blocks in each 128-bit lane.
///
/// # Safety
/// AVX-512F is there.
#[inline(always)]
unsafe fn turn512([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: the caller's.
    unsafe {
        let (ab0, ab1) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd0, cd1) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0x44>(ab0, cd0),
            _mm512_shuffle_ps::<0xEE>(ab0, cd0),
            _mm512_shuffle_ps::<0x44>(ab1, cd1),
            _mm512_shuffle_ps::<0xEE>(ab1, cd1),
        ]
    }
}

/// Transposes the 4 x 4 blocks in each 128-bit lane.
///
/// # Safety
/// AVX2 is there.
#[inline(always)]
unsafe fn turn256([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: the caller's.
    unsafe {
        let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd0, cd1) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(ab0, cd0),
            _mm256_shuffle_ps::<0xEE>(ab0, cd0),
            _mm256_shuffle_ps::<0x44>(ab1, cd1),
            _mm256_shuffle_ps::<0xEE>(ab1, cd1),
        ]
    }
}

/// Four numbers of each of the rows 0, 4, 8, 12.
///
/// # Safety
/// AVX-512F is there; the rows are valid.
#[inline(always)]
unsafe fn gather512(from: *const f32, stride: usize) -> __m512 {
    // SAFETY: the caller's.
    unsafe {
        let v = _mm512_castps128_ps512(_mm_loadu_ps(from));
        let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(from.add(4 * stride)));
        let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(from.add(8 * stride)));
        _mm512_insertf32x4::<3>(v, _mm_loadu_ps(from.add(12 * stride)))
    }
}

/// Four numbers of each of the rows 0 and 4.
///
/// # Safety
/// AVX2 is there; the rows are valid.
#[inline(always)]
unsafe fn gather256(from: *const f32, stride: usize) -> __m256 {
    // SAFETY: the caller's.
    unsafe { _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from.add(4 * stride))) }
}

/// The methods that are one instruction.
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

// SAFETY of every block below: the trait's contract gives the instruction set and valid pointers.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one argument for all, above")]
impl Simd for Avx512 {
    const LANES: usize = 16;
    const ROWS: usize = 8;
    type V = __m512;

    arithmetic!(_mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_sub_ps);

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            // 4 x 4 blocks within 128-bit lanes, then the blocks themselves.
            let mut rows = [_mm512_setzero_ps(); 16];
            for quad in 0..4 {
                let row = |j: usize| from.add((4 * quad + j) * from_stride);
                let four = [Self::load(row(0)), Self::load(row(1)), Self::load(row(2)), Self::load(row(3))];
                let turned = turn512(four);
                for j in 0..4 {
                    rows[4 * quad + j] = turned[j];
                }
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
    unsafe fn transpose_in(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            let a = gather512(from, from_stride);
            let b = gather512(from.add(from_stride), from_stride);
            let c = gather512(from.add(2 * from_stride), from_stride);
            let d = gather512(from.add(3 * from_stride), from_stride);
            let turned = turn512([a, b, c, d]);
            for i in 0..4 {
                Self::store(to.add(i * to_stride), turned[i]);
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_out(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            let row = |j: usize| from.add(j * from_stride);
            let turned = turn512([Self::load(row(0)), Self::load(row(1)), Self::load(row(2)), Self::load(row(3))]);
            for i in 0..4 {
                let to = to.add(i * to_stride);
                _mm_storeu_ps(to, _mm512_castps512_ps128(turned[i]));
                _mm_storeu_ps(to.add(4 * to_stride), _mm512_extractf32x4_ps::<1>(turned[i]));
                _mm_storeu_ps(to.add(8 * to_stride), _mm512_extractf32x4_ps::<2>(turned[i]));
                _mm_storeu_ps(to.add(12 * to_stride), _mm512_extractf32x4_ps::<3>(turned[i]));
            }
        }
    }
}

// SAFETY of every block below: the trait's contract gives the instruction set and valid pointers.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one argument for all, above")]
impl Simd for Avx2 {
    const LANES: usize = 8;
    const ROWS: usize = 4;
    type V = __m256;

    arithmetic!(_mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps, _mm256_add_ps, _mm256_sub_ps);

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        unsafe {
            let half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
        }
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            for quad in 0..2 {
                Self::transpose_in(from.add(4 * quad), from_stride, to.add(4 * quad * to_stride), to_stride);
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_in(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            let a = gather256(from, from_stride);
            let b = gather256(from.add(from_stride), from_stride);
            let c = gather256(from.add(2 * from_stride), from_stride);
            let d = gather256(from.add(3 * from_stride), from_stride);
            let turned = turn256([a, b, c, d]);
            for i in 0..4 {
                Self::store(to.add(i * to_stride), turned[i]);
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_out(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            let row = |j: usize| from.add(j * from_stride);
            let turned = turn256([Self::load(row(0)), Self::load(row(1)), Self::load(row(2)), Self::load(row(3))]);
            for i in 0..4 {
                let to = to.add(i * to_stride);
                _mm_storeu_ps(to, _mm256_castps256_ps128(turned[i]));
                _mm_storeu_ps(to.add(4 * to_stride), _mm256_extractf128_ps::<1>(turned[i]));
            }
        }
    }
}
