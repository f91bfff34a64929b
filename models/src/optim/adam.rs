//! Adam and `AdamW`.

use schemars::JsonSchema;
use segcal_core::{Expr, Result};
use serde::{Deserialize, Serialize};

use super::{Update, in_range};

/// Adam (Kingma and Ba 2015, algorithm 1), as PyTorch computes it:
///
/// ```text
/// g = gradient + weight_decay p          m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
/// p = p - rate / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + epsilon)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adam {
    /// Decay rate of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// Decay rate of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// Added to the denominator to keep the quotient finite.
    pub epsilon: f64,
    /// Strength of the penalty `weight_decay / 2 |p|^2`.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019): the gradient is used unchanged, and
/// `p = (1 - rate weight_decay) p` before the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Decay rate of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// Decay rate of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// Added to the denominator to keep the quotient finite.
    pub epsilon: f64,
    /// Fraction of a parameter removed by a step with learning rate 1.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

const MOMENTS: &[&str] = &["first_moment", "second_moment"];

impl Update for Adam {
    fn moments(&self) -> &'static [&'static str] {
        MOMENTS
    }

    fn scalars(&self, rate: f64, step: u64) -> Vec<f64> {
        scalars(self, rate, step)
    }

    fn update<'b>(&self, s: &[Expr<'b>], now: Expr<'b>, gradient: Expr<'b>, moments: &[Expr<'b>]) -> Vec<Expr<'b>> {
        let gradient = if self.weight_decay == 0.0 { gradient } else { gradient + now * self.weight_decay };
        moved(self, s, now, gradient, moments)
    }

    fn check(&self) -> Result<()> {
        in_range("beta1", self.beta1, 1.0)?;
        in_range("beta2", self.beta2, 1.0)?;
        in_range("epsilon", self.epsilon, f64::INFINITY)?;
        in_range("weight_decay", self.weight_decay, f64::INFINITY)
    }
}

impl AdamW {
    /// The same without weight decay.
    fn plain(&self) -> Adam {
        Adam { beta1: self.beta1, beta2: self.beta2, epsilon: self.epsilon, weight_decay: 0.0 }
    }
}

impl Update for AdamW {
    fn moments(&self) -> &'static [&'static str] {
        MOMENTS
    }

    fn scalars(&self, rate: f64, step: u64) -> Vec<f64> {
        let mut scalars = scalars(&self.plain(), rate, step);
        scalars.push(1.0 - rate * self.weight_decay);
        scalars
    }

    fn update<'b>(&self, s: &[Expr<'b>], now: Expr<'b>, gradient: Expr<'b>, moments: &[Expr<'b>]) -> Vec<Expr<'b>> {
        moved(&self.plain(), s, now * s[2], gradient, moments)
    }

    fn check(&self) -> Result<()> {
        self.plain().check()?;
        in_range("weight_decay", self.weight_decay, f64::INFINITY)
    }
}

/// `rate / (1 - beta1^t)` and `1 / sqrt(1 - beta2^t)`.
fn scalars(adam: &Adam, rate: f64, step: u64) -> Vec<f64> {
    let correction = |beta: f64| 1.0 - beta.powf(step as f64);
    vec![rate / correction(adam.beta1), correction(adam.beta2).sqrt().recip()]
}

fn moved<'b>(adam: &Adam, s: &[Expr<'b>], now: Expr<'b>, gradient: Expr<'b>, moments: &[Expr<'b>]) -> Vec<Expr<'b>> {
    let first = moments[0] * adam.beta1 + gradient * (1.0 - adam.beta1);
    let second = moments[1] * adam.beta2 + gradient.square() * (1.0 - adam.beta2);
    vec![now - s[0] * first / (second.sqrt() * s[1] + adam.epsilon), first, second]
}
