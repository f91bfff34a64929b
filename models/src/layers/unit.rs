//! The building block of every network here: convolution, normalisation, activation.

use std::sync::Arc;

use segcal_core::{Backend, Tensor};

use super::{Activation, Conv, Mode, Norm, NormLayer, joint_norm};
use crate::graph::{Graph, Value};
use crate::init::{Init, Spec};
use crate::params::Parameters;
use crate::parts::Together;

/// `activation(norm(conv(x)))`.
///
/// With normalisation: one convolution, the statistics, one fused pass. Without: one convolution, one fused pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The convolution.
    pub conv: Conv,
    /// The normalisation.
    pub norm: NormLayer,
    /// The activation, applied last.
    pub activation: Activation,
}

impl Unit {
    /// A unit `<name>.conv`, `<name>.norm` with an odd kernel of `size` along each spatial axis, which keeps the
    /// extents. The convolution has a bias only if no normalisation follows, which would cancel it.
    pub fn new(
        name: &str,
        channels: [usize; 2],
        size: usize,
        space: usize,
        norm: Norm,
        activation: Activation,
    ) -> Self {
        let conv = Conv::same(format!("{name}.conv"), channels, size, space, norm == Norm::None);
        Self { conv, norm: NormLayer::new(&format!("{name}.norm"), channels[1], norm), activation }
    }

    /// A convolution without normalisation.
    pub fn bare(conv: Conv, activation: Activation) -> Self {
        let norm = NormLayer::new("", conv.outputs, Norm::None);
        Self { conv, norm, activation }
    }

    /// The tensors.
    pub fn specs(&self, init: Init) -> Vec<Spec> {
        let mut specs = self.conv.specs(init, self.activation);
        specs.extend(self.norm.specs());
        specs
    }

    /// The output.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, x: &Tensor<B>, mode: Mode) -> Tensor<B> {
        self.forward_joined(parameters, vec![x.clone()], mode)
    }

    /// [`Unit::forward`] for an input whose channels are spread over several tensors; see [`Conv::forward_joined`].
    pub fn forward_joined<B: Backend>(&self, parameters: &Parameters<B>, x: Vec<Tensor<B>>, mode: Mode) -> Tensor<B> {
        if self.norm.kind == Norm::None {
            return parameters.passed(&self.conv.name, self.conv.forward_joined(parameters, x, self.activation));
        }
        let y = parameters.passed(&self.conv.name, self.conv.forward_joined(parameters, x, Activation::Identity));
        parameters.passed(&self.norm.name, self.norm.forward(parameters, &y, self.activation, mode))
    }

    /// The same for the parts of a batch, with normalisation statistics over the samples of all parts.
    pub(super) fn forward_together<B: Backend>(
        &self,
        leaves: &[Parameters<B>],
        together: &Arc<dyn Together>,
        x: Vec<Vec<Tensor<B>>>,
    ) -> Vec<Tensor<B>> {
        let convolved = leaves.iter().zip(x).map(|(p, x)| self.conv.forward_joined(p, x, Activation::Identity));
        joint_norm::forward(&self.norm, leaves, together, &convolved.collect::<Vec<_>>(), self.activation)
    }

    /// Adds the unit to the graph, reading the channel-wise concatenation of the values `x`.
    pub fn describe(&self, graph: &mut Graph, x: &[Value]) -> Value {
        if self.norm.kind == Norm::None {
            return self.conv.describe(graph, x, self.activation);
        }
        let y = self.conv.describe(graph, x, Activation::Identity);
        let z = self.norm.describe(graph, y);
        graph.activate(&format!("{}.activation", self.norm.name), self.activation, z)
    }
}
