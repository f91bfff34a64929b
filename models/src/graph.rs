//! What a network computes, as a graph of standard layers: for export to other programs.
//!
//! A [`Graph`] refers to tensors by name and stores none. It contains no extents other than those of kernels, so it
//! holds for inputs of any size. The layers of [`layers`](crate::layers) add themselves to it, so that the few lines in
//! which a network computes also describe it.

use segcal_core::Geometry;

use crate::layers::Activation;

/// A value in a [`Graph`]: the output of one of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

impl Value {
    /// Index of the node that computes it.
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
        /// The epsilon of a weight that is standardised per output channel.
        standardised: Option<f64>,
    },
    /// A transposed convolution with equal kernel and stride, so that windows do not overlap.
    ConvTranspose {
        /// Name of its weight.
        weight: String,
        /// Name of its bias.
        bias: Option<String>,
        /// Kernel and stride.
        factors: [usize; 3],
    },
    /// `weight (x - mean) / sqrt(variance + epsilon) + bias` over the voxels of each group of channels of each sample.
    GroupNorm {
        /// Name of the weight.
        weight: Option<String>,
        /// Name of the bias.
        bias: Option<String>,
        /// Added to the variance under the root.
        epsilon: f64,
        /// Number of channels.
        channels: usize,
        /// Number of groups; equal to the number of channels for an instance norm.
        groups: usize,
    },
    /// The same over the channels of each voxel.
    LayerNorm {
        /// Name of the weight.
        weight: Option<String>,
        /// Name of the bias.
        bias: Option<String>,
        /// Added to the variance under the root.
        epsilon: f64,
        /// Number of channels.
        channels: usize,
    },
    /// The same with stored statistics.
    BatchNorm {
        /// Name of the weight.
        weight: Option<String>,
        /// Name of the bias.
        bias: Option<String>,
        /// Name of the means.
        mean: String,
        /// Name of the variances.
        variance: String,
        /// Added to the variance under the root.
        epsilon: f64,
        /// Number of channels.
        channels: usize,
    },
    /// A pointwise non-linearity.
    Activation(Activation),
    /// The maximum of windows; voxels outside the input count as minus infinity.
    MaxPool {
        /// Extents of the window.
        size: [usize; 3],
        /// Stride of the window.
        stride: [usize; 3],
        /// Padding on both sides, in voxels.
        pad: [usize; 3],
    },
    /// The mean of tiles of these extents.
    AveragePool([usize; 3]),
    /// Repeats voxels by these factors.
    Nearest([usize; 3]),
    /// Interpolates linearly.
    Linear {
        /// Factors by which the extents grow.
        factors: [usize; 3],
        /// Whether the outermost voxels are aligned; otherwise voxel centres are at half-integers.
        aligned: bool,
    },
    /// Concatenates along the channels.
    Concat,
    /// The sum of all inputs.
    Add,
    /// The product of two inputs, the second with one channel.
    Multiply,
    /// Pads with zeros after the last voxel of each axis.
    PadEnd([usize; 3]),
    /// Softmax attention of queries, keys and values, each `[n, c, 1, h, w]` with a token per voxel.
    Attention {
        /// Number of heads, each of consecutive channels.
        heads: usize,
        /// Number of channels.
        channels: usize,
        /// Rows and columns of tokens.
        grid: [usize; 2],
    },
    /// Adds a table `[1, tokens, c]`, one row for each voxel.
    Positions {
        /// Name of the table.
        table: String,
        /// Rows and columns of tokens.
        grid: [usize; 2],
    },
}

/// A layer with its name and its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name of the layer, unique except for nodes that belong together.
    pub name: String,
    /// The operation.
    pub layer: Layer,
    /// The values that it is applied to.
    pub inputs: Vec<Value>,
}

