//! Up-sampling by whole factors.

use segcal_core::{Backend, Geometry, Interpolation, Sampling, Shape, Tensor, ops};
use serde::{Deserialize, Serialize};

use super::Activation;
use super::conv::add_bias;
use crate::graph::{Graph, Layer, Value};
use crate::init::{Init, Spec};
use crate::params::Parameters;

/// How a decoder up-samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upsampling {
    /// Repeats voxels.
    #[default]
    Nearest,
    /// Interpolates linearly, with voxel centres at half-integers (`align_corners = false`).
    Linear,
    /// A learnt transposed convolution with kernel and stride equal to the factors.
    Transposed,
    /// Interpolates linearly, with the outermost voxels aligned (`align_corners = true`).
    #[serde(skip)]
    Aligned,
}

/// An up-sampling layer. Only the transposed kind has tensors (`<name>.weight` `[in, out, (kd,) kh, kw]` and
/// `<name>.bias` `[out]`) and changes the number of channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsample {
    /// Name of the layer.
    pub name: String,
    /// The method.
    pub kind: Upsampling,
    /// Factors along `[d, h, w]`.
    pub factors: [usize; 3],
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output of the transposed kind.
    pub outputs: usize,
    /// Number of spatial dimensions, 2 or 3.
    pub space: usize,
    /// Whether the transposed kind adds a bias for each output channel.
    pub bias: bool,
}

impl Upsample {
    /// A layer without tensors, which keeps the channels.
    pub fn fixed(name: &str, kind: Upsampling, factors: [usize; 3], channels: usize) -> Self {
        Self { name: name.into(), kind, factors, inputs: channels, outputs: channels, space: 3, bias: false }
    }

    /// Channels of the output.
    pub fn channels(&self) -> usize {
        if self.kind == Upsampling::Transposed { self.outputs } else { self.inputs }
    }

    /// The tensors. Each output voxel is computed from one tap of each input channel.
    pub fn specs(&self, init: Init) -> Vec<Spec> {
        if self.kind != Upsampling::Transposed {
            return Vec::new();
        }
        let [kd, kh, kw] = self.factors;
        let shape = Shape::new(self.inputs, self.outputs, kd, kh, kw);
        let [weight, bias] = init.transposed(self.inputs, self.outputs, shape.voxels());
        let mut specs = vec![Spec::weight(format!("{}.weight", self.name), shape, self.space, weight)];
        specs.extend(self.bias.then(|| Spec::per_channel(format!("{}.bias", self.name), self.outputs, bias)));
        specs
    }

    /// Adds the layer to a graph.
    pub fn describe(&self, graph: &mut Graph, x: Value) -> Value {
        let factors = self.factors;
        let layer = match self.kind {
            Upsampling::Nearest => Layer::Nearest(factors),
            Upsampling::Linear => Layer::Linear { factors, aligned: false },
            Upsampling::Aligned => Layer::Linear { factors, aligned: true },
            Upsampling::Transposed => {
                let weight = format!("{}.weight", self.name);
                Layer::ConvTranspose { weight, bias: self.bias.then(|| format!("{}.bias", self.name)), factors }
            }
        };
        graph.add(&self.name, layer, &[x])
    }

    /// Shape of the output.
    pub(crate) fn output(&self, x: Shape) -> Shape {
        let spatial = std::array::from_fn(|axis| x.spatial()[axis] * self.factors[axis]);
        x.with(1, self.channels()).with_spatial(spatial)
    }

    /// Returns the up-sampled tensor.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, x: &Tensor<B>) -> Tensor<B> {
        let (input, output) = (x.shape().spatial(), self.output(x.shape()));
        match self.kind {
            Upsampling::Nearest => ops::upsample(x, self.factors, Interpolation::Nearest),
            Upsampling::Linear => ops::upsample(x, self.factors, Interpolation::Linear),
            Upsampling::Aligned => ops::resample(x, &aligned(input, output.spatial()), output.spatial()),
            Upsampling::Transposed => {
                let geometry = Geometry { stride: self.factors, ..Geometry::VALID };
                let weight = parameters.get(&format!("{}.weight", self.name));
                let y = ops::conv_transpose(x, weight, &geometry, output);
                let bias = self.bias.then(|| parameters.get(&format!("{}.bias", self.name)));
                add_bias(&[y], bias, Activation::Identity)
            }
        }
    }
}

/// Linear resampling from `input` to `output` voxels with the outermost voxels aligned.
pub(crate) fn aligned(input: [usize; 3], output: [usize; 3]) -> Sampling {
    let step = |axis: usize| (input[axis] - 1) as f64 / (output[axis] - 1).max(1) as f64;
    Sampling::axes(std::array::from_fn(step), [0.0; 3], Interpolation::Linear)
}
