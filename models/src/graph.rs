//! What a network computes, as a graph of standard layers: for export to other programs.
//!
//! A [`Graph`] names tensors and holds none, and knows no extents but those of kernels: it is true for inputs of any
//! size. The layers of [`layers`](crate::layers) put themselves into it, so that a network describes itself in the few
//! lines in which it computes.

use segcal_core::Geometry;

use crate::layers::Activation;

/// A value in a [`Graph`]: the output of one of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

impl Value {
    /// Number of the node that gives it.
    pub fn number(self) -> usize {
        self.0
    }
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// The input, `[n, in_channels, d, h, w]`.
    Image,
    /// A convolution.
    Conv {
        /// Name of its weight.
        weight: String,
        /// Name of its bias.
        bias: Option<String>,
        /// Extents of its kernel.
        kernel: [usize; 3],
        /// Stride, padding, dilation, groups.
        geometry: Geometry,
    },
    /// A transposed convolution whose kernel and stride are the same, so that windows lie side by side.
    ConvTranspose {
        /// Name of its weight.
        weight: String,
        /// Name of its bias.
        bias: String,
        /// Kernel and stride.
        factors: [usize; 3],
    },
    /// `weight (x - mean) / sqrt(variance + epsilon) + bias` over the voxels of each channel of each sample.
    InstanceNorm {
        /// Name of the factors.
        weight: String,
        /// Name of the summands.
        bias: String,
        /// What keeps the root away from 0.
        epsilon: f64,
    },
    /// The same with stored statistics.
    BatchNorm {
        /// Name of the factors.
        weight: String,
        /// Name of the summands.
        bias: String,
        /// Name of the means.
        mean: String,
        /// Name of the variances.
        variance: String,
        /// What keeps the root away from 0.
        epsilon: f64,
    },
    /// A pointwise non-linearity.
    Activation(Activation),
    /// The maximum of tiles of these extents.
    MaxPool([usize; 3]),
    /// Repeats voxels by these factors.
    Nearest([usize; 3]),
    /// Mixes neighbours linearly, voxel centres at half-integers.
    Linear([usize; 3]),
    /// Channels one after the other.
    Concat,
}

/// A layer with its place among the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name of the layer, unique but for nodes that belong together.
    pub name: String,
    /// What it does.
    pub layer: Layer,
    /// What it does it to.
    pub inputs: Vec<Value>,
}

/// Layers in the order in which they can be computed; the first is the image, the last gives the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
}

impl Default for Graph {
    fn default() -> Self {
        Self { nodes: vec![Node { name: "image".into(), layer: Layer::Image, inputs: Vec::new() }] }
    }
}

impl Graph {
    /// The input.
    pub fn image(&self) -> Value {
        Value(0)
    }

    /// Adds a layer. Panics if an input is not there yet.
    pub fn add(&mut self, name: &str, layer: Layer, inputs: &[Value]) -> Value {
        assert!(inputs.iter().all(|input| input.0 < self.nodes.len()), "{name}: an input comes later");
        self.nodes.push(Node { name: name.into(), layer, inputs: inputs.to_vec() });
        Value(self.nodes.len() - 1)
    }

    /// Adds an activation behind a layer, unless it is the identity.
    pub fn activate(&mut self, name: &str, activation: Activation, x: Value) -> Value {
        if activation == Activation::Identity { x } else { self.add(name, Layer::Activation(activation), &[x]) }
    }

    /// Every node in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::{Interpolation, Program, Reference, Shape, Tensor, axis, ops};

    use super::*;
    use crate::layers::{Mode, Norm, Upsampling};
    use crate::{NetworkConfig, Parameters, build};

    /// The graph computed layer by layer with the plainest operations.
    fn evaluate(graph: &Graph, p: &Parameters<Reference>, image: &Tensor<Reference>) -> Tensor<Reference> {
        let mut values: Vec<Tensor<Reference>> = Vec::new();
        for node in graph.nodes() {
            let inputs: Vec<Tensor<Reference>> = node.inputs.iter().map(|input| values[input.0].clone()).collect();
            let value = layer(&node.layer, p, image, &inputs);
            values.push(value);
        }
        values.pop().unwrap()
    }

