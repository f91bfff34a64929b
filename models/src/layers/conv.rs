//! Convolution.

use segcal_core::{Backend, Geometry, Shape, Tensor, custom, ops};

use super::Activation;
use crate::init::{Fill, Init, Spec};
use crate::params::Parameters;

/// A convolution of any kernel, in two or three dimensions, with or without bias.
///
/// `weight` is `[out, in / groups, (kd,) kh, kw]`, `bias` `[out]`. In a 2-D network the kernel's depth is 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Name of the layer; its tensors are `<name>.weight` and `<name>.bias`.
    pub name: String,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Extents of the kernel.
    pub kernel: [usize; 3],
    /// Stride, padding, dilation, groups.
    pub geometry: Geometry,
    /// Number of spatial dimensions, 2 or 3: how many extents of the kernel a checkpoint names.
    pub space: usize,
    /// Whether a number per output channel is added.
    pub bias: bool,
}

impl Conv {
    /// Stride 1 and the padding that keeps the extents, for an odd kernel of `size` along each axis of the space.
    pub fn same(name: String, [inputs, outputs]: [usize; 2], size: usize, space: usize, bias: bool) -> Self {
        let kernel = [if space == 3 { size } else { 1 }, size, size];
        Self { name, inputs, outputs, kernel, geometry: Geometry::same(kernel), space, bias }
    }

    /// The tensors, when `activation` follows.
    pub fn specs(&self, init: Init, activation: Activation) -> Vec<Spec> {
        let per_group = self.inputs / self.geometry.groups;
        let shape = Shape::new(self.outputs, per_group, self.kernel[0], self.kernel[1], self.kernel[2]);
        let fan_in = (per_group * shape.voxels()) as f64;
        let (weight, bias) = match (init, activation.rectifier_slope()) {
            (Init::Pytorch, _) => (Fill::Uniform(fan_in.sqrt().recip()), Fill::Uniform(fan_in.sqrt().recip())),
            (Init::He, Some(a)) => (Fill::Normal((2.0 / ((1.0 + a * a) * fan_in)).sqrt()), Fill::Constant(0.0)),
            (Init::He, None) => (Fill::Normal(fan_in.sqrt().recip()), Fill::Constant(0.0)),
        };
        let mut specs = vec![Spec::weight(format!("{}.weight", self.name), shape, self.space, weight)];
        specs.extend(self.bias.then(|| Spec::per_channel(format!("{}.bias", self.name), self.outputs, bias)));
        specs
    }

    /// `activation(weight * x + bias)`: one convolution and at most one further pass.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, x: &Tensor<B>, activation: Activation) -> Tensor<B> {
        let y = ops::conv(x, parameters.get(&format!("{}.weight", self.name)), &self.geometry);
        let bias = self.bias.then(|| parameters.get(&format!("{}.bias", self.name)));
        add_bias(y, bias, activation)
    }
}

/// `activation(y + bias)` in one pass; `y` itself if there is nothing to do.
pub(super) fn add_bias<B: Backend>(y: Tensor<B>, bias: Option<&Tensor<B>>, activation: Activation) -> Tensor<B> {
    match (bias, activation) {
        (Some(bias), Activation::Silu | Activation::Gelu) => {
            ops::map(&[&y, bias], |p| activation.value(p.input(0) + p.input(1)))
        }
        (Some(bias), _) => add_bias_in_place(&y, bias, activation),
        (None, Activation::Identity) => y,
        (None, _) => ops::map(&[&y], |p| activation.value(p.input(0))),
    }
}

/// The same for an activation whose value tells the side of the kink: with `g` the gradient of the value, that of `y` is
/// `g activation'(z)`, read from the sign of the value, and that of the bias its sum over each channel. The output is all
/// that is kept, as if `y` had been overwritten.
fn add_bias_in_place<B: Backend>(y: &Tensor<B>, bias: &Tensor<B>, activation: Activation) -> Tensor<B> {
    let output = ops::map(&[&y.detach(), &bias.detach()], |p| activation.value(p.input(0) + p.input(1)));
    let (values, channels) = ((activation != Activation::Identity).then(|| output.clone()), bias.shape());
    custom(&[y, bias], &output, move |gradient| {
        let to_y = values.map_or_else(
            || gradient.clone(),
            |values| ops::map(&[&values, gradient], |p| activation.gradient(p.input(0), p.input(1))),
        );
        let to_bias = ops::sum(&[&to_y], channels, |p| p.input(0));
        vec![Some(to_y), Some(to_bias)]
    })
}
