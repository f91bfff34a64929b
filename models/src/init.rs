//! Seeded initial values: a parameter's numbers depend on the seed and its name alone.

use segcal_core::{Rng, Shape};
use serde::{Deserialize, Serialize};

/// How the weights of a network begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// What PyTorch's convolutions begin with: weight and bias uniform in `[-b, b]`, `b = 1 / sqrt(fan)`, where `fan` is the
    /// number of weights behind one number (Kaiming uniform with `a = sqrt 5`). For a transposed convolution PyTorch
    /// counts the weights of its output channels, and so does this.
    Pytorch,
    /// Normal with variance `2 / ((1 + a^2) fan_in)` before a rectifier of negative slope `a` (He et al. 2015,
    /// equations 10 and 15), `1 / fan_in` before anything else; biases begin at 0.
    He,
}

/// Where the numbers of one tensor come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// One number everywhere.
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
    /// What it begins with.
    pub fill: Fill,
    /// Whether an optimiser changes it.
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

    /// The numbers it begins with.
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

/// FNV-1a, 64 bits: a number for a name that is the same everywhere and for ever.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
