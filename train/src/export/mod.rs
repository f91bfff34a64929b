//! Trained networks for other programs: ONNX.
//!
//! The file holds the network alone, with a softmax behind it. What must be done before and after (intensities, tiles,
//! mixing) stands in its metadata, under the keys that a run's config has.
//!
//! Who runs the file computes in its own way: an instance norm of ONNX Runtime 1.31 is less exact the larger the map, 2e-5
//! of a standard deviation at 64 x 64 and 3e-4 at 512 x 512 (`tests/peers/instance_norm.py`, 2026-11-22).

mod files;
mod onnx;

use prost::Message;
use segcal_core::{Backend, Elem, Result};
use segcal_models::graph::{Layer, Node, Value};
use segcal_models::layers::Activation;
use segcal_models::{Network, NetworkConfig, Parameters};

pub use files::export;
use onnx::{
    Attribute, Entry, GraphProto, IR_VERSION, Model, NodeProto, OPERATORS, OperatorSet, TensorProto, ValueInfo,
};

/// The bytes of an ONNX file (operator set 20) that computes a network: input `image`
/// `[batch, in_channels, (depth,) height, width]` with extents that are multiples of the network's stride, outputs
/// `logits` and `probabilities`.
///
/// # Errors
/// The device cannot be read.
pub fn onnx<B: Backend>(
    network: &dyn Network<B>,
    parameters: &Parameters<B>,
    metadata: &[(&str, String)],
) -> Result<Vec<u8>> {
    let config = network.config();
    let graph = network.graph();
    let mut writer = Writer { config, nodes: Vec::new(), tensors: Vec::new(), last: graph.nodes().len() - 1 };
    for (number, node) in graph.nodes().iter().enumerate().skip(1) {
        writer.layer(number, node);
    }
    let softmax = vec![Attribute::int("axis", 1)];
    writer.push("probabilities", "Softmax", &["logits".into()], "probabilities", softmax);
    for parameter in parameters.iter() {
        let values = parameter.value.to_vec()?.into_iter().map(|x| x.f64() as f32);
        writer.tensors.push(TensorProto::new(&parameter.name, &parameter.dims, values));
    }
    let value = |name, channels| ValueInfo::image(name, channels, config.dims);
    let graph = GraphProto {
        nodes: writer.nodes,
        name: config.name.clone(),
        tensors: writer.tensors,
        inputs: vec![value("image", config.in_channels)],
        outputs: vec![value("logits", config.classes), value("probabilities", config.classes)],
    };
    let entry = |(key, value): &(&str, String)| Entry { key: format!("segcal.{key}"), value: value.clone() };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "segcal".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        operators: vec![OperatorSet { version: OPERATORS }],
        metadata: metadata.iter().map(entry).collect(),
    };
    Ok(model.encode_to_vec())
}

/// Nodes and tensors as they are added.
struct Writer<'a> {
    config: &'a NetworkConfig,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// Number of the node that gives the logits.
    last: usize,
}

impl Writer<'_> {
    /// Name of a node's output.
    fn name(&self, number: usize) -> String {
        match number {
            0 => "image".into(),
            _ if number == self.last => "logits".into(),
            _ => format!("value_{number}"),
        }
    }

    fn push(&mut self, name: &str, operator: &str, inputs: &[String], output: &str, attributes: Vec<Attribute>) {
        self.nodes.push(NodeProto {
            inputs: inputs.to_vec(),
            outputs: vec![output.into()],
            name: name.into(),
            operator: operator.into(),
            attributes,
        });
    }

    /// Of `[d, h, w]` what the network's space has.
    fn spatial(&self, extents: [usize; 3]) -> Vec<usize> {
        extents[3 - self.config.dims..].to_vec()
    }

    fn layer(&mut self, number: usize, node: &Node) {
        let mut inputs: Vec<String> = node.inputs.iter().copied().map(Value::number).map(|i| self.name(i)).collect();
        let output = self.name(number);
        let ints = |name: &str, extents: [usize; 3]| Attribute::ints(name, self.spatial(extents));
        let (operator, attributes) = match &node.layer {
            Layer::Image => unreachable!("the image is the first node"),
            Layer::Conv { weight, bias, kernel, geometry, standardised: None } => {
                inputs.extend([weight].into_iter().chain(bias).cloned());
                let pad = self.spatial(geometry.pad);
                let attributes = vec![
                    ints("kernel_shape", *kernel),
                    ints("strides", geometry.stride),
                    ints("dilations", geometry.dilation),
                    Attribute::ints("pads", [&pad[..], &pad[..]].concat()),
                    Attribute::int("group", geometry.groups),
                ];
                ("Conv", attributes)
            }
            Layer::ConvTranspose { weight, bias, factors } => {
                inputs.extend([weight].into_iter().chain(bias).cloned());
                ("ConvTranspose", vec![ints("kernel_shape", *factors), ints("strides", *factors)])
            }
            Layer::GroupNorm { weight: Some(weight), bias: Some(bias), epsilon, channels, groups }
                if channels == groups =>
            {
                inputs.extend([weight.clone(), bias.clone()]);
                ("InstanceNormalization", vec![Attribute::float("epsilon", *epsilon)])
            }
            Layer::BatchNorm { weight: Some(weight), bias: Some(bias), mean, variance, epsilon, .. } => {
                inputs.extend([weight, bias, mean, variance].map(Clone::clone));
                ("BatchNormalization", vec![Attribute::float("epsilon", *epsilon)])
            }
            Layer::Activation(Activation::Silu) => {
                let gate = format!("{output}_gate");
                self.push(&format!("{}.gate", node.name), "Sigmoid", &inputs, &gate, Vec::new());
                inputs.push(gate);
                ("Mul", Vec::new())
            }
            Layer::Activation(activation) => pointwise(*activation),
            Layer::MaxPool { size, stride, pad: [0, 0, 0] } => {
                ("MaxPool", vec![ints("kernel_shape", *size), ints("strides", *stride)])
            }
            Layer::Nearest(factors) | Layer::Linear { factors, aligned: false } => {
                let linear = matches!(node.layer, Layer::Linear { .. });
                let scales = format!("{}.scales", node.name);
                let factors: Vec<f32> = [1, 1].into_iter().chain(self.spatial(*factors)).map(|x| x as f32).collect();
                self.tensors.push(TensorProto::new(&scales, &[factors.len()], factors));
                // The second input, a region of interest, is for another mode.
                inputs.extend([String::new(), scales]);
                ("Resize", resize(linear))
            }
            Layer::Concat => ("Concat", vec![Attribute::int("axis", 1)]),
            other => unreachable!("no network of the list has {other:?}"),
        };
        self.push(&node.name, operator, &inputs, &output, attributes);
    }
}

