//! The instruction sets that loops are compiled for, and their selection at run time.
//!
//! Pointwise loops, sums and everything else except convolutions are written once, in plain Rust, and compiled for each
//! [`Level`] by [`wide!`]. No version contracts `a * b + c`, and every sum has a fixed number of lanes, so all give the
//! same bits.
//!
//! Convolutions are written over vectors (see `conv::simd`). They use a fused multiply-add if the level has it
//! ([`Level::fuses`]), and the number of lanes in their sums is that of its vectors, so their bits depend on the level.

#[cfg(any(target_arch = "x86_64", test))]
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Level {
    /// The target of the build: SSE2 on x86-64, NEON on AArch64.
    Baseline = 1,
    /// AVX2 and FMA.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL, in addition to AVX2 and FMA.
    Avx512 = 3,
}

impl Level {
    const ALL: [Self; 3] = [Self::Baseline, Self::Avx2, Self::Avx512];

    /// The levels that this machine supports, the widest last.
    pub(crate) fn available() -> impl DoubleEndedIterator<Item = Self> {
        let widest = detect();
        Self::ALL.into_iter().filter(move |level| *level as u8 <= widest as u8)
    }

    /// The widest level that this machine supports.
    pub(crate) fn best() -> Self {
        detect()
    }

    /// The name on the command line and in run records.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether `a * b + c` is a single operation with one rounding.
    pub(crate) const fn fuses(self) -> bool {
        match self {
            Self::Baseline => cfg!(target_arch = "aarch64"),
            Self::Avx2 | Self::Avx512 => true,
        }
    }
}

#[cfg(any(target_arch = "x86_64", test))]
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The level for loops whose bits do not depend on it: the best of this machine.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn level() -> Level {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Level::Baseline,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let best = detect();
            CHOSEN.store(best as u8, Ordering::Relaxed);
            best
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let has_512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (has_avx2, has_512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

/// Runs `test` once for each level of this machine. Tests that run at the same time are not affected: all levels give
/// the same bits.
#[cfg(test)]
pub(crate) fn for_each_level(mut test: impl FnMut(Level)) {
    for level in Level::available() {
        CHOSEN.store(level as u8, Ordering::Relaxed);
        test(level);
    }
    CHOSEN.store(Level::best() as u8, Ordering::Relaxed);
}

/// Defines a function whose body is compiled for each [`Level`]; a call selects the best that the machine supports.
///
/// Functions that the body calls must be `#[inline(always)]`, or they are compiled only for the baseline.
macro_rules! wide {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }
                match $crate::cpu::isa::level() {
                    // SAFETY: `level` returns this only if the machine has the features.
                    $crate::cpu::isa::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::cpu::isa::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::cpu::isa::Level::Baseline => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use wide;