/// Layers in an order in which they can be computed; the first is the image, the last computes the logits.
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

    /// Adds a layer. Panics if an input has not been added yet.
    pub fn add(&mut self, name: &str, layer: Layer, inputs: &[Value]) -> Value {
        assert!(inputs.iter().all(|input| input.0 < self.nodes.len()), "{name}: an input must be computed earlier");
        self.nodes.push(Node { name: name.into(), layer, inputs: inputs.to_vec() });
        Value(self.nodes.len() - 1)
    }

    /// Adds an activation after a layer, unless it is the identity.
    pub fn activate(&mut self, name: &str, activation: Activation, x: Value) -> Value {
        if activation == Activation::Identity { x } else { self.add(name, Layer::Activation(activation), &[x]) }
    }

    /// Name of the weight of the last convolution, which computes the logits.
    pub fn head(&self) -> Option<&str> {
        self.nodes.iter().rev().find_map(|node| match &node.layer {
            Layer::Conv { weight, .. } => Some(weight.as_str()),
            _ => None,
        })
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
        match layer {
            Layer::Image => image.clone(),
            Layer::Conv { weight, bias, kernel, geometry, standardised } => {
                let weight = p.get(weight);
                assert_eq!(weight.shape().spatial(), *kernel);
                let over = Shape::SCALAR.with(axis::N, weight.shape().n());
                let weight = standardised.map_or(weight.clone(), |epsilon| standardise(weight, over, epsilon));
                let y = ops::conv(x, &weight, geometry);
                bias.as_ref().map_or(y.clone(), |bias| ops::map(&[&y, p.get(bias)], |q| q.input(0) + q.input(1)))
            }
            Layer::ConvTranspose { weight, bias, factors } => {
                let geometry = Geometry { stride: *factors, ..Geometry::VALID };
                let out = scaled(*factors).with(axis::C, p.get(weight).shape().c());
                let y = ops::conv_transpose(x, p.get(weight), &geometry, out);
                bias.as_ref().map_or(y.clone(), |bias| ops::map(&[&y, p.get(bias)], |q| q.input(0) + q.input(1)))
            }
            Layer::GroupNorm { .. } | Layer::LayerNorm { .. } | Layer::BatchNorm { .. } => norm(layer, p, x),
            Layer::Activation(activation) => {
                let program = Program::new(|q| activation.value(q.input(0)));
                let values = x.to_f64().unwrap().into_iter().map(|x| program.eval::<f64>(&[x], &[], [0; 5])[0]);
                Tensor::new(&Reference, x.shape(), values.collect())
            }
            Layer::MaxPool { size, stride, pad } => max_pool(x, *size, *stride, *pad),
            Layer::AveragePool(tile) => {
                let channels = x.shape().c();
                let share = 1.0 / tile.iter().product::<usize>() as f64;
                let weight = Shape::new(channels, 1, tile[0], tile[1], tile[2]);
                let geometry = Geometry { stride: *tile, groups: channels, ..Geometry::VALID };
                ops::conv(x, &Tensor::full(&Reference, weight, share), &geometry)
            }
            Layer::Nearest(factors) => ops::upsample(x, *factors, Interpolation::Nearest),
            Layer::Linear { factors, aligned: false } => ops::upsample(x, *factors, Interpolation::Linear),
            Layer::Linear { factors, .. } => {
                let (from, to) = (x.shape().spatial(), scaled(*factors).spatial());
                let step = std::array::from_fn(|a| (from[a] - 1) as f64 / (to[a] - 1).max(1) as f64);
                ops::resample(x, &segcal_core::Sampling::axes(step, [0.0; 3], Interpolation::Linear), to)
            }
            Layer::Add => ops::sum_of(inputs),
            Layer::Multiply => ops::map(&[&inputs[0], &inputs[1]], |q| q.input(0) * q.input(1)),
            Layer::PadEnd(after) => ops::pad(x, [0; 3], *after),
            Layer::Positions { table, .. } => {
                let (rows, shape) = (p.get(table).to_f64().unwrap(), x.shape());
                let (channels, tokens) = (shape.c(), shape.voxels());
                let turned = (0..channels * tokens).map(|i| rows[i % tokens * channels + i / tokens]).collect();
                let table = Tensor::new(&Reference, shape.with(axis::N, 1), turned);
                ops::map(&[x, &table], |q| q.input(0) + q.input(1))
            }
            Layer::Attention { heads, .. } => attention(inputs, *heads),
            Layer::Concat => ops::concat(&inputs.iter().collect::<Vec<_>>(), axis::C),
        }
    }

    fn scale(
        x: &Tensor<Reference>,
        mean: &Tensor<Reference>,
        variance: &Tensor<Reference>,
        epsilon: f64,
    ) -> Tensor<Reference> {
        ops::map(&[x, mean, variance], |q| (q.input(0) - q.input(1)) / (q.input(2) + epsilon).sqrt())
    }

    /// Over the axes that are 1 in `over`.
    fn standardise(x: &Tensor<Reference>, over: Shape, epsilon: f64) -> Tensor<Reference> {
        let share = over.len() as f64 / x.shape().len() as f64;
        let mean = ops::sum(&[x], over, |q| q.input(0) * share);
        let variance = ops::sum(&[x, &mean], over, |q| (q.input(0) - q.input(1)).square() * share);
        scale(x, &mean, &variance, epsilon)
    }

    fn norm(layer: &Layer, p: &Parameters<Reference>, x: &Tensor<Reference>) -> Tensor<Reference> {
        let affine = |x: Tensor<Reference>, weight: &Option<String>, bias: &Option<String>| {
            let (Some(weight), Some(bias)) = (weight, bias) else { return x };
            ops::map(&[&x, p.get(weight), p.get(bias)], |q| q.input(0) * q.input(1) + q.input(2))
        };
        match layer {
            Layer::GroupNorm { weight, bias, epsilon, channels, groups } => {
                let per_group = channels / groups;
                let parts = (0..*groups).map(|group| {
                    let part = ops::slice(x, [0, group * per_group, 0, 0, 0], x.shape().with(axis::C, per_group));
                    standardise(&part, Shape::SCALAR.with(axis::N, x.shape().n()), *epsilon)
                });
                let parts: Vec<_> = parts.collect();
                affine(ops::concat(&parts.iter().collect::<Vec<_>>(), axis::C), weight, bias)
            }
            Layer::LayerNorm { weight, bias, epsilon, .. } => {
                affine(standardise(x, x.shape().with(axis::C, 1), *epsilon), weight, bias)
            }
            Layer::BatchNorm { weight, bias, mean, variance, epsilon, .. } => {
                affine(scale(x, p.get(mean), p.get(variance), *epsilon), weight, bias)
            }
            other => unreachable!("{other:?} is not a norm"),
        }
    }

    /// The largest number of each window that lies inside.
    fn max_pool(x: &Tensor<Reference>, size: [usize; 3], stride: [usize; 3], pad: [usize; 3]) -> Tensor<Reference> {
        let (numbers, shape) = (x.to_f64().unwrap(), x.shape());
        let extent = |a: usize| (shape.spatial()[a] + 2 * pad[a] - size[a]) / stride[a] + 1;
        let out = shape.with_spatial([extent(0), extent(1), extent(2)]);
        let largest = |place: usize| {
            let [n, c, rest @ ..] = out.coordinate(place);
            let taps = Shape::new(1, 1, size[0], size[1], size[2]);
            let inside = (0..taps.len()).filter_map(|tap| {
                let [_, _, tap @ ..] = taps.coordinate(tap);
                let at =
                    |a: usize| (rest[a] * stride[a] + tap[a]).checked_sub(pad[a]).filter(|&i| i < shape.spatial()[a]);
                Some(numbers[shape.offset([n, c, at(0)?, at(1)?, at(2)?])])
            });
            inside.fold(f64::NEG_INFINITY, f64::max)
        };
        Tensor::new(&Reference, out, (0..out.len()).map(largest).collect())
    }

    /// One number at a time.
    fn attention(inputs: &[Tensor<Reference>], heads: usize) -> Tensor<Reference> {
        let shape = inputs[0].shape();
        let (tokens, width) = (shape.voxels(), shape.c() / heads);
        let [q, k, v] = [0, 1, 2].map(|i| inputs[i].to_f64().unwrap());
        let mut mixed = vec![0.0; shape.len()];
        for head in 0..shape.n() * heads {
            let at = |channel: usize, token: usize| (head * width + channel) * tokens + token;
            for query in 0..tokens {
                let score = |key| (0..width).map(|c| q[at(c, query)] * k[at(c, key)]).sum::<f64>();
                let shares: Vec<f64> = (0..tokens).map(|key| (score(key) / (width as f64).sqrt()).exp()).collect();
                let total: f64 = shares.iter().sum();
                for c in 0..width {
                    mixed[at(c, query)] = (0..tokens).map(|key| shares[key] * v[at(c, key)]).sum::<f64>() / total;
                }
            }
        }
        Tensor::new(&Reference, shape, mixed)
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
                    let config = NetworkConfig { dims, in_channels: 2, classes: 3, ..NetworkConfig::default() }
                        .with("levels", 3)
                        .with("base", 2)
                        .with("norm", norm)
                        .with("upsample", upsample)
                        .with("activation", activation);
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
