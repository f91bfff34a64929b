//! The brick of every network here: convolution, normalisation, activation.

use segcal_core::{Backend, Tensor};

use super::{Activation, Conv, Mode, Norm};
use crate::graph::{Graph, Value};
use crate::init::{Init, Spec};
use crate::params::Parameters;

/// `activation(norm(conv(x)))`. The convolution has a bias exactly where no normalisation would take it away again.
///
/// With normalisation: one convolution, the statistics, one fused pass. Without: one convolution, one fused pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The convolution, `<name>.conv`.
    pub conv: Conv,
    /// The normalisation, `<name>.norm`.
    pub norm: Norm,
    /// What comes last.
    pub activation: Activation,
    name: String,
}

impl Unit {
    /// A unit with an odd kernel of `size` along each axis of the space, which keeps the extents.
    pub fn new(
        name: &str,
        channels: [usize; 2],
        size: usize,
        space: usize,
        norm: Norm,
        activation: Activation,
    ) -> Self {
        let conv = Conv::same(format!("{name}.conv"), channels, size, space, norm == Norm::None);
        Self { conv, norm, activation, name: format!("{name}.norm") }
    }

    /// The tensors.
    pub fn specs(&self, init: Init) -> Vec<Spec> {
        let mut specs = self.conv.specs(init, self.activation);
        specs.extend(self.norm.specs(&self.name, self.conv.outputs));
        specs
    }

    /// The output.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, x: &Tensor<B>, mode: Mode) -> Tensor<B> {
        self.forward_joined(parameters, vec![x.clone()], mode)
    }

    /// The same for an input whose channels lie in several tensors; see [`Conv::forward_joined`].
    pub fn forward_joined<B: Backend>(&self, parameters: &Parameters<B>, x: Vec<Tensor<B>>, mode: Mode) -> Tensor<B> {
        if self.norm == Norm::None {
            return parameters.passed(&self.conv.name, self.conv.forward_joined(parameters, x, self.activation));
        }
        let y = parameters.passed(&self.conv.name, self.conv.forward_joined(parameters, x, Activation::Identity));
        parameters.passed(&self.name, self.norm.forward(parameters, &self.name, &y, self.activation, mode))
    }

    /// Puts the unit behind values whose channels lie one after the other.
    pub fn describe(&self, graph: &mut Graph, x: &[Value]) -> Value {
        if self.norm == Norm::None {
            return self.conv.describe(graph, x, self.activation);
        }
        let y = self.conv.describe(graph, x, Activation::Identity);
        let z = self.norm.describe(graph, &self.name, y);
        graph.activate(&format!("{}.activation", self.name), self.activation, z)
    }
}
