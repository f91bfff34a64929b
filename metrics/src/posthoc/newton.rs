//! Convex minimisation over streamed samples: Newton's method with damping and backtracking.

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Chunk, Samples};

/// Voxels per task; fixed, so that the order of summation is fixed.
const TASK: usize = 1 << 14;

/// Maximum number of Newton steps. A convex fit takes about ten.
const STEPS: usize = 100;

/// A loss per sample that is convex in its parameters.
pub(super) trait Objective: Sync {
    /// Number of parameters.
    fn parameters(&self) -> usize;

    /// Whether a point is in the domain.
    fn feasible(&self, theta: &[f64]) -> bool;

    /// The bounds of a parameter. If classes are perfectly separable, the loss has no minimum and the parameters would
    /// grow without limit.
    fn bounds(&self, parameter: usize) -> [f64; 2];

    /// Adds the value, the gradient and the lower half of the Hessian for one sample; may overwrite `logits`.
    fn add(&self, theta: &[f64], logits: &mut [f64], label: usize, sums: &mut Sums);
}

/// Sums over samples: value, gradient, lower half of the Hessian (row-major, square).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sums {
    pub(super) count: u64,
    pub(super) value: f64,
    pub(super) gradient: Vec<f64>,
    pub(super) hessian: Vec<f64>,
}

impl Sums {
    fn new(parameters: usize) -> Self {
        Self { count: 0, value: 0.0, gradient: vec![0.0; parameters], hessian: vec![0.0; parameters * parameters] }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.value += other.value;
        self.gradient.iter_mut().zip(&other.gradient).for_each(|(own, new)| *own += new);
        self.hessian.iter_mut().zip(&other.hessian).for_each(|(own, new)| *own += new);
    }

    /// Adds to the lower half of the Hessian.
    pub(super) fn add_hessian(&mut self, row: usize, column: usize, value: f64) {
        let size = self.gradient.len();
        self.hessian[row.max(column) * size + row.min(column)] += value;
    }

    /// The mean loss.
    pub(super) fn mean(&self) -> f64 {
        self.value / self.count as f64
    }

    /// Value, gradient and Hessian at one point, in one pass over the samples.
    pub(super) fn at(objective: &impl Objective, theta: &[f64], samples: &mut dyn Samples) -> Result<Self> {
        let mut total = Self::new(objective.parameters());
        let classes = samples.classes();
        samples.visit(&mut |chunk: Chunk<'_>| {
            let tasks = (0..chunk.labels().len().div_ceil(TASK)).into_par_iter();
            let parts: Vec<Self> = tasks
                .map(|task| {
                    let mut part = Self::new(objective.parameters());
                    let mut logits = vec![0.0; classes];
                    for voxel in task * TASK..((task + 1) * TASK).min(chunk.labels().len()) {
                        chunk.read(voxel, &mut logits);
                        objective.add(theta, &mut logits, usize::from(chunk.labels()[voxel]), &mut part);
                        part.count += 1;
                    }
                    part
                })
                .collect();
            for part in &parts {
                total.merge(part);
            }
        })?;
        if total.count == 0 {
            return Err(Error::new("there are no voxels to fit on").help("choose another region or other cases"));
        }
        Ok(total)
    }
}

/// The result of a fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Number of voxels.
    pub voxels: u64,
    /// Mean loss before the fit, at the identity map (nats).
    pub before: f64,
    /// Mean loss after the fit (nats).
    pub after: f64,
    /// Whether the minimum was reached. If not, a parameter is at its bound or the loss is zero: some classes are
    /// perfectly separable, or are absent.
    pub converged: bool,
}

/// Minimises within the bounds from a feasible start. A parameter at its bound that the gradient pushes outwards is
/// held there for the step. Stops when the predicted gain of a step falls below 1e-13 of the loss. A minimum with a
/// held parameter is due to the bounds and counts as not converged.
pub(super) fn minimise(
    objective: &impl Objective,
    start: Vec<f64>,
    samples: &mut dyn Samples,
) -> Result<(Vec<f64>, Fit)> {
    let mut theta = start;
    let mut here = Sums::at(objective, &theta, samples)?;
    let (voxels, before) = (here.count, here.mean());
    let mut fit = Fit { voxels, before, after: before, converged: false };
    for _ in 0..STEPS {
        let held = held(objective, &theta, &here);
        let step = newton_step(&free(&here, &held));
        let gain: f64 = step.iter().zip(&here.gradient).map(|(step, slope)| step * slope).sum();
        if gain <= 1e-13 * here.value.max(f64::MIN_POSITIVE) {
            fit.converged = !held.contains(&true);
            break;
        }
        let Some((next, sums)) = backtrack(objective, &theta, &step, gain, &here, samples)? else {
            // No step lowers the loss by more than its rounding error.
            fit.converged = !held.contains(&true);
            break;
        };
        (theta, here) = (next, sums);
    }
    // A loss of zero has no unique minimum: larger parameters are equally good.
    fit.converged &= here.value > 0.0;
    fit.after = here.mean();
    Ok((theta, fit))
}

