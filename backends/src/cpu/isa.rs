//! Choice of the instruction set at run time.
//!
//! Numeric loops are written once, in plain Rust, and compiled several times: for the crate's baseline, for AVX2 and
//! for AVX-512. No version contracts `a * b + c` and every sum states its lanes, so all give the same bits.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Level {
    /// What the crate is built for: SSE2 on x86-64, NEON on AArch64.
    Baseline = 1,
    /// AVX2.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512 = 3,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The best level of this machine.
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
    let has_512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (is_x86_feature_detected!("avx2"), has_512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

/// Runs `test` once for each level of this machine. Tests that run beside it are not disturbed: all levels give the
/// same bits.
#[cfg(test)]
pub(crate) fn for_each_level(mut test: impl FnMut(Level)) {
    let best = detect();
    for level in [Level::Baseline, Level::Avx2, Level::Avx512] {
        if level as u8 <= best as u8 {
            CHOSEN.store(level as u8, Ordering::Relaxed);
            test(level);
        }
    }
    CHOSEN.store(best as u8, Ordering::Relaxed);
}

/// Defines a function whose body is compiled for each [`Level`]; a call takes the best that the machine has.
///
/// What the body calls must be `#[inline(always)]`, or it is compiled for the baseline only.
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
                    // SAFETY: `level` answers this only where the machine has the features.
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
