//! Convolution.

use segcal_core::{Backend, Builder, Expr, Geometry, Shape, Tensor, axis, custom, ops};

use super::Activation;
use super::norm::{Statistics, normalise};
use crate::graph::{Graph, Layer, Value};
use crate::init::{Init, Spec};
use crate::params::Parameters;

/// A convolution with any kernel, in two or three dimensions, with or without bias.
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
    /// Number of spatial dimensions, 2 or 3: the number of kernel extents in a checkpoint.
    pub space: usize,
    /// Whether to add a bias for each output channel.
    pub bias: bool,
    /// Whether the weight is standardised: `(w - mean) / sqrt(variance + 1e-5)` with mean and biased variance over all
    /// weights of an output channel (Qiao et al. 2019).
    pub standardised: bool,
}

/// Added to the variance under the root of [`Conv::standardised`].
const STANDARDISED_EPSILON: f64 = 1e-5;

impl Conv {
    /// Stride 1 and the padding that preserves the extents, for an odd kernel of `size` along each spatial axis.
    pub fn same(name: String, [inputs, outputs]: [usize; 2], size: usize, space: usize, bias: bool) -> Self {
        let kernel = [if space == 3 { size } else { 1 }, size, size];
        Self { bias, ..Self::strided(name, [inputs, outputs], kernel, [1; 3], space) }
    }

    /// Any odd kernel and any stride, padded by half the kernel, without bias.
    pub fn strided(
        name: String,
        [inputs, outputs]: [usize; 2],
        kernel: [usize; 3],
        stride: [usize; 3],
        space: usize,
    ) -> Self {
        let geometry = Geometry { stride, ..Geometry::same(kernel) };
        Self { name, inputs, outputs, kernel, geometry, space, bias: false, standardised: false }
    }

    /// The tensors, initialised for the `activation` that follows.
    pub fn specs(&self, init: Init, activation: Activation) -> Vec<Spec> {
        let per_group = self.inputs / self.geometry.groups;
        let shape = Shape::new(self.outputs, per_group, self.kernel[0], self.kernel[1], self.kernel[2]);
        let [weight, bias] = init.conv(per_group * shape.voxels(), self.outputs * shape.voxels(), activation);
        let mut specs = vec![Spec::weight(format!("{}.weight", self.name), shape, self.space, weight)];
        specs.extend(self.bias.then(|| Spec::per_channel(format!("{}.bias", self.name), self.outputs, bias)));
        specs
    }

    /// `activation(weight * x + bias)`: one convolution and at most one further pass.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, x: &Tensor<B>, activation: Activation) -> Tensor<B> {
        self.forward_joined(parameters, vec![x.clone()], activation)
    }

    /// As [`Conv::forward`], for channels of `x` spread over several tensors: sums the convolutions of each tensor with
    /// its part of the weight, so that no concatenation is built in memory. Each tensor is dropped once it has been
    /// convolved. Panics if a group spans two of them.
    pub fn forward_joined<B: Backend>(
        &self,
        parameters: &Parameters<B>,
        x: Vec<Tensor<B>>,
        activation: Activation,
    ) -> Tensor<B> {
        assert!(x.len() == 1 || self.geometry.groups == 1, "{}: a group would span several tensors", self.name);
        let weight = &self.weight(parameters);
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

    /// The weight as used in the convolution.
    fn weight<B: Backend>(&self, parameters: &Parameters<B>) -> Tensor<B> {
        let weight = parameters.get(&format!("{}.weight", self.name));
        if !self.standardised {
            return weight.clone();
        }
        let over = Shape::SCALAR.with(axis::N, self.outputs);
        let [one, zero] = [1.0, 0.0].map(|value| Tensor::full(weight.backend(), Shape::SCALAR, value));
        normalise(weight, &one, &zero, &Statistics::of(weight, over, STANDARDISED_EPSILON), Activation::Identity)
    }

    /// Shape of the output; `None` if the kernel is larger than the padded input.
    pub(crate) fn output(&self, x: Shape) -> Option<Shape> {
        let per_group = self.inputs / self.geometry.groups;
        let weight = Shape::new(self.outputs, per_group, 1, 1, 1).with_spatial(self.kernel);
        self.geometry.output(x.with(axis::C, self.inputs), weight)
    }

    /// Adds the layer to a graph, applied to the concatenation of `x` along the channels.
    pub fn describe(&self, graph: &mut Graph, x: &[Value], activation: Activation) -> Value {
        let joined = if let [x] = x { *x } else { graph.add(&format!("{}.concat", self.name), Layer::Concat, x) };
        let layer = Layer::Conv {
            weight: format!("{}.weight", self.name),
            bias: self.bias.then(|| format!("{}.bias", self.name)),
            kernel: self.kernel,
            geometry: self.geometry,
            standardised: self.standardised.then_some(STANDARDISED_EPSILON),
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

/// `activation(y + bias)` with `y` the sum of the terms, in one pass; the single term itself if there is nothing to do.
///
/// With `g` the gradient of the value, that of every term is `g activation'(z)`, and that of the bias its sum over each
/// channel. The slope of a rectifier is derived from the sign of the value, so that only the output is kept, as if the
/// first term had been overwritten; other activations keep the terms.
pub(crate) fn add_bias<B: Backend>(terms: &[Tensor<B>], bias: Option<&Tensor<B>>, activation: Activation) -> Tensor<B> {
    let inputs: Vec<&Tensor<B>> = terms.iter().chain(bias).collect();
    let count = inputs.len();
    if activation == Activation::Identity && count == 1 {
        return inputs[0].clone();
    }
    let values: Vec<Tensor<B>> = inputs.iter().map(|input| input.detach()).collect();
    let output = ops::map(&values.iter().collect::<Vec<_>>(), |p| activation.value(sum(p, count)));
    let kept = match activation {
        Activation::Identity => Vec::new(),
        _ if activation.is_rectifier() => vec![output.clone()],
        _ => values,
    };
    let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
    custom(&inputs, &output, move |gradient| {
        let whole = if kept.is_empty() {
            gradient.clone()
        } else {
            let read: Vec<&Tensor<B>> = kept.iter().chain([gradient]).collect();
            ops::map(&read, |p| activation.gradient(sum(p, kept.len()), p.input(kept.len())))
        };
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
