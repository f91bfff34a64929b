//! Convolution.

use segcal_core::{Backend, Builder, Expr, Geometry, Shape, Tensor, axis, custom, ops};

use super::Activation;
use crate::graph::{Graph, Layer, Value};
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
        self.forward_joined(parameters, vec![x.clone()], activation)
    }

    /// The same where the channels of `x` lie in several tensors, one after the other: the sum of the convolutions of
    /// each with its part of the weight, so that nothing is joined in memory. Each tensor is let go of when it has been
    /// convolved. Panics if a group spans two of them.
    pub fn forward_joined<B: Backend>(
        &self,
        parameters: &Parameters<B>,
        x: Vec<Tensor<B>>,
        activation: Activation,
    ) -> Tensor<B> {
        assert!(x.len() == 1 || self.geometry.groups == 1, "{}: a group would span several tensors", self.name);
        let weight = parameters.get(&format!("{}.weight", self.name));
        let (mut first, whole) = (0, x.len() == 1);
        let terms = x.into_iter().map(|part| {
            let channels = if whole { weight.shape().c() } else { part.shape().c() };
            let share = part_of(weight, first, channels);
            first += channels;
            ops::conv(&part, &share, &self.geometry)
        });
        let terms: Vec<Tensor<B>> = terms.collect();
        let bias = self.bias.then(|| parameters.get(&format!("{}.bias", self.name)));
        add_bias(&terms, bias, activation)
    }

    /// Puts the layer behind values whose channels lie one after the other.
    pub fn describe(&self, graph: &mut Graph, x: &[Value], activation: Activation) -> Value {
        let joined = if let [x] = x { *x } else { graph.add(&format!("{}.concat", self.name), Layer::Concat, x) };
        let layer = Layer::Conv {
            weight: format!("{}.weight", self.name),
            bias: self.bias.then(|| format!("{}.bias", self.name)),
            kernel: self.kernel,
            geometry: self.geometry,
        };
        let y = graph.add(&self.name, layer, &[joined]);
        graph.activate(&format!("{}.activation", self.name), activation, y)
    }
}

/// The input channels `first .. first + channels` of a weight.
fn part_of<B: Backend>(weight: &Tensor<B>, first: usize, channels: usize) -> Tensor<B> {
    if channels == weight.shape().c() {
        return weight.clone();
    }
    ops::slice(weight, [0, first, 0, 0, 0], weight.shape().with(axis::C, channels))
}

/// `activation(y + bias)` with `y` the sum of the terms, in one pass; the only term itself if there is nothing to do.
pub(super) fn add_bias<B: Backend>(terms: &[Tensor<B>], bias: Option<&Tensor<B>>, activation: Activation) -> Tensor<B> {
    let inputs: Vec<&Tensor<B>> = terms.iter().chain(bias).collect();
    match activation {
        Activation::Identity if inputs.len() == 1 => inputs[0].clone(),
        Activation::Silu | Activation::Gelu => ops::map(&inputs, |p| activation.value(sum(p, inputs.len()))),
        Activation::Identity | Activation::Relu | Activation::LeakyRelu => add_in_place(&inputs, activation),
    }
}

/// The same for an activation whose value tells the side of the kink: with `g` the gradient of the value, that of every
/// term is `g activation'(z)`, read from the sign of the value, and that of the bias its sum over each channel. The
/// output is all that is kept, as if the first term had been overwritten.
fn add_in_place<B: Backend>(inputs: &[&Tensor<B>], activation: Activation) -> Tensor<B> {
    let terms: Vec<Tensor<B>> = inputs.iter().map(|input| input.detach()).collect();
    let output = ops::map(&terms.iter().collect::<Vec<_>>(), |p| activation.value(sum(p, inputs.len())));
    let values = (activation != Activation::Identity).then(|| output.clone());
    let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
    custom(inputs, &output, move |gradient| {
        let whole = values.map_or_else(
            || gradient.clone(),
            |values| ops::map(&[&values, gradient], |p| activation.gradient(p.input(0), p.input(1))),
        );
        let to = |&shape: &Shape| {
            if shape == whole.shape() { whole.clone() } else { ops::sum(&[&whole], shape, |p| p.input(0)) }
        };
        shapes.iter().map(|shape| Some(to(shape))).collect()
    })
}

/// The sum of the first `count` inputs.
fn sum(p: &Builder, count: usize) -> Expr<'_> {
    (1..count).fold(p.input(0), |sum, number| sum + p.input(number))
}
