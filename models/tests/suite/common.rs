//! What the suites share: configs, inputs, a loss.

use std::path::Path;

use segcal_core::{Backend, Rng, Shape, Tensor, ops};
use segcal_models::{Mode, Network, NetworkConfig, Parameter, Parameters, UNet, load};

pub(crate) fn authors(base: usize, classes: usize) -> NetworkConfig {
    NetworkConfig { name: "unet-authors".into(), classes, base: Some(base), ..NetworkConfig::default() }
}

pub(crate) fn tiny(dims: usize) -> NetworkConfig {
    NetworkConfig { classes: 3, dims, levels: Some(3), base: Some(2), ..NetworkConfig::default() }
}

pub(crate) fn noise<B: Backend>(backend: &B, shape: Shape, stream: u64) -> Tensor<B> {
    let rng = Rng::new(11).stream(stream);
    Tensor::from_f64(backend, shape, &(0..shape.len() as u64).map(|i| rng.normal(i)).collect::<Vec<_>>())
}

pub(crate) fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// The output of the authors' code with the authors' weights.
pub(crate) fn golden_difference<B: Backend>(backend: &B) -> f64 {
    let stored = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/unet_tiny.safetensors")).unwrap();
    let network = UNet::new(&authors(2, 3)).unwrap();
    let parameters = stored.restore("", &network.parameters(0, backend)).unwrap();
    let array = |name: &str, channels: usize| Parameter {
        name: name.into(),
        dims: vec![1, channels, 32, 32],
        value: Tensor::zeros(backend, Shape::new(1, channels, 1, 32, 32)),
        trainable: false,
    };
    let golden = stored.restore("golden", &Parameters::new(vec![array("x", 1), array("y", 3)])).unwrap();
    let y = network.forward(&parameters, golden.get("x"), Mode::Evaluate);
    largest_difference(&y.to_f64().unwrap(), &golden.get("y").to_f64().unwrap())
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
