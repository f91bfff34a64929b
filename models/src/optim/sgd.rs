//! Stochastic gradient descent.

use schemars::JsonSchema;
use segcal_core::{Error, Expr, Result};
use serde::{Deserialize, Serialize};

use super::{Update, in_range};

/// Gradient descent with momentum, as PyTorch computes it (Sutskever et al. 2013 for the Nesterov form):
///
/// ```text
/// g = gradient + weight_decay p        m = momentum m + g
/// p = p - rate m                       or, Nesterov: p - rate (g + momentum m)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// Decay rate of the velocity, in `[0, 1)`.
    pub momentum: f64,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
    /// Strength of the penalty `weight_decay / 2 |p|^2`.
    pub weight_decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false, weight_decay: 0.0 }
    }
}

impl Update for Sgd {
    fn moments(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["velocity"] }
    }

    fn scalars(&self, rate: f64, _step: u64) -> Vec<f64> {
        vec![rate]
    }

    fn update<'b>(&self, s: &[Expr<'b>], now: Expr<'b>, gradient: Expr<'b>, moments: &[Expr<'b>]) -> Vec<Expr<'b>> {
        let gradient = if self.weight_decay == 0.0 { gradient } else { gradient + now * self.weight_decay };
        let Some(&velocity) = moments.first() else { return vec![now - s[0] * gradient] };
        let velocity = velocity * self.momentum + gradient;
        let direction = if self.nesterov { gradient + velocity * self.momentum } else { velocity };
        vec![now - s[0] * direction, velocity]
    }

    fn check(&self) -> Result<()> {
        in_range("momentum", self.momentum, 1.0)?;
        in_range("weight_decay", self.weight_decay, f64::INFINITY)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::new("Nesterov's method needs momentum").at("nesterov").help("set momentum = 0.9"));
        }
        Ok(())
    }
}
