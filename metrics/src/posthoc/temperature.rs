//! Temperature scaling: `softmax(l / T)` (Guo et al. 2017).

use segcal_core::Result;
use serde::{Deserialize, Serialize};

use super::Samples;
use super::newton::{Fit, Objective, Sums};
use crate::volume::log_sum_exp;

/// The range of temperatures in which the optimum is searched.
const LIMITS: [f64; 2] = [0.01, 100.0];

/// One temperature for all classes and voxels.
///
/// Dividing all logits of a voxel by the same positive number keeps the most probable class: the largest logit remains
/// the largest (two that differ in the last place may become equal).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// The divisor of the logits.
    pub temperature: f64,
    /// The result of the fit; not converged if the optimum is outside 0.01 to 100.
    pub fit: Fit,
}

/// Negative log-likelihood in `beta = 1 / T`, which is convex: the derivatives are `E_p[l] - l_y` and `Var_p[l]`.
struct InverseTemperature;

impl Objective for InverseTemperature {
    fn parameters(&self) -> usize {
        1
    }

    fn feasible(&self, theta: &[f64]) -> bool {
        theta[0] > 0.0
    }

    fn bounds(&self, _: usize) -> [f64; 2] {
        [LIMITS[1].recip(), LIMITS[0].recip()]
    }

    fn add(&self, theta: &[f64], logits: &mut [f64], label: usize, sums: &mut Sums) {
        // Differences from the largest logit keep the moments accurate.
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut total = 0.0;
        let (mut first, mut second) = (0.0, 0.0);
        for logit in logits.iter() {
            let below = logit - largest;
            let weight = (theta[0] * below).exp();
            total += weight;
            first += weight * below;
            second += weight * below * below;
        }
        let (mean, own) = (first / total, logits[label] - largest);
        sums.value += total.ln() - theta[0] * own;
        sums.gradient[0] += mean - own;
        sums.hessian[0] += (second / total - mean * mean).max(0.0);
    }
}

impl Temperature {
    /// Fits the temperature that minimises the mean negative log-likelihood.
    ///
    /// Applies Newton's method to the derivative with respect to `1 / T`, which is increasing, inside a bracket that
    /// each step narrows. A step that leaves the bracket or does not shrink it fast enough is replaced by the geometric
    /// mean of the bracket's ends. It therefore always converges: the result is exact to 1e-10 relative, or the end of
    /// the range 0.01 to 100 beyond which the optimum lies.
    ///
    /// # Errors
    /// There are no samples, or a sample cannot be read.
    pub fn fit(samples: &mut dyn Samples) -> Result<Self> {
        let at = |beta: f64, samples: &mut dyn Samples| Sums::at(&InverseTemperature, &[beta], samples);
        let (mut low, mut high) = (LIMITS[1].recip(), LIMITS[0].recip());
        let mut here = at(1.0, samples)?;
        let (mut beta, before, voxels) = (1.0, here.mean(), here.count);
        let mut slow = 0;
        loop {
            let width = high / low;
            *(if here.gradient[0] > 0.0 { &mut high } else { &mut low }) = beta;
            slow = if high / low > width.sqrt() { slow + 1 } else { 0 };
            let newton = beta - here.gradient[0] / here.hessian[0];
            let inside = newton > low && newton < high;
            let next = if inside && slow < 4 { newton } else { (low * high).sqrt() };
            slow = if slow < 4 { slow } else { 0 };
            let done = here.gradient[0] == 0.0 || (next / beta - 1.0).abs() < 1e-10 || high / low < 1.0 + 1e-10;
            if done {
                break;
            }
            beta = next;
            here = at(beta, samples)?;
        }
        let inside = beta * LIMITS[0] < 1.0 - 1e-6 && beta * LIMITS[1] > 1.0 + 1e-6;
        let fit = Fit { voxels, before, after: here.mean(), converged: inside };
        Ok(Self { temperature: beta.recip(), fit })
    }

    /// Divides logits `[k, d, h, w]` by the temperature, in place.
    #[expect(clippy::cast_possible_truncation, reason = "logits are stored in 32 bits")]
    pub fn apply(&self, logits: &mut [f32]) {
        use rayon::prelude::*;
        logits.par_iter_mut().for_each(|logit| *logit = (f64::from(*logit) / self.temperature) as f32);
    }

    /// Computes the mean negative log-likelihood of samples at this temperature (nats).
    ///
    /// # Errors
    /// There are no samples, or a sample cannot be read.
    pub fn nll(&self, samples: &mut dyn Samples) -> Result<f64> {
        Ok(Sums::at(&InverseTemperature, &[self.temperature.recip()], samples)?.mean())
    }
}

/// Value, gradient and Hessian of `-ln softmax(z)_y` for `z_k = sum_j theta_j features_kj`, where parameter `j` belongs
/// to class `class[j]` and has the feature `feature[j]`: `(p_k - [k = y]) f_j` and `f_i f_j p_k ([k = k'] - p_k')`.
pub(super) fn add_softmax(z: &mut [f64], label: usize, class: &[usize], feature: &[f64], sums: &mut Sums) {
    let own = z[label];
    sums.value += log_sum_exp(z) - own;
    for (i, (&k, &f)) in class.iter().zip(feature).enumerate() {
        sums.gradient[i] += (z[k] - f64::from(u8::from(k == label))) * f;
        for (j, (&other, &g)) in class.iter().zip(feature).enumerate().take(i + 1) {
            let same = if k == other { z[k] } else { 0.0 };
            sums.add_hessian(i, j, f * g * (same - z[k] * z[other]));
        }
    }
}
