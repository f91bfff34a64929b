//! What the suites share: configs, inputs, a loss.

use std::path::Path;

use segcal_core::{Backend, Rng, Shape, Tensor, ops};
use segcal_models::layers::Upsampling;
use segcal_models::{Extent, Mode, Network, NetworkConfig, Parameter, Parameters, Stored, build, load};

pub(crate) fn authors(base: usize, classes: usize) -> NetworkConfig {
    NetworkConfig { name: "unet-authors".into(), classes, ..NetworkConfig::default() }.with("base", base)
}

pub(crate) fn tiny(dims: usize) -> NetworkConfig {
    NetworkConfig { classes: 3, dims, ..NetworkConfig::default() }.with("levels", 3).with("base", 2)
}

pub(crate) fn noise<B: Backend>(backend: &B, shape: Shape, stream: u64) -> Tensor<B> {
    let rng = Rng::new(11).stream(stream);
    Tensor::from_f64(backend, shape, &(0..shape.len() as u64).map(|i| rng.normal(i)).collect::<Vec<_>>())
}

pub(crate) fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn golden(file: &str) -> Stored {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(file)).unwrap()
}

/// Input and expected output of `network` in a group of a golden file.
fn case<B: Backend>(
    stored: &Stored,
    group: &str,
    backend: &B,
    shape: Shape,
    network: &dyn Network<B>,
) -> [Tensor<B>; 2] {
    let config = network.config();
    let array = |name: &str, channels: usize| {
        let shape = shape.with(1, channels);
        let mut dims = shape.dims().to_vec();
        dims.drain(2..5 - config.dims);
        Parameter { name: name.into(), dims, value: Tensor::zeros(backend, shape), trainable: false }
    };
    let like = Parameters::new(vec![array("x", config.in_channels), array("y", config.classes)]);
    let arrays = stored.restore(group, &like).unwrap();
    ["x", "y"].map(|name| arrays.get(name).clone())
}

fn difference<B: Backend>(network: &dyn Network<B>, parameters: &Parameters<B>, [x, y]: [Tensor<B>; 2]) -> f64 {
    let output = network.forward(parameters, &x, Mode::Evaluate);
    largest_difference(&output.to_f64().unwrap(), &y.to_f64().unwrap())
}

/// The authors' weights and the output of the authors' code. (The last rectifiers of those weights are silent, so that
/// this sees names, shapes and the head only; [`peer_differences`] sees the rest.)
pub(crate) fn golden_difference<B: Backend>(backend: &B) -> f64 {
    let (stored, network) = (golden("unet_tiny.safetensors"), build::<B>(&authors(2, 3)).unwrap());
    let parameters = network.restore(&stored, backend).unwrap();
    difference(&*network, &parameters, case(&stored, "golden", backend, Shape::new(1, 1, 1, 32, 32), &*network))
}

/// Largest differences from ONNX Runtime (f32): the authors' network with both ways of up-sampling and its weights
/// woken (doubled, biases lifted by 1/4), and ours in 2-D and 3-D.
pub(crate) fn peer_differences<B: Backend>(backend: &B) -> Vec<(&'static str, f64)> {
    let (weights, peers) = (golden("unet_tiny.safetensors"), golden("unet_peers.safetensors"));
    let authors =
        [("authors_nearest", Upsampling::Nearest), ("authors_linear", Upsampling::Linear)].map(|(name, up)| {
            let network = build::<B>(&authors(2, 3).with("upsample", up)).unwrap();
            let stored = network.restore(&weights, backend).unwrap();
            let woken = stored.iter().map(|p| {
                let lifted = p.name.ends_with("conv.bias");
                ops::map(&[&p.value], |q| if lifted { q.input(0) + 0.25 } else { q.input(0) * 2.0 })
            });
            let parameters = stored.with_values(woken.collect());
            let case = case(&peers, name, backend, Shape::new(2, 1, 1, 64, 32), &*network);
            (name, difference(&*network, &parameters, case))
        });
    let deep = Some(vec![Extent::Axes([1, 2, 2]), Extent::Every(2)]);
    let ours = [
        ("flat", NetworkConfig { in_channels: 2, ..tiny(2) }, Shape::new(2, 1, 1, 12, 16)),
        ("deep", NetworkConfig { in_channels: 2, ..tiny(3) }.with("pools", deep), Shape::new(2, 1, 4, 8, 12)),
    ];
    let ours = ours.map(|(name, config, shape)| {
        let network = build::<B>(&config).unwrap();
        let parameters = peers.restore(name, &network.parameters(0, backend)).unwrap();
        let case = case(&peers, &format!("{name}_golden"), backend, shape, &*network);
        (name, difference(&*network, &parameters, case))
    });
    authors.into_iter().chain(ours).collect()
}

/// Two images of one channel that a small network of the list takes: twice its stride high, or square where its extents
/// are fixed.
pub(crate) fn small_image<B: Backend>(network: &dyn Network<B>) -> Shape {
    let [d, h, w] = network.stride();
    match network.config().keys.get("image").and_then(serde_json::Value::as_u64) {
        Some(extent) => Shape::new(2, 1, d, extent as usize, extent as usize),
        None => Shape::new(2, 1, d, 2 * h, w),
    }
}

/// Softmax cross entropy with one class per pixel.
pub(crate) fn cross_entropy<B: Backend>(logits: &Tensor<B>, labels: &Tensor<B>) -> Tensor<B> {
    let target = ops::one_hot(labels, logits.shape().c());
    let log_p = segcal_core::stable::log_softmax(logits);
    let share = 1.0 / (labels.shape().len() as f64);
    ops::sum_all(&[&log_p, &target], |p| p.input(0) * p.input(1) * -share)
}

/// Stripes that a few steps can learn, and their labels.
pub(crate) fn problem<B: Backend>(backend: &B, shape: Shape) -> (Tensor<B>, Tensor<B>) {
    let labels: Vec<f64> =
        (0..shape.len()).map(|i| ((shape.coordinate(i)[4] / 3 + shape.coordinate(i)[3] / 5) % 3) as f64).collect();
    let grain = Rng::new(5);
    let image: Vec<f64> = labels.iter().enumerate().map(|(i, l)| 0.4 * l + 0.1 * grain.normal(i as u64)).collect();
    (Tensor::from_f64(backend, shape, &image), Tensor::from_f64(backend, shape, &labels))
}
