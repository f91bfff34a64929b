//! Activations, as expressions that fuse into the pass of the layer before them.

use segcal_core::{Expr, stable};
use serde::{Deserialize, Serialize};

/// A pointwise non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `z`.
    Identity,
    /// `max(z, 0)`.
    Relu,
    /// `z` where positive, else `0.01 z` (Maas, Hannun and Ng 2013).
    LeakyRelu,
    /// `z sigmoid(z)` (Hendrycks and Gimpel 2016, also called swish); smooth.
    Silu,
    /// `z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2` (Hendrycks and Gimpel 2016, the tanh form); smooth.
    Gelu,
}

/// `sqrt(2 / pi)`.
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

impl Activation {
    /// Slope of [`Activation::LeakyRelu`] below 0.
    pub const LEAK: f64 = 0.01;

    /// Every activation.
    pub const ALL: [Self; 5] = [Self::Identity, Self::Relu, Self::LeakyRelu, Self::Silu, Self::Gelu];

    /// The value at `z`.
    #[must_use]
    pub fn value(self, z: Expr<'_>) -> Expr<'_> {
        match self {
            Self::Identity => z,
            Self::Relu => z.max(0.0),
            Self::LeakyRelu => z.max(z * Self::LEAK),
            Self::Silu => z * stable::sigmoid(z),
            Self::Gelu => z * gelu_gate(z),
        }
    }

    /// The gradient at `z`, given that of the value; at a kink, that of the left side.
    #[must_use]
    pub fn gradient<'b>(self, z: Expr<'b>, of_value: Expr<'b>) -> Expr<'b> {
        match self {
            Self::Identity => of_value,
            Self::Relu => z.le(0.0).select(0.0, of_value),
            Self::LeakyRelu => z.le(0.0).select(of_value * Self::LEAK, of_value),
            Self::Silu => {
                let gate = stable::sigmoid(z);
                of_value * (gate * (1.0 + z * (1.0 - gate)))
            }
            Self::Gelu => {
                let gate = gelu_gate(z);
                let inner = (1.0 + z.square() * (3.0 * GELU_CUBIC)) * GELU_SCALE;
                of_value * (gate + z * (2.0 * gate * (1.0 - gate)) * inner)
            }
        }
    }

    /// Slope below 0 if this is a rectifier, as [`Init::He`](crate::Init::He) asks.
    pub(crate) fn rectifier_slope(self) -> Option<f64> {
        match self {
            Self::Identity => None,
            Self::LeakyRelu => Some(Self::LEAK),
            Self::Relu | Self::Silu | Self::Gelu => Some(0.0),
        }
    }
}

/// `(1 + tanh u) / 2` with `u = sqrt(2 / pi) (z + 0.044715 z^3)`.
fn gelu_gate(z: Expr<'_>) -> Expr<'_> {
    let u = z * (1.0 + z.square() * GELU_CUBIC) * GELU_SCALE;
    stable::sigmoid(u * 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use segcal_core::Program;

    /// The derivative by hand is the derivative by the opcode table, away from and at the kink.
    #[test]
    fn gradient_is_the_vjp_of_the_value() {
        for activation in Activation::ALL {
            let automatic = Program::new(|p| activation.value(p.input(0))).vjp(&[0]);
            let by_hand = Program::new(|p| activation.gradient(p.input(0), p.input(1)));
            for z in [-30.0, -3.0, -0.4, -1e-9, 0.0, 1e-9, 0.7, 2.5, 40.0] {
                let (a, b) =
                    (automatic.eval::<f64>(&[z, 1.5], &[], [0; 5])[0], by_hand.eval::<f64>(&[z, 1.5], &[], [0; 5])[0]);
                assert!((a - b).abs() <= 1e-14 * (1.0 + a.abs()), "{activation:?} at {z}: {a} {b}");
            }
        }
    }

    #[test]
    fn known_values() {
        let at = |activation: Activation, z: f64| {
            Program::new(|p| activation.value(p.input(0))).eval::<f64>(&[z], &[], [0; 5])[0]
        };
        assert_eq!(at(Activation::Relu, -2.0), 0.0);
        assert_eq!(at(Activation::LeakyRelu, -2.0), -0.02);
        assert_eq!(at(Activation::Identity, -2.0), -2.0);
        // PyTorch 2: silu(1) = 0.7310585786, gelu(1, approximate = "tanh") = 0.8411919906.
        assert!((at(Activation::Silu, 1.0) - 0.731_058_578_630_005).abs() < 1e-12);
        assert!((at(Activation::Gelu, 1.0) - 0.841_191_990_608_276).abs() < 1e-9);
        assert!(at(Activation::Relu, f64::NAN).is_nan());
        assert!(at(Activation::LeakyRelu, f64::NAN).is_nan());
    }
}
