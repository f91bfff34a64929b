//! The layers that a network is built from.

use segcal_core::{Backend, Shape, Tensor, axis, ops};

use super::conv::add_bias;
use super::{
    Activation, Attention, Dropout, MaxPool, Mode, Norm, NormLayer, Positions, Unit, Upsample, average_pool, joint_norm,
};
use crate::graph::{Graph, Layer, Value};
use crate::init::{Init, Spec};
use crate::params::Parameters;
use crate::parts::Parts;

/// A named layer. A new kind of layer needs an arm in each function here.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Convolution, norm and activation of the channel-wise concatenation of the inputs.
    Unit(Unit),
    /// Up-sampling.
    Upsample(Upsample),
    /// Normalisation without activation.
    Norm(NormLayer),
    /// Maximum pooling.
    MaxPool(MaxPool),
    /// The mean over tiles with extents of 1 or 2.
    AveragePool(String, [usize; 3]),
    /// The sum of all inputs, followed by an activation.
    Sum(String, Activation),
    /// The product of a map and a single-channel map (the gate of Oktay et al. 2018).
    Gate(String),
    /// Channel-wise concatenation, where the result is needed in memory.
    Concat(String),
    /// Zeros after the last voxel of each axis.
    PadEnd(String, [usize; 3]),
    /// Attention over queries, keys and values.
    Attention(Attention),
    /// A table of learnt positions.
    Positions(Positions),
    /// Dropout.
    Dropout(Dropout),
}

impl Block {
    /// The tensors.
    pub fn specs(&self, init: Init) -> Vec<Spec> {
        match self {
            Self::Unit(unit) => unit.specs(init),
            Self::Upsample(upsample) => upsample.specs(init),
            Self::Norm(norm) => norm.specs(),
            Self::Positions(positions) => positions.specs(),
            _ => Vec::new(),
        }
    }

    /// The output for these inputs.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, mut x: Vec<Tensor<B>>, mode: Mode) -> Tensor<B> {
        match self {
            Self::Unit(unit) => unit.forward_joined(parameters, x, mode),
            Self::Upsample(upsample) => parameters.passed(&upsample.name, upsample.forward(parameters, &x[0])),
            Self::Norm(norm) => {
                parameters.passed(&norm.name, norm.forward(parameters, &x[0], Activation::Identity, mode))
            }
            Self::MaxPool(pool) => pool.forward(&x[0]),
            Self::AveragePool(_, tile) => average_pool(&x[0], *tile),
            Self::Sum(name, activation) => parameters.passed(name, add_bias(&x, None, *activation)),
            Self::Gate(name) => parameters.passed(name, ops::map(&[&x[0], &x[1]], |p| p.input(0) * p.input(1))),
            Self::Concat(_) => ops::concat(&x.iter().collect::<Vec<_>>(), axis::C),
            Self::PadEnd(_, after) => ops::pad(&x[0], [0; 3], *after),
            Self::Attention(layer) => parameters.passed(&layer.name, layer.forward([&x[0], &x[1], &x[2]])),
            Self::Positions(positions) => parameters.passed(&positions.name, positions.forward(parameters, &x[0])),
            Self::Dropout(dropout) if mode == Mode::Train => dropout.forward(parameters, &x[0]),
            Self::Dropout(_) => x.remove(0),
        }
    }

    /// The outputs of the parts of a batch, given the inputs of each part.
    pub fn forward_parts<B: Backend>(
        &self,
        parts: &Parts<'_, B>,
        x: Vec<Vec<Tensor<B>>>,
        mode: Mode,
    ) -> Vec<Tensor<B>> {
        let leaves = parts.leaves();
        let together = |norm: &NormLayer| parts.together().filter(|_| norm.kind == Norm::Batch && mode == Mode::Train);
        match self {
            Self::Unit(unit) if let Some(together) = together(&unit.norm) => unit.forward_together(leaves, together, x),
            Self::Norm(norm) if let Some(together) = together(norm) => {
                joint_norm::forward(norm, leaves, together, &x.concat(), Activation::Identity)
            }
            _ => leaves.iter().zip(x).map(|(leaves, x)| self.forward(leaves, x, mode)).collect(),
        }
    }

    /// Adds the layer to the graph, reading the values `x`.
    pub fn describe(&self, graph: &mut Graph, x: &[Value]) -> Value {
        let (name, layer) = match self {
            Self::Unit(unit) => return unit.describe(graph, x),
            Self::Upsample(upsample) => return upsample.describe(graph, x[0]),
            Self::Norm(norm) => return norm.describe(graph, x[0]),
            Self::Dropout(_) => return x[0],
            Self::Sum(name, activation) => {
                let sum = graph.add(name, Layer::Add, x);
                return graph.activate(&format!("{name}.activation"), *activation, sum);
            }
            Self::MaxPool(MaxPool { name, size, stride, pad }) => {
                (name, Layer::MaxPool { size: *size, stride: *stride, pad: *pad })
            }
            Self::AveragePool(name, tile) => (name, Layer::AveragePool(*tile)),
            Self::Gate(name) => (name, Layer::Multiply),
            Self::Concat(name) => (name, Layer::Concat),
            Self::PadEnd(name, after) => (name, Layer::PadEnd(*after)),
            Self::Attention(Attention { name, heads, channels, grid }) => {
                (name, Layer::Attention { heads: *heads, channels: *channels, grid: *grid })
            }
            Self::Positions(Positions { name, grid, .. }) => {
                (name, Layer::Positions { table: name.clone(), grid: *grid })
            }
        };
        graph.add(name, layer, x)
    }

    /// Shape of the output; `None` if the inputs do not fit.
    pub fn output(&self, x: &[Shape]) -> Option<Shape> {
        let first = *x.first()?;
        let joined = first.with(axis::C, x.iter().map(|x| x.c()).sum());
        let alike = x.iter().all(|x| x.n() == first.n() && x.spatial() == first.spatial());
        match self {
            Self::Unit(unit) => unit.conv.output(first).filter(|_| alike && joined.c() == unit.conv.inputs),
            Self::Upsample(upsample) => Some(upsample.output(first)),
            Self::MaxPool(pool) => pool.output(first),
            Self::AveragePool(_, tile) => {
                let whole = (0..3).all(|axis| first.spatial()[axis].is_multiple_of(tile[axis]));
                let spatial = std::array::from_fn(|axis| first.spatial()[axis] / tile[axis]);
                whole.then(|| first.with_spatial(spatial))
            }
            Self::Concat(_) => alike.then_some(joined),
            Self::PadEnd(_, after) => {
                Some(first.with_spatial(std::array::from_fn(|axis| first.spatial()[axis] + after[axis])))
            }
            Self::Positions(positions) => {
                let [rows, columns] = positions.grid;
                (first.spatial() == [1, rows, columns]).then_some(first)
            }
            Self::Sum(..) | Self::Gate(_) | Self::Attention(_) => alike.then_some(first),
            Self::Norm(_) | Self::Dropout(_) => Some(first),
        }
    }

    /// Whether a norm would compute its statistics from a single number for an output of this shape.
    pub(crate) fn is_starved(&self, output: Shape) -> bool {
        match self {
            Self::Unit(unit) => unit.norm.is_starved(output),
            Self::Norm(norm) => norm.is_starved(output),
            _ => false,
        }
    }
}
