//! Exports trained networks for other programs: ONNX.
//!
//! The file contains only the network, followed by a softmax, or by a sigmoid for regions. What must be done before and
//! after (intensities, tiles, averaging) is described in its metadata, under the keys of a run's config.
//!
//! Every runtime computes in its own way: the instance norm of ONNX Runtime 1.31 becomes less exact as the map grows,
//! 2e-5 of a standard deviation at 64 x 64 and 3e-4 at 512 x 512 (`tests/peers/instance_norm.py`, 2026-11-22).

mod compound;
mod files;
mod onnx;
mod writer;

use prost::Message;
use segcal_core::{Backend, Result};
use segcal_models::graph::{Graph, Layer, Node};
use segcal_models::layers::Activation;
use segcal_models::{Network, Parameters};

use crate::infer::Heads;

pub use files::export;
use onnx::{Attribute, Entry, GraphProto, IR_VERSION, Model, OPERATORS, OperatorSet, ValueInfo};
use writer::Writer;

/// Returns the bytes of an ONNX file (operator set 20) that computes a network: input `image`
/// `[batch, in_channels, (depth,) height, width]` with extents that are multiples of the network's stride, outputs
/// `logits` and `probabilities`. Heads used only in training are left out.
///
/// # Errors
/// The device cannot be read.
pub fn onnx<B: Backend>(
    network: &dyn Network<B>,
    parameters: &Parameters<B>,
    heads: Heads,
    metadata: &[(&str, String)],
) -> Result<Vec<u8>> {
    let config = network.config();
    let mut writer = Writer::new(config.dims, parameters)?;
    layers(&mut writer, &network.graph());
    let (operator, attributes) = match heads {
        Heads::Softmax => ("Softmax", vec![Attribute::int("axis", 1)]),
        Heads::Sigmoid => ("Sigmoid", Vec::new()),
    };
    writer.push("probabilities", operator, &["logits".into()], "probabilities", attributes);
    // Constants, then the parameters in their order.
    let order = |name: &str| parameters.iter().position(|parameter| parameter.name == name);
    writer.tensors.sort_by_key(|tensor| order(&tensor.name));
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

/// Adds every layer of a graph; the last one computes `logits`.
fn layers(writer: &mut Writer, graph: &Graph) {
    let last = graph.nodes().len() - 1;
    let name = |number: usize| match number {
        0 => "image".to_owned(),
        _ if number == last => "logits".into(),
        _ => format!("value_{number}"),
    };
    for (number, node) in graph.nodes().iter().enumerate().skip(1) {
        let inputs: Vec<String> = node.inputs.iter().map(|input| name(input.number())).collect();
        layer(writer, node, inputs, &name(number));
    }
}

fn layer(writer: &mut Writer, node: &Node, mut inputs: Vec<String>, output: &str) {
    let (operator, attributes) = match &node.layer {
        Layer::Image => unreachable!("the image is the first node"),
        Layer::Conv { weight, bias, kernel, standardised, .. } => {
            inputs.push(writer.conv_weight(weight, *kernel, *standardised));
            inputs.extend(bias.as_ref().map(|bias| writer.own(bias)));
            ("Conv", conv_attributes(writer, &node.layer))
        }
        Layer::ConvTranspose { weight, bias, factors } => {
            inputs.extend([weight].into_iter().chain(bias).map(|name| writer.own(name)));
            ("ConvTranspose", vec![writer.extents("kernel_shape", *factors), writer.extents("strides", *factors)])
        }
        Layer::GroupNorm { .. } | Layer::LayerNorm { .. } | Layer::BatchNorm { .. } => {
            return writer.norm(node, inputs.remove(0), output);
        }
        Layer::Attention { .. } => return writer.attention(node, &inputs, output),
        Layer::Positions { .. } => return writer.positions(node, inputs.remove(0), output),
        Layer::Activation(Activation::Silu) => {
            let gate = format!("{output}_gate");
            inputs.push(writer.push(&format!("{}.gate", node.name), "Sigmoid", &inputs, &gate, Vec::new()));
            ("Mul", Vec::new())
        }
        Layer::Activation(activation) => pointwise(*activation),
        Layer::MaxPool { size, stride, pad } => {
            let mut attributes = vec![writer.extents("kernel_shape", *size), writer.extents("strides", *stride)];
            if *pad != [0; 3] {
                let pad = writer.spatial(*pad);
                attributes.push(Attribute::ints("pads", [&pad[..], &pad[..]].concat()));
            }
            ("MaxPool", attributes)
        }
        Layer::AveragePool(tile) => {
            ("AveragePool", vec![writer.extents("kernel_shape", *tile), writer.extents("strides", *tile)])
        }
        Layer::Nearest(factors) | Layer::Linear { factors, .. } => {
            let factors: Vec<f32> = [1, 1].into_iter().chain(writer.spatial(*factors)).map(|x| x as f32).collect();
            let scales = writer.constant(&format!("{}.scales", node.name), &[factors.len()], factors);
            // The second input, a region of interest, is for another mode.
            inputs.extend([String::new(), scales]);
            ("Resize", resize(&node.layer))
        }
        Layer::PadEnd(after) => {
            let after: Vec<i64> = [0, 0].into_iter().chain(writer.spatial(*after)).map(|x| x as i64).collect();
            let pads = [vec![0; after.len()], after].concat();
            inputs.push(writer.whole(&format!("{}.pads", node.name), &pads));
            ("Pad", Vec::new())
        }
        Layer::Concat => ("Concat", vec![Attribute::int("axis", 1)]),
        Layer::Add => ("Sum", Vec::new()),
        Layer::Multiply => ("Mul", Vec::new()),
    };
    writer.push(&node.name, operator, &inputs, output, attributes);
}

fn conv_attributes(writer: &Writer, layer: &Layer) -> Vec<Attribute> {
    let Layer::Conv { kernel, geometry, .. } = layer else { unreachable!("a convolution") };
    let pad = writer.spatial(geometry.pad);
    vec![
        writer.extents("kernel_shape", *kernel),
        writer.extents("strides", geometry.stride),
        writer.extents("dilations", geometry.dilation),
        Attribute::ints("pads", [&pad[..], &pad[..]].concat()),
        Attribute::int("group", geometry.groups),
    ]
}

fn resize(layer: &Layer) -> Vec<Attribute> {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, text)| Attribute::text(name, text)).collect();
    match layer {
        Layer::Linear { aligned, .. } => {
            let corners = if *aligned { "align_corners" } else { "half_pixel" };
            text(&[("mode", "linear"), ("coordinate_transformation_mode", corners)])
        }
        _ => text(&[("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")]),
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
    use segcal_models::layers::{Norm, Upsampling};
    use segcal_models::{NetworkConfig, build, networks};

    use super::*;

    fn exported(config: &NetworkConfig) -> Model {
        let network = build::<Reference>(config).unwrap();
        let parameters = network.parameters(1, &Reference);
        let bytes = onnx(&*network, &parameters, Heads::Softmax, &[("classes", "[\"a\",\"b\"]".into())]).unwrap();
        Model::decode(&bytes[..]).unwrap()
    }

    /// Every name that is read was written before, and every tensor has as many numbers as its extents say.
    fn check_names(config: &NetworkConfig) {
        let graph = exported(config).graph.unwrap();
        let mut known: Vec<String> = graph.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        known.extend(["image".into(), String::new()]);
        for node in &graph.nodes {
            let missing = node.inputs.iter().find(|input| !known.contains(input));
            assert_eq!(missing, None, "{} of {config:?}", node.name);
            known.extend(node.outputs.iter().cloned());
        }
        assert!(graph.outputs.iter().all(|output| known.contains(&output.name)));
        for tensor in &graph.tensors {
            let bytes = if tensor.number_type == onnx::F32 { 4 } else { 8 };
            assert_eq!(tensor.raw.len() as i64, bytes * tensor.dims.iter().product::<i64>(), "{}", tensor.name);
        }
    }

    #[test]
    fn every_input_is_there_before_it_is_used() {
        for dims in [2, 3] {
            for norm in [Norm::None, Norm::Instance, Norm::Batch] {
                for (upsample, activation) in [
                    (Upsampling::Nearest, Activation::Relu),
                    (Upsampling::Linear, Activation::Silu),
                    (Upsampling::Transposed, Activation::Gelu),
                ] {
                    let config = NetworkConfig { dims, ..NetworkConfig::default() }.with("levels", 3).with("base", 2);
                    let config = config.with("norm", norm).with("upsample", upsample).with("activation", activation);
                    check_names(&config);
                }
            }
        }
    }

    #[test]
    fn every_network_of_the_list_can_be_exported() {
        networks().for_each(|entry| check_names(&entry.small_config()));
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
