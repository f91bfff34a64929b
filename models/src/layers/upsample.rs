//! Up-sampling by whole factors.

use segcal_core::{Backend, Geometry, Interpolation, Shape, Tensor, ops};
use serde::{Deserialize, Serialize};

use super::Activation;
use super::conv::add_bias;
use crate::graph::{Graph, Layer, Value};
use crate::init::{Fill, Init, Spec};
use crate::params::Parameters;

/// How a decoder enlarges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upsampling {
    /// Repeats voxels.
    Nearest,
    /// Mixes neighbours linearly, voxel centres at half-integers (`align_corners = false`).
    Linear,
    /// A learnt transposed convolution with bias, kernel and stride equal to the factors.
    Transposed,
}

/// An up-sampling layer. Only the transposed kind has tensors (`<name>.weight` `[in, out, (kd,) kh, kw]` and
/// `<name>.bias` `[out]`) and changes the number of channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsample {
    /// Name of the layer.
    pub name: String,
    /// How it enlarges.
    pub kind: Upsampling,
    /// By how much along `[d, h, w]`.
    pub factors: [usize; 3],
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output of the transposed kind.
    pub outputs: usize,
    /// Number of spatial dimensions, 2 or 3.
    pub space: usize,
}

impl Upsample {
    /// Channels of the output.
    pub fn channels(&self) -> usize {
        if self.kind == Upsampling::Transposed { self.outputs } else { self.inputs }
    }

    /// The tensors. Each output voxel is made of one tap of each input channel.
    pub fn specs(&self, init: Init) -> Vec<Spec> {
        if self.kind != Upsampling::Transposed {
            return Vec::new();
        }
        let [kd, kh, kw] = self.factors;
        let shape = Shape::new(self.inputs, self.outputs, kd, kh, kw);
        let (weight, bias) = match init {
            Init::Pytorch => {
                let bound = ((self.outputs * shape.voxels()) as f64).sqrt().recip();
                (Fill::Uniform(bound), Fill::Uniform(bound))
            }
            Init::He => (Fill::Normal((self.inputs as f64).sqrt().recip()), Fill::Constant(0.0)),
        };
        vec![
            Spec::weight(format!("{}.weight", self.name), shape, self.space, weight),
            Spec::per_channel(format!("{}.bias", self.name), self.outputs, bias),
        ]
    }

    /// Puts the layer behind a value.
    pub fn describe(&self, graph: &mut Graph, x: Value) -> Value {
        let factors = self.factors;
        let layer = match self.kind {
            Upsampling::Nearest => Layer::Nearest(factors),
            Upsampling::Linear => Layer::Linear(factors),
            Upsampling::Transposed => {
                let (weight, bias) = (format!("{}.weight", self.name), format!("{}.bias", self.name));
                Layer::ConvTranspose { weight, bias, factors }
            }
        };
        graph.add(&self.name, layer, &[x])
    }

    /// The enlarged tensor.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, x: &Tensor<B>) -> Tensor<B> {
        match self.kind {
            Upsampling::Nearest => ops::upsample(x, self.factors, Interpolation::Nearest),
            Upsampling::Linear => ops::upsample(x, self.factors, Interpolation::Linear),
            Upsampling::Transposed => {
                let geometry = Geometry { stride: self.factors, ..Geometry::VALID };
                let spatial = std::array::from_fn(|axis| x.shape().spatial()[axis] * self.factors[axis]);
                let out = x.shape().with(1, self.outputs).with_spatial(spatial);
                let weight = parameters.get(&format!("{}.weight", self.name));
                let y = ops::conv_transpose(x, weight, &geometry, out);
                add_bias(&[y], Some(parameters.get(&format!("{}.bias", self.name))), Activation::Identity)
            }
        }
    }
}
