//! Platt scaling (Platt 1999), one class against the rest.

use segcal_core::Result;
use serde::{Deserialize, Serialize};

use super::newton::{Fit, Objective, Sums, minimise};
use super::{Samples, to_shares};
use crate::volume::map_voxels;

/// For each class `q_k = sigmoid(slope_k f_k + intercept_k)` of the log-odds
/// `f_k = ln(p_k / (1 - p_k)) = l_k - ln sum over others exp(l_j)`, then `q_k / sum q`. With two classes, each `q` is a
/// sigmoid of the same `f` with opposite sign, so the normalisation has no effect except rounding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Platt {
    /// Factor of each class's log-odds.
    pub slope: Vec<f64>,
    /// Addend of each class's log-odds.
    pub intercept: Vec<f64>,
    /// The result of the fit; the loss is the binary loss, summed over the classes.
    pub fit: Fit,
}

/// The sum of the binary log-losses of all classes; slopes first, then intercepts. Targets are 1 and 0, softened with
/// the counts of each class as proposed by Platt: `(n+ + 1) / (n+ + 2)` and `1 / (n- + 2)`, so that a minimum always
/// exists.
struct OneAgainstRest {
    /// Targets of each class for voxels without and with its label.
    targets: Vec<[f64; 2]>,
}

impl Objective for OneAgainstRest {
    fn parameters(&self) -> usize {
        2 * self.targets.len()
    }

    fn feasible(&self, theta: &[f64]) -> bool {
        theta.iter().all(|value| value.is_finite())
    }

    fn bounds(&self, _: usize) -> [f64; 2] {
        [-100.0, 100.0]
    }

    fn add(&self, theta: &[f64], logits: &mut [f64], label: usize, sums: &mut Sums) {
        let classes = self.targets.len();
        log_odds(logits);
        for (k, &f) in logits.iter().enumerate() {
            let target = self.targets[k][usize::from(k == label)];
            let z = theta[k] * f + theta[classes + k];
            let q = sigmoid(z);
            // -t ln q - (1 - t) ln(1 - q) = softplus(z) - t z
            sums.value += z.max(0.0) + (-z.abs()).exp().ln_1p() - target * z;
            sums.gradient[k] += (q - target) * f;
            sums.gradient[classes + k] += q - target;
            let weight = q * (1.0 - q);
            sums.add_hessian(k, k, weight * f * f);
            sums.add_hessian(classes + k, k, weight * f);
            sums.add_hessian(classes + k, classes + k, weight);
        }
    }
}

fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 { (1.0 + (-z).exp()).recip() } else { z.exp() / (1.0 + z.exp()) }
}

/// Replaces logits by the log-odds of each class against the rest, `l_k - ln sum over others exp(l_j)`; a single class
/// gets 0.
fn log_odds(logits: &mut [f64]) {
    if let [only] = logits {
        *only = 0.0;
        return;
    }
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let first = logits.iter().position(|&logit| logit == largest).unwrap_or(0);
    let total: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let second =
        (logits.iter().enumerate().filter(|&(k, _)| k != first)).map(|(_, &l)| l).fold(f64::NEG_INFINITY, f64::max);
    // Without the largest logit, the rest must be scaled by its own largest, or all digits are lost.
    let rest: f64 = (logits.iter().enumerate().filter(|&(k, _)| k != first)).map(|(_, l)| (l - second).exp()).sum();
    for (k, logit) in logits.iter_mut().enumerate() {
        *logit = if k == first {
            largest - second - rest.ln()
        } else {
            let own = (*logit - largest).exp();
            *logit - largest - (total - own).ln()
        };
    }
}

impl Platt {
    /// Fits the slopes and intercepts that minimise the binary log-loss, by Newton's method (convex; Lin, Lin and Weng
    /// 2007).
    ///
    /// # Errors
    /// There are no samples, or a sample cannot be read.
    pub fn fit(samples: &mut dyn Samples) -> Result<Self> {
        let classes = samples.classes();
        let mut counts = vec![0_u64; classes];
        samples.visit(&mut |chunk| chunk.labels().iter().for_each(|&label| counts[usize::from(label)] += 1))?;
        let total: u64 = counts.iter().sum();
        let soften = |&own: &u64| {
            let (own, other) = (own as f64, (total - own) as f64);
            [(other + 2.0).recip(), (own + 1.0) / (own + 2.0)]
        };
        let objective = OneAgainstRest { targets: counts.iter().map(soften).collect() };
        let start = [vec![1.0; classes], vec![0.0; classes]].concat();
        let (theta, fit) = minimise(&objective, start, samples)?;
        let (slope, intercept) = theta.split_at(classes);
        Ok(Self { slope: slope.to_vec(), intercept: intercept.to_vec(), fit })
    }

    /// Turns logits `[k, d, h, w]` into calibrated probabilities, in place.
    ///
    /// # Panics
    /// The number of logits is not a multiple of the number of classes.
    pub fn apply(&self, logits: &mut [f32]) {
        map_voxels(logits, self.slope.len(), |scores| {
            log_odds(scores);
            for (k, score) in scores.iter_mut().enumerate() {
                *score = sigmoid(self.slope[k] * *score + self.intercept[k]);
            }
            to_shares(scores);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_odds_keep_their_digits() {
        let mut far = [0.0, 100.0, 40.0];
        log_odds(&mut far);
        assert!((far[1] - 60.0).abs() < 1e-12 && (far[2] + 60.0).abs() < 1e-12, "{far:?}");
        assert!((far[0] + 100.0).abs() < 1e-12, "{far:?}");
        let mut even = [1.0, 1.0];
        log_odds(&mut even);
        assert_eq!(even, [0.0, 0.0]);
    }
}