/// Which parameters are at a bound and pushed outwards by the gradient.
fn held(objective: &impl Objective, theta: &[f64], sums: &Sums) -> Vec<bool> {
    let pushed = |(parameter, (&value, &slope)): (usize, (&f64, &f64))| {
        let [low, high] = objective.bounds(parameter);
        (value <= low && slope > 0.0) || (value >= high && slope < 0.0)
    };
    theta.iter().zip(&sums.gradient).enumerate().map(pushed).collect()
}

/// The sums of the problem with some parameters held fixed.
fn free(sums: &Sums, held: &[bool]) -> Sums {
    let mut sums = sums.clone();
    let size = held.len();
    for parameter in (0..size).filter(|&parameter| held[parameter]) {
        sums.gradient[parameter] = 0.0;
        (0..parameter).for_each(|column| sums.hessian[parameter * size + column] = 0.0);
        (parameter + 1..size).for_each(|row| sums.hessian[row * size + parameter] = 0.0);
        sums.hessian[parameter * size + parameter] = 1.0;
    }
    sums
}

/// The largest of the steps 1, 1/2, 1/4, ... that stays feasible and lowers the loss enough (Armijo).
fn backtrack(
    objective: &impl Objective,
    theta: &[f64],
    step: &[f64],
    gain: f64,
    here: &Sums,
    samples: &mut dyn Samples,
) -> Result<Option<(Vec<f64>, Sums)>> {
    let mut share = 1.0;
    while share > 1e-9 {
        let next: Vec<f64> = theta.iter().zip(step).map(|(theta, step)| theta - share * step).collect();
        if objective.feasible(&next) {
            let next: Vec<f64> = next
                .into_iter()
                .enumerate()
                .map(|(parameter, value)| {
                    let [low, high] = objective.bounds(parameter);
                    value.clamp(low, high)
                })
                .collect();
            let there = Sums::at(objective, &next, samples)?;
            if there.value < here.value - 1e-4 * share * gain {
                return Ok(Some((next, there)));
            }
        }
        share /= 2.0;
    }
    Ok(None)
}

/// Solves `H step = gradient` by Cholesky decomposition; the diagonal is increased until that succeeds.
fn newton_step(sums: &Sums) -> Vec<f64> {
    let size = sums.gradient.len();
    let scale = (0..size).map(|i| sums.hessian[i * size + i]).fold(f64::MIN_POSITIVE, f64::max);
    let mut damping = scale * 1e-12;
    loop {
        if let Some(step) = cholesky_solve(&sums.hessian, &sums.gradient, damping) {
            return step;
        }
        damping *= 10.0;
    }
}

/// `(H + damping I)^-1 g` from the lower half of `H`; `None` if `H + damping I` is not positive definite.
fn cholesky_solve(hessian: &[f64], gradient: &[f64], damping: f64) -> Option<Vec<f64>> {
    let n = gradient.len();
    let mut lower = hessian.to_vec();
    for j in 0..n {
        let squares: f64 = (0..j).map(|k| lower[j * n + k].powi(2)).sum();
        let pivot = lower[j * n + j] + damping - squares;
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        lower[j * n + j] = pivot.sqrt();
        for i in j + 1..n {
            let dot: f64 = (0..j).map(|k| lower[i * n + k] * lower[j * n + k]).sum();
            lower[i * n + j] = (lower[i * n + j] - dot) / lower[j * n + j];
        }
    }
    let mut x = gradient.to_vec();
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| lower[i * n + k] * x[k]).sum();
        x[i] = (x[i] - dot) / lower[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| lower[k * n + i] * x[k]).sum();
        x[i] = (x[i] - dot) / lower[i * n + i];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_two_equations() {
        // [4 2; 2 3] x = [8, 7] has x = [1.25, 1.5].
        let x = cholesky_solve(&[4.0, 0.0, 2.0, 3.0], &[8.0, 7.0], 0.0).expect("positive definite");
        assert!((x[0] - 1.25).abs() < 1e-14 && (x[1] - 1.5).abs() < 1e-14, "{x:?}");
        assert!(cholesky_solve(&[1.0, 0.0, 2.0, 1.0], &[1.0, 1.0], 0.0).is_none());
    }
}