fn resize(linear: bool) -> Vec<Attribute> {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, text)| Attribute::text(name, text)).collect();
    if linear {
        text(&[("mode", "linear"), ("coordinate_transformation_mode", "half_pixel")])
    } else {
        text(&[("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")])
    }
}

fn pointwise(activation: Activation) -> (&'static str, Vec<Attribute>) {
    match activation {
        Activation::Identity => ("Identity", Vec::new()),
        Activation::Relu => ("Relu", Vec::new()),
        Activation::LeakyRelu => ("LeakyRelu", vec![Attribute::float("alpha", Activation::LEAK)]),
        Activation::Silu => unreachable!("two operators"),
        Activation::Gelu => ("Gelu", vec![Attribute::text("approximate", "tanh")]),
        Activation::GeluExact => ("Gelu", Vec::new()),
        Activation::Sigmoid => ("Sigmoid", Vec::new()),
        Activation::Leaky { percent } => ("LeakyRelu", vec![Attribute::float("alpha", f64::from(percent) / 100.0)]),
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::Reference;
    use segcal_models::build;
    use segcal_models::layers::{Norm, Upsampling};

    use super::*;

    fn exported(config: &NetworkConfig) -> Model {
        let network = build::<Reference>(config).unwrap();
        let parameters = network.parameters(1, &Reference);
        let bytes = onnx(&*network, &parameters, &[("classes", "[\"a\",\"b\"]".into())]).unwrap();
        Model::decode(&bytes[..]).unwrap()
    }

    /// Every name that is read was written before, and every tensor has as many numbers as its extents say.
    #[test]
    fn every_input_is_there_before_it_is_used() {
        for dims in [2, 3] {
            for norm in [Norm::None, Norm::Instance, Norm::Batch] {
                for (upsample, activation) in [
                    (Upsampling::Nearest, Activation::Relu),
                    (Upsampling::Linear, Activation::Silu),
                    (Upsampling::Transposed, Activation::Gelu),
                ] {
                    let config = NetworkConfig { dims, ..NetworkConfig::default() }
                        .with("levels", 3)
                        .with("base", 2)
                        .with("norm", norm)
                        .with("upsample", upsample)
                        .with("activation", activation);
                    let graph = exported(&config).graph.unwrap();
                    let mut known: Vec<String> = graph.tensors.iter().map(|tensor| tensor.name.clone()).collect();
                    known.extend(["image".into(), String::new()]);
                    for node in &graph.nodes {
                        let missing = node.inputs.iter().find(|input| !known.contains(input));
                        assert_eq!(missing, None, "{} of {config:?}", node.name);
                        known.extend(node.outputs.iter().cloned());
                    }
                    assert!(graph.outputs.iter().all(|output| known.contains(&output.name)));
                    for tensor in &graph.tensors {
                        assert_eq!(tensor.raw.len() as i64, 4 * tensor.dims.iter().product::<i64>(), "{}", tensor.name);
                    }
                }
            }
        }
    }

    #[test]
    fn extents_are_those_of_the_space_and_others_are_free() {
        for (dims, names) in [(2, &["height", "width"][..]), (3, &["depth", "height", "width"])] {
            let config =
                NetworkConfig { dims, classes: 2, ..NetworkConfig::default() }.with("levels", 2).with("base", 2);
            let model = exported(&config);
            assert_eq!(model.metadata[0].key, "segcal.classes");
            let graph = model.graph.unwrap();
            let shape = graph.inputs[0].kind.as_ref().unwrap().tensor.as_ref().unwrap().shape.as_ref().unwrap();
            let found: Vec<_> = shape.axes.iter().skip(2).map(|axis| axis.name.clone().unwrap()).collect();
            assert_eq!((found, shape.axes[1].extent), (names.iter().map(ToString::to_string).collect(), Some(1)));
            let conv = graph.nodes.iter().find(|node| node.operator == "Conv").unwrap();
            let of = |name: &str| conv.attributes.iter().find(|attribute| attribute.name == name).unwrap().ints.clone();
            assert_eq!((of("kernel_shape"), of("pads")), (vec![3; dims], vec![1; 2 * dims]));
        }
    }
}
