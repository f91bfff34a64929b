//! Learning-rate schedules.

use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The learning rate of an epoch as a multiple of the base rate; `epoch` counts from 0, `epochs` is their number.
///
/// (`Constant {}` has braces because serde would take any key beside a variant without them.)
///
/// | name | factor | 4 epochs of each (defaults; milestones `[2]`) |
/// |---|---|---|
/// | `constant` | `1` | 1, 1, 1, 1 |
/// | `step` | `factor ^ (milestones that are <= epoch)` | 1, 1, 0.1, 0.1 |
/// | `polynomial` | `(1 - epoch / epochs) ^ power` | 1, 0.772, 0.536, 0.287 |
/// | `cosine` | `(1 + cos(pi epoch / epochs)) / 2` | 1, 0.854, 0.5, 0.146 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Schedule {
    /// The base rate throughout.
    Constant {},
    /// A drop at each milestone (PyTorch's `MultiStepLR`).
    Step {
        /// Epochs, from 0, with which a new rate begins.
        milestones: Vec<usize>,
        /// What each multiplies the rate by; 0.1.
        #[serde(default = "tenth")]
        factor: f64,
    },
    /// Down to nearly 0 along a power (Chen et al. 2018; nnU-Net with power 0.9).
    Polynomial {
        /// The exponent; 0.9.
        #[serde(default = "nine_tenths")]
        power: f64,
    },
    /// Down to nearly 0 along half a cosine (Loshchilov and Hutter 2017).
    Cosine {},
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

fn tenth() -> f64 {
    0.1
}

fn nine_tenths() -> f64 {
    0.9
}

impl Schedule {
    /// The multiple of the base rate for an epoch.
    pub fn factor(&self, epoch: usize, epochs: usize) -> f64 {
        let progress = epoch as f64 / epochs.max(1) as f64;
        match self {
            Self::Constant {} => 1.0,
            Self::Step { milestones, factor } => {
                let passed = milestones.iter().filter(|&&milestone| milestone <= epoch).count();
                factor.powf(passed as f64)
            }
            Self::Polynomial { power } => (1.0 - progress).max(0.0).powf(*power),
            Self::Cosine {} => 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()),
        }
    }

    /// Refuses values outside their range.
    ///
    /// # Errors
    /// A negative or not finite factor or power.
    pub fn check(&self) -> Result<()> {
        let (key, value) = match self {
            Self::Step { factor, .. } => ("factor", *factor),
            Self::Polynomial { power } => ("power", *power),
            Self::Constant {} | Self::Cosine {} => return Ok(()),
        };
        if value.is_finite() && value >= 0.0 {
            return Ok(());
        }
        Err(Error::new(format!("{value} is out of range")).at(key).help("use a finite number, at least 0"))
    }
}
