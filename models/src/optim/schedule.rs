//! Learning-rate schedules.

use schemars::JsonSchema;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The learning rate of an epoch as a multiple of the base rate; `epoch` counts from 0, `epochs` is their number.
///
/// (`Constant {}` has braces because serde would accept any key next to a variant without them.)
///
/// | name | factor | 4 epochs of each (defaults; milestones `[2]`) |
/// |---|---|---|
/// | `constant` | `1` | 1, 1, 1, 1 |
/// | `step` | `factor ^ (milestones that are <= epoch)`, or `factor ^ floor(epoch / every)` | 1, 1, 0.1, 0.1 |
/// | `polynomial` | `(1 - epoch / epochs) ^ power`; with `warmup`, `(epoch + 1) / (warmup + 1)` in those epochs, then the same over the rest | 1, 0.772, 0.536, 0.287 |
/// | `cosine` | `(1 + cos(pi epoch / epochs)) / 2` | 1, 0.854, 0.5, 0.146 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Schedule {
    /// The base rate throughout.
    Constant {},
    /// A drop at each milestone (PyTorch's `MultiStepLR`), or every `every` epochs (`StepLR`).
    Step {
        /// Epochs, counted from 0, at which the rate drops.
        #[serde(default)]
        milestones: Vec<usize>,
        /// Number of epochs between two drops, instead of milestones; 0 uses milestones.
        #[serde(default)]
        every: usize,
        /// Factor by which each drop multiplies the rate.
        #[serde(default = "tenth")]
        factor: f64,
    },
    /// Polynomial decay to nearly 0 (Chen et al. 2018; nnU-Net with power 0.9).
    Polynomial {
        /// The exponent.
        #[serde(default = "nine_tenths")]
        power: f64,
        /// Number of initial epochs in which the rate rises to the base rate.
        #[serde(default)]
        warmup: usize,
    },
    /// Half-cosine decay to nearly 0 (Loshchilov and Hutter 2017).
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
            Self::Step { milestones, every, factor } => {
                let passed = match every {
                    0 => milestones.iter().filter(|&&milestone| milestone <= epoch).count(),
                    every => epoch / every,
                };
                factor.powf(passed as f64)
            }
            Self::Polynomial { warmup, .. } if epoch < *warmup => (epoch + 1) as f64 / (warmup + 1) as f64,
            Self::Polynomial { power, warmup } => {
                let progress = (epoch - warmup) as f64 / epochs.saturating_sub(*warmup).max(1) as f64;
                (1.0 - progress).max(0.0).powf(*power)
            }
            Self::Cosine {} => 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()),
        }
    }

    /// Refuses values outside their range.
    ///
    /// # Errors
    /// A negative or non-finite factor or power; steps with both milestones and `every`, or with neither.
    pub fn check(&self) -> Result<()> {
        if let Self::Step { milestones, every, .. } = self
            && milestones.is_empty() == (*every == 0)
        {
            let what = if *every == 0 {
                "a step schedule needs milestones or every"
            } else {
                "milestones and every are mutually exclusive"
            };
            return Err(Error::new(what).help("use milestones = [50], or every = 10"));
        }
        let (key, value) = match self {
            Self::Step { factor, .. } => ("factor", *factor),
            Self::Polynomial { power, .. } => ("power", *power),
            Self::Constant {} | Self::Cosine {} => return Ok(()),
        };
        if value.is_finite() && value >= 0.0 {
            return Ok(());
        }
        Err(Error::new(format!("{value} is out of range")).at(key).help("use a finite number, at least 0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MEEP's schedule: 0.85 every 10 epochs.
    #[test]
    fn steps_after_every_so_many_epochs() {
        let schedule: Schedule = serde_json::from_str(r#"{"name": "step", "every": 10, "factor": 0.85}"#).unwrap();
        schedule.check().unwrap();
        let factors = [0, 9, 10, 19, 20].map(|epoch| schedule.factor(epoch, 100));
        assert_eq!(factors, [1.0, 1.0, 0.85, 0.85, 0.85_f64.powf(2.0)]);
        let warm: Schedule = serde_json::from_str(r#"{"name": "polynomial", "power": 1.0, "warmup": 3}"#).unwrap();
        let factors = [0, 1, 2, 3, 4, 5, 6].map(|epoch| warm.factor(epoch, 7));
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25]);
        let refused = |text: &str| serde_json::from_str::<Schedule>(text).unwrap().check().is_err();
        assert!(refused(r#"{"name": "step"}"#) && refused(r#"{"name": "step", "every": 2, "milestones": [3]}"#));
    }
}
