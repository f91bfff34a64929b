//! Vectors of `f32` at the widest level that the machine has.
//!
//! A kernel is a [`Job`]: a value whose `run` is written once, over [`Simd`]. [`Level::run`] instantiates it inside a
//! function that is compiled for the level's instruction set, so that everything `#[inline(always)]` beneath it uses
//! those instructions. AVX-512 and AVX2 (with FMA) are found at run time on x86-64; elsewhere, and as the fallback,
//! [`Portable`] is four-lane arithmetic on arrays that the compiler turns into the vectors of its target.

/// Vectors of [`LANES`](Simd::LANES) numbers.
///
/// # Safety
/// Every method may be called only where the instruction set of the level is present, which holds inside
/// [`Job::run`]. Pointers must be valid for `LANES` numbers (unaligned); for `blocks`, as its doc says.
pub(super) trait Simd: Copy + Send + Sync {
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a register block of `ROWS x 3` accumulators.
    const ROWS: usize;
    /// The vector.
    type V: Copy;

    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self::V;
    /// `LANES` numbers from memory.
    unsafe fn load(from: *const f32) -> Self::V;
    /// `LANES` numbers to memory.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// `a b + c`, rounded once where the machine can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// The sum of the lanes, in an order that is the same for every call.
    unsafe fn sum(v: Self::V) -> f32;
    /// `to[i * to_stride + j] = from[j * from_stride + i]` for `i, j` in `0..LANES`, through registers.
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
    /// The same for `i` in `0..4`: `LANES` rows of four numbers become four vectors.
    unsafe fn transpose_in(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
    /// The same for `j` in `0..4`: four vectors become `LANES` rows of four numbers.
    unsafe fn transpose_out(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
}

/// Work that is written once for every level.
pub(super) trait Job {
    /// Does the work.
    ///
    /// # Safety
    /// The instruction set of `S` is present. Implementations are `#[inline(always)]`.
    unsafe fn run<S: Simd>(self);
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Four-lane arrays.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The levels that this machine has, the widest last.
    pub(super) fn available() -> impl DoubleEndedIterator<Item = Self> {
        let portable = [Self::Portable].into_iter();
        #[cfg(target_arch = "x86_64")]
        let portable = {
            let avx2 = (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self::Avx2);
            let avx512 = is_x86_feature_detected!("avx512f").then_some(Self::Avx512);
            portable.chain(avx2).chain(avx2.and(avx512))
        };
        portable
    }

    /// The widest level that this machine has.
    pub(super) fn best() -> Self {
        Self::available().next_back().unwrap_or(Self::Portable)
    }

    /// Numbers in a vector.
    pub(super) const fn lanes(self) -> usize {
        match self {
            Self::Portable => Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::Avx512::LANES,
        }
    }

    /// Rows of the register block.
    pub(super) const fn rows(self) -> usize {
        match self {
            Self::Portable => Portable::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::Avx2::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::Avx512::ROWS,
        }
    }

    /// Runs a job at this level, which must be among the [`available`](Self::available).
    pub(super) fn run(self, job: impl Job) {
        // SAFETY: values of `Level` come from `available`, which asks the machine.
        unsafe {
            match self {
                Self::Portable => job.run::<Portable>(),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => x86::run_avx2(job),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => x86::run_avx512(job),
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
        // A fused operation only where it is one instruction: elsewhere it would be a slow library call.
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
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for i in 0..4 {
            for j in 0..4 {
                // SAFETY: the trait's contract.
                unsafe { *to.add(i * to_stride + j) = *from.add(j * from_stride + i) };
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_in(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the trait's contract.
        unsafe { Self::transpose(from, from_stride, to, to_stride) }
    }

    #[inline(always)]
    unsafe fn transpose_out(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the trait's contract.
        unsafe { Self::transpose(from, from_stride, to, to_stride) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Job, Simd};
    use std::arch::x86_64::*;

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
        unsafe {
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from.add(4 * stride)))
        }
    }

    // SAFETY of every block below: the trait's contract gives the instruction set and valid pointers.
    #[expect(clippy::undocumented_unsafe_blocks, reason = "one argument for all, above")]
    impl Simd for Avx512 {
        const LANES: usize = 16;
        const ROWS: usize = 8;
        type V = __m512;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::V {
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: Self::V) {
            unsafe { _mm512_storeu_ps(to, v) }
        }

        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_sub_ps(a, b) }
        }

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

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::V {
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: Self::V) {
            unsafe { _mm256_storeu_ps(to, v) }
        }

        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm256_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm256_sub_ps(a, b) }
        }

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
}
