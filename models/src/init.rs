//! Seeded initial values: a parameter's numbers depend only on the seed and its name.

use segcal_core::{Rng, Shape};
use serde::{Deserialize, Serialize};

use crate::layers::Activation;

/// Weight initialisation of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// PyTorch's default for convolutions: weight and bias uniform in `[-b, b]`, `b = 1 / sqrt(fan)`, where `fan` is
    /// the number of weights that contribute to one output (Kaiming uniform with `a = sqrt 5`). For a transposed
    /// convolution PyTorch counts the weights per output channel, and so does this.
    #[default]
    Pytorch,
    /// Normal with variance `2 / ((1 + a^2) fan_in)` before a rectifier of negative slope `a` (He et al. 2015,
    /// equations 10 and 15), `1 / fan_in` before anything else; biases begin at 0.
    He,
    /// The initialisation of nnU-Net and MONAI's DynUNet: normal with variance `2 / ((1 + 0.01^2) fan)` whatever
    /// activation follows, with `fan` as PyTorch counts it for [`Init::Pytorch`]; biases begin at 0.
    #[serde(skip)]
    HePytorch,
    /// Uniform in `[-b, b]`, `b = sqrt(6 / fan_in)` (He et al. 2015); biases begin at 0.
    #[serde(skip)]
    HeUniform,
    /// Normal with variance `2 / fan_out` (He et al. 2015, equation 14); biases begin at 0.
    #[serde(skip)]
    HeFanOut,
    /// Uniform in `[-b, b]`, `b = sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010); biases begin
    /// at 0.
    #[serde(skip)]
    Glorot,
    /// [`Init::Glorot`] with biases drawn from a normal distribution with standard deviation 1e-6, as in Vision
    /// Transformers (Dosovitskiy et al. 2021).
    #[serde(skip)]
    GlorotTransformer,
}

impl Init {
    /// Weight and bias of a convolution before an activation.
    pub(crate) fn conv(self, fan_in: usize, fan_out: usize, activation: Activation) -> [Fill; 2] {
        let zero = Fill::Constant(0.0);
        let (inputs, outputs) = (fan_in as f64, fan_out as f64);
        let glorot = Fill::Uniform((6.0 / (inputs + outputs)).sqrt());
        match (self, activation.rectifier_slope()) {
            (Self::Pytorch, _) => [Fill::Uniform(inputs.sqrt().recip()); 2],
            (Self::He, Some(a)) => [Fill::Normal((2.0 / ((1.0 + a * a) * inputs)).sqrt()), zero],
            (Self::He, None) => [Fill::Normal(inputs.sqrt().recip()), zero],
            (Self::HePytorch, _) => [Fill::Normal((2.0 / (1.0001 * inputs)).sqrt()), zero],
            (Self::HeUniform, _) => [Fill::Uniform((6.0 / inputs).sqrt()), zero],
            (Self::HeFanOut, _) => [Fill::Normal((2.0 / outputs).sqrt()), zero],
            (Self::Glorot, _) => [glorot, zero],
            (Self::GlorotTransformer, _) => [glorot, Fill::Normal(1e-6)],
        }
    }

    /// Weight and bias of a transposed convolution with non-overlapping windows of `taps` taps.
    pub(crate) fn transposed(self, inputs: usize, outputs: usize, taps: usize) -> [Fill; 2] {
        match self {
            Self::He => [Fill::Normal((inputs as f64).sqrt().recip()), Fill::Constant(0.0)],
            // PyTorch interprets the weight [in, out, ...] as that of a convolution.
            _ => self.conv(outputs * taps, inputs * taps, Activation::Identity),
        }
    }
}

/// Distribution of the initial values of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// The same number everywhere.
    Constant(f64),
    /// Uniform in `[-bound, bound)`.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

/// The description of one tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// PyTorch-style name.
    pub name: String,
    /// The extents as PyTorch writes them.
    pub dims: Vec<usize>,
    /// The extents on five axes.
    pub shape: Shape,
    /// Its initial values.
    pub fill: Fill,
    /// Whether the optimiser updates it.
    pub trainable: bool,
}

impl Spec {
    /// A trainable number per channel: dims `[c]`, shape `[1, c, 1, 1, 1]`.
    pub fn per_channel(name: String, channels: usize, fill: Fill) -> Self {
        Self { name, dims: vec![channels], shape: Shape::SCALAR.with(1, channels), fill, trainable: true }
    }

    /// A trainable convolution weight of shape `[out, in, kd, kh, kw]`; without the kernel's depth in a 2-D network.
    pub fn weight(name: String, shape: Shape, space: usize, fill: Fill) -> Self {
        let mut dims = shape.dims().to_vec();
        dims.drain(2..5 - space);
        Self { name, dims, shape, fill, trainable: true }
    }

    /// Returns its initial values.
    pub fn values(&self, seed: u64) -> Vec<f64> {
        let rng = Rng::new(seed).stream(name_hash(&self.name));
        let number = |counter: u64| match self.fill {
            Fill::Constant(value) => value,
            Fill::Uniform(bound) => rng.range(counter, -bound, bound),
            Fill::Normal(deviation) => deviation * rng.normal(counter),
        };
        (0..self.shape.len() as u64).map(number).collect()
    }
}

/// FNV-1a, 64 bits: a hash of a name that never changes and is the same on every machine.
pub(crate) fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
