//! What every benchmark needs: seconds, memory, random numbers.

use std::time::Instant;

use segcal_core::{Backend, Elem, Result, Rng, Shape, Tensor, ops};
use serde_json::Value;

/// The best and the median of several runs, in seconds, after one that is not counted.
pub(crate) fn timed(reps: usize, mut run: impl FnMut() -> Result<()>) -> Result<(f64, f64)> {
    run()?;
    let mut seconds = Vec::with_capacity(reps);
    for _ in 0..reps.max(1) {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[0], seconds[seconds.len() / 2]))
}

pub(crate) fn random<B: Backend>(backend: &B, shape: Shape, stream: u64) -> Tensor<B> {
    let rng = Rng::new(0).stream(stream);
    Tensor::new(backend, shape, (0..shape.len() as u64).map(|i| B::Elem::of(rng.uniform(i))).collect())
}

/// Waits for all work on a tensor.
pub(crate) fn finish<B: Backend>(tensor: &Tensor<B>) -> Result<()> {
    ops::sum_all(&[tensor], |p| p.input(0)).item().map(drop)
}

/// The largest resident memory of this process so far, in MiB; 0 where the system does not tell.
pub(crate) fn peak_rss_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0) / 1024
}

/// Adds the rate by the direct count of multiplications and additions, whatever an algorithm saves of them, and on the
/// processor its share of the multiply-add peak measured now.
pub(crate) fn share_of_peak<B: Backend>(result: &mut Value, backend: &B, operations: f64, seconds: f64) {
    result["gflop"] = (operations * 1e-9).into();
    result["gflops"] = (operations * 1e-9 / seconds).into();
    if backend.name() == "cpu"
        && let Some(peak) = crate::peak::fma_peak()
    {
        result["fma_peak_gflops"] = (peak * 1e-9).into();
        result["share_of_peak"] = (operations / seconds / peak).into();
    }
}
