//! The ceiling of dense arithmetic on the processor, measured.
#![expect(unsafe_code, reason = "functions compiled for an instruction set are called where it was found")]

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Sums that do not wait for each other: more than the latency of one times the units of any core.
const CHAINS: usize = 12;
/// Steps of each sum between two looks at the clock.
const STEPS: usize = 20_000;
/// How long each thread is measured.
const WHILE: Duration = Duration::from_millis(40);

/// What the threads of the CPU backend can multiply and add in f32 while they touch no memory, in operations per second
/// (a fused multiply-add is two): the peak that a convolution's rate is a share of. Best of three measurements of
/// 40 ms. `None` where the processor has no fused multiply-add that this build knows.
pub(crate) fn fma_peak() -> Option<f64> {
    let kernel = kernel()?;
    let measure = || rayon::broadcast(|_| rate(&kernel)).into_iter().sum::<f64>();
    Some((0..3).map(|_| measure()).fold(0.0, f64::max))
}

/// A loop of this many steps, and the lanes of one sum.
struct Kernel {
    run: fn(usize) -> f32,
    lanes: usize,
}

/// Operations per second of this thread.
fn rate(kernel: &Kernel) -> f64 {
    let (start, mut rounds) = (Instant::now(), 0);
    while start.elapsed() < WHILE {
        black_box((kernel.run)(black_box(STEPS)));
        rounds += 1;
    }
    (2 * kernel.lanes * CHAINS * STEPS * rounds) as f64 / start.elapsed().as_secs_f64()
}

#[cfg(target_arch = "x86_64")]
fn kernel() -> Option<Kernel> {
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_add_ps, _mm512_cvtss_f32,
        _mm512_fmadd_ps, _mm512_set1_ps,
    };

    macro_rules! chains {
        ($name:ident, $features:literal, $set:ident, $fma:ident, $add:ident, $first:ident) => {
            #[target_feature(enable = $features)]
            fn $name(steps: usize) -> f32 {
                let (a, b) = ($set(0.999), $set(0.001));
                let mut sums = [$set(0.5); CHAINS];
                for _ in 0..steps {
                    for sum in &mut sums {
                        *sum = $fma(*sum, a, b);
                    }
                }
                $first(sums.into_iter().fold($set(0.0), |total, sum| $add(total, sum)))
            }
        };
    }
    chains!(avx512, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_cvtss_f32);
    chains!(avx2, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps, _mm256_cvtss_f32);

    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the feature.
        return Some(Kernel { run: |steps| unsafe { avx512(steps) }, lanes: 16 });
    }
    let present = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    // SAFETY: the processor has the features.
    present.then_some(Kernel { run: |steps| unsafe { avx2(steps) }, lanes: 8 })
}

#[cfg(target_arch = "aarch64")]
fn kernel() -> Option<Kernel> {
    fn neon(steps: usize) -> f32 {
        let mut sums = [0.5_f32; 4 * CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = sum.mul_add(0.999, 0.001);
            }
        }
        sums.into_iter().sum()
    }
    Some(Kernel { run: neon, lanes: 4 })
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn kernel() -> Option<Kernel> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_does_the_arithmetic_that_is_counted() {
        let Some(kernel) = kernel() else { return };
        // The sums tend to 0.001 / (1 - 0.999).
        let expected = |steps: i32| (0.5 + 0.5 * (1.0 - 0.999_f32.powi(steps))) * CHAINS as f32;
        for steps in [0, 1, 1000] {
            let (found, lanes) = ((kernel.run)(steps), kernel.lanes);
            let one_lane = if cfg!(target_arch = "aarch64") { found / lanes as f32 } else { found };
            assert!((one_lane - expected(steps as i32)).abs() < 1e-3, "{steps} steps: {found}");
        }
    }
}
