//! Collects the nodes and tensors of an ONNX graph.

use segcal_core::{Backend, Elem, Result};
use segcal_models::Parameters;

use super::onnx::{Attribute, NodeProto, TensorProto};

/// A graph that is being written.
pub(super) struct Writer {
    /// Spatial dimensions of the network, 2 or 3.
    pub(super) dims: usize,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) tensors: Vec<TensorProto>,
    /// Name, extents and numbers of every parameter.
    parameters: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Writer {
    /// An empty graph over these parameters.
    ///
    /// # Errors
    /// The device cannot be read.
    pub(super) fn new<B: Backend>(dims: usize, parameters: &Parameters<B>) -> Result<Self> {
        let host = parameters.iter().map(|parameter| {
            let numbers = parameter.value.to_vec()?.into_iter().map(|x| x.f64() as f32).collect();
            Ok((parameter.name.clone(), parameter.dims.clone(), numbers))
        });
        Ok(Self { dims, nodes: Vec::new(), tensors: Vec::new(), parameters: host.collect::<Result<_>>()? })
    }

    /// Adds an operator and returns the name of its output.
    pub(super) fn push(
        &mut self,
        name: &str,
        operator: &str,
        inputs: &[String],
        output: &str,
        attributes: Vec<Attribute>,
    ) -> String {
        self.nodes.push(NodeProto {
            inputs: inputs.to_vec(),
            outputs: vec![output.into()],
            name: name.into(),
            operator: operator.into(),
            attributes,
        });
        output.into()
    }

    /// The values of `[d, h, w]` for the network's spatial axes.
    pub(super) fn spatial(&self, extents: [usize; 3]) -> Vec<usize> {
        extents[3 - self.dims..].to_vec()
    }

    /// An attribute with the extents along the network's spatial axes.
    pub(super) fn extents(&self, name: &str, extents: [usize; 3]) -> Attribute {
        Attribute::ints(name, self.spatial(extents))
    }

    /// Extents and numbers of a parameter.
    pub(super) fn parameter(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let found = self.parameters.iter().find(|(known, _, _)| known == name);
        let (_, dims, numbers) = found.expect("a graph names parameters of its network");
        (dims.clone(), numbers.clone())
    }

    /// Adds a parameter under its own name and extents.
    pub(super) fn own(&mut self, name: &str) -> String {
        let (dims, numbers) = self.parameter(name);
        self.constant(name, &dims, numbers)
    }

    /// Adds constants; those of one name are stored once.
    pub(super) fn constant(&mut self, name: &str, dims: &[usize], numbers: Vec<f32>) -> String {
        if self.tensors.iter().all(|tensor| tensor.name != name) {
            self.tensors.push(TensorProto::new(name, dims, numbers));
        }
        name.into()
    }

    /// Adds whole numbers, such as a shape.
    pub(super) fn whole(&mut self, name: &str, numbers: &[i64]) -> String {
        self.tensors.push(TensorProto::whole(name, numbers));
        name.into()
    }

    /// The extents that broadcast one number per channel over the spatial axes.
    pub(super) fn per_channel(&self, channels: usize) -> Vec<usize> {
        let mut dims = vec![1; 2 + self.dims];
        dims[1] = channels;
        dims
    }
}