    fn layer(
        layer: &Layer,
        p: &Parameters<Reference>,
        image: &Tensor<Reference>,
        inputs: &[Tensor<Reference>],
    ) -> Tensor<Reference> {
        let x = inputs.first().unwrap_or(image);
        let scaled =
            |factors: [usize; 3]| x.shape().with_spatial(std::array::from_fn(|a| x.shape().spatial()[a] * factors[a]));
        let norm = |mean: &Tensor<Reference>, variance: &Tensor<Reference>, weight: &str, bias: &str, epsilon: f64| {
            ops::map(&[x, mean, variance, p.get(weight), p.get(bias)], |q| {
                (q.input(0) - q.input(1)) / (q.input(2) + epsilon).sqrt() * q.input(3) + q.input(4)
            })
        };
        match layer {
            Layer::Image => image.clone(),
            Layer::Conv { weight, bias, kernel, geometry } => {
                assert_eq!(p.get(weight).shape().spatial(), *kernel);
                let y = ops::conv(x, p.get(weight), geometry);
                bias.as_ref().map_or(y.clone(), |bias| ops::map(&[&y, p.get(bias)], |q| q.input(0) + q.input(1)))
            }
            Layer::ConvTranspose { weight, bias, factors } => {
                let geometry = Geometry { stride: *factors, ..Geometry::VALID };
                let out = scaled(*factors).with(axis::C, p.get(weight).shape().c());
                let y = ops::conv_transpose(x, p.get(weight), &geometry, out);
                ops::map(&[&y, p.get(bias)], |q| q.input(0) + q.input(1))
            }
            Layer::InstanceNorm { weight, bias, epsilon } => {
                let (over, share) = (x.shape().with_spatial([1; 3]), 1.0 / x.shape().voxels() as f64);
                let mean = ops::sum(&[x], over, |q| q.input(0) * share);
                let variance = ops::sum(&[x, &mean], over, |q| (q.input(0) - q.input(1)).square() * share);
                norm(&mean, &variance, weight, bias, *epsilon)
            }
            Layer::BatchNorm { weight, bias, mean, variance, epsilon } => {
                norm(p.get(mean), p.get(variance), weight, bias, *epsilon)
            }
            Layer::Activation(activation) => {
                let program = Program::new(|q| activation.value(q.input(0)));
                let values = x.to_f64().unwrap().into_iter().map(|x| program.eval::<f64>(&[x], &[], [0; 5])[0]);
                Tensor::new(&Reference, x.shape(), values.collect())
            }
            Layer::MaxPool(tile) => ops::max_pool(x, &segcal_core::Window::tiles(*tile)),
            Layer::Nearest(factors) => ops::upsample(x, *factors, Interpolation::Nearest),
            Layer::Linear(factors) => ops::upsample(x, *factors, Interpolation::Linear),
            Layer::Concat => ops::concat(&inputs.iter().collect::<Vec<_>>(), axis::C),
        }
    }

    /// Every kind of norm, activation and up-sampling, in two and three dimensions, in double precision.
    #[test]
    fn a_graph_computes_what_its_network_does() {
        for dims in [2, 3] {
            for norm in [Norm::None, Norm::Instance, Norm::Batch] {
                for (upsample, activation) in [
                    (Upsampling::Nearest, Activation::Relu),
                    (Upsampling::Linear, Activation::Silu),
                    (Upsampling::Transposed, Activation::LeakyRelu),
                    (Upsampling::Transposed, Activation::Gelu),
                ] {
                    let config = NetworkConfig {
                        dims,
                        in_channels: 2,
                        classes: 3,
                        levels: Some(3),
                        base: Some(2),
                        norm: Some(norm),
                        upsample: Some(upsample),
                        activation: Some(activation),
                        ..NetworkConfig::default()
                    };
                    let network = build::<Reference>(&config).unwrap();
                    let parameters = network.parameters(3, &Reference);
                    let shape = Shape::new(2, 2, if dims == 3 { 8 } else { 1 }, 8, 16);
                    let values = (0..shape.len()).map(|i| ((i * 37 % 101) as f64 - 50.0) / 40.0).collect();
                    let image = Tensor::new(&Reference, shape, values);
                    let expected = network.forward(&parameters, &image, Mode::Evaluate).to_f64().unwrap();
                    let found = evaluate(&network.graph(), &parameters, &image).to_f64().unwrap();
                    let largest = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
                    let apart = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    assert!(apart <= 1e-12 * largest, "{config:?}: {apart:e} of {largest}");
                }
            }
        }
    }
}
