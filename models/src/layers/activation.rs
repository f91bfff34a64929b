//! Activations, as expressions that fuse into the pass of the layer before them.

use segcal_core::{Expr, stable};
use serde::{Deserialize, Serialize};

/// A pointwise non-linearity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `z`.
    #[default]
    Identity,
    /// `max(z, 0)`.
    Relu,
    /// `z` where positive, else `0.01 z` (Maas, Hannun and Ng 2013).
    LeakyRelu,
    /// `z sigmoid(z)` (Hendrycks and Gimpel 2016, also called swish); smooth.
    Silu,
    /// `z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2` (Hendrycks and Gimpel 2016, the tanh form); smooth.
    Gelu,
    /// `z` where positive, else a hundredth of `percent` of it.
    #[serde(skip)]
    Leaky {
        /// The slope below 0, in hundredths.
        percent: u32,
    },
    /// `1 / (1 + e^-z)`; smooth.
    #[serde(skip)]
    Sigmoid,
    /// `z Phi(z)` with `Phi` the distribution function of the normal law (Hendrycks and Gimpel 2016); smooth.
    #[serde(skip)]
    GeluExact,
}

/// `sqrt(2 / pi)`.
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

impl Activation {
    /// Slope of [`Activation::LeakyRelu`] below 0.
    pub const LEAK: f64 = 0.01;

    /// Every activation.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Relu,
        Self::LeakyRelu,
        Self::Leaky { percent: 10 },
        Self::Silu,
        Self::Gelu,
        Self::Sigmoid,
        Self::GeluExact,
    ];

    /// The value at `z`.
    #[must_use]
    pub fn value(self, z: Expr<'_>) -> Expr<'_> {
        match self {
            Self::Identity => z,
            Self::Relu => z.max(0.0),
            Self::LeakyRelu => z.max(z * Self::LEAK),
            Self::Leaky { percent } => z.max(z * slope(percent)),
            Self::Silu => z * stable::sigmoid(z),
            Self::Gelu => z * gelu_gate(z),
            Self::Sigmoid => stable::sigmoid(z),
            Self::GeluExact => z * normal_distribution(z),
        }
    }

    /// The gradient at `z`, given the gradient of the value; at a kink, the derivative from the left.
    #[must_use]
    pub fn gradient<'b>(self, z: Expr<'b>, of_value: Expr<'b>) -> Expr<'b> {
        match self {
            Self::Identity => of_value,
            Self::Relu => z.le(0.0).select(0.0, of_value),
            Self::LeakyRelu => z.le(0.0).select(of_value * Self::LEAK, of_value),
            Self::Leaky { percent } => z.le(0.0).select(of_value * slope(percent), of_value),
            Self::Sigmoid => {
                let gate = stable::sigmoid(z);
                of_value * (gate * (1.0 - gate))
            }
            Self::GeluExact => {
                let density = (z.square() * -0.5).exp() * INVERSE_SQRT_TAU;
                of_value * (normal_distribution(z) + z * density)
            }
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

    /// Slope below 0 if this is a rectifier, as [`Init::He`](crate::Init::He) needs it.
    pub(crate) fn rectifier_slope(self) -> Option<f64> {
        match self {
            Self::Identity | Self::Sigmoid => None,
            Self::LeakyRelu => Some(Self::LEAK),
            Self::Leaky { percent } => Some(slope(percent)),
            Self::Relu | Self::Silu | Self::Gelu | Self::GeluExact => Some(0.0),
        }
    }

    /// Whether the sign of the value determines the slope.
    pub(crate) fn is_rectifier(self) -> bool {
        matches!(self, Self::Relu | Self::LeakyRelu | Self::Leaky { .. })
    }
}

/// `percent` hundredths.
fn slope(percent: u32) -> f64 {
    f64::from(percent) / 100.0
}

/// `1 / sqrt(2 pi)`.
const INVERSE_SQRT_TAU: f64 = 0.398_942_280_401_432_7;

/// `erfc(x) e^(x^2) (1 + 2 x)` for `x >= 0` as a polynomial in `(x - 3) / (x + 3)`, lowest power first: the Chebyshev
/// interpolant of degree 22, 4e-16 from the function (relative; computed in 60 digits).
const SCALED_ERFC: [f64; 23] = [
    1.2530080582697296,
    -0.13562110612457573,
    -0.04756229435344576,
    0.129645158702281,
    -0.11927366341575335,
    0.06830802735644051,
    -0.02377051490712486,
    0.0025293916666211625,
    0.0018886902217603342,
    -0.000779831276440303,
    -0.000105158888745708,
    0.00012509529969692863,
    4.945791788878783e-06,
    -2.0089974601937562e-05,
    -7.218910913909693e-07,
    3.4542640815449015e-06,
    3.4040811203344006e-07,
    -5.963735757072212e-07,
    -1.232972365581405e-07,
    8.764763429942915e-08,
    2.900096033455807e-08,
    -7.639805706660184e-09,
    -3.3911975149641994e-09,
];

/// The distribution function of the normal distribution, `erfc(-z / sqrt 2) / 2`, to the precision of the number type.
fn normal_distribution(z: Expr<'_>) -> Expr<'_> {
    let x = z.abs() * std::f64::consts::FRAC_1_SQRT_2;
    let t = (x - 3.0) / (x + 3.0);
    let [rest @ .., second, first] = &SCALED_ERFC;
    let polynomial = rest.iter().rev().fold(t * *first + *second, |sum, &coefficient| sum * t + coefficient);
    let tail = (x.square() * -1.0).exp() * polynomial / (1.0 + x * 2.0) * 0.5;
    z.lt(0.0).select(tail, 1.0 - tail)
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
        // z Phi(z), computed in 50 digits.
        for (z, value) in [
            (1.0, 0.8413447460685429),
            (-1.0, -0.15865525393145705),
            (0.1, 0.0539827837277029),
            (-5.0, -1.4332578593959695e-06),
            (3.0, 2.99595030590511),
        ] {
            assert!((at(Activation::GeluExact, z) - value).abs() < 4e-16 * (1.0 + value.abs()), "{z}");
        }
        assert_eq!(at(Activation::GeluExact, 0.0), 0.0);
        assert_eq!(at(Activation::GeluExact, 40.0), 40.0);
        assert_eq!(at(Activation::Sigmoid, 0.0), 0.5);
        assert_eq!(at(Activation::Leaky { percent: 10 }, -2.0), -0.2);
        assert!(at(Activation::Relu, f64::NAN).is_nan());
        assert!(at(Activation::LeakyRelu, f64::NAN).is_nan());
    }
}
