//! What must hold for every network of the list, in the dimensions that it exists in.

use std::collections::BTreeMap;

use super::common::{cross_entropy, noise, problem, small_image};
use segcal_backends::Cpu;
use segcal_core::{Backend, Reference, Rng, Shape, Tensor, ops};
use segcal_models::{
    Gradients, Network, NetworkConfig, Optimiser, Parameters, Rule, build, labels_on_grid, load, networks, save,
};

/// Small networks of every entry, in two dimensions and, where there is such a network, in three.
fn small_networks<B: Backend>() -> Vec<(String, Box<dyn Network<B>>)> {
    let mut list = Vec::new();
    for entry in networks() {
        for dims in [2, 3] {
            let config = NetworkConfig { classes: 3, dims, ..entry.small_config() };
            match build::<B>(&config) {
                Ok(network) => list.push((format!("{} {dims}-D", entry.name), network)),
                Err(error) => assert!(dims == 3 && error.to_string().starts_with("dims: "), "{error}"),
            }
        }
    }
    assert!(list.len() >= 2 * networks().count() - 2);
    list
}

/// The loss of a training step, with all heads and dropout.
fn loss<B: Backend>(network: &dyn Network<B>, p: &Parameters<B>, image: &Tensor<B>, labels: &Tensor<B>) -> Tensor<B> {
    let leaves = p.clone().with_dropout(Rng::new(8));
    let terms = network.outputs(&leaves, image).into_iter().map(|head| {
        let loss = cross_entropy(&head.logits, &labels_on_grid(labels, head.logits.shape().spatial()));
        ops::map(&[&loss], |p| p.input(0) * head.weight)
    });
    ops::sum_of(&terms.collect::<Vec<_>>())
}

/// Distances between the points of the stencil.
const STEPS: [f64; 4] = [1e-6, 3e-7, 1e-7, 3e-8];

/// Derivative of the training loss along a random direction in all parameters and the image against a 5-point stencil.
fn direction_check(network: &dyn Network<Reference>) -> f64 {
    let shape = small_image(network);
    let (image, labels) = problem(&Reference, shape);
    let start = network.parameters(2, &Reference);
    let direction: Vec<Tensor<Reference>> =
        start.iter().enumerate().map(|(i, p)| noise(&Reference, p.value.shape(), 100 + i as u64)).collect();
    let across = noise(&Reference, shape, 99);
    let moved = |x: &Tensor<Reference>, d: &Tensor<Reference>, step: f64| {
        ops::map_over(x.shape(), &[step], &[x, d], |q| q.input(0) + q.scalar(0) * q.input(1))
    };
    let value = |step: f64| {
        let along = |(p, d): (&segcal_models::Parameter<Reference>, _)| {
            moved(&p.value, d, if p.trainable { step } else { 0.0 })
        };
        let parameters = start.with_values(start.iter().zip(&direction).map(along).collect());
        loss(network, &parameters, &moved(&image, &across, step), &labels).item().unwrap()
    };
    let (leaves, image) = (start.tracked(), image.tracked());
    let grads = loss(network, &leaves, &image, &labels).backward();
    let gradients: Gradients<Reference> = leaves.gradients(&grads);
    let inner = |g: &Tensor<Reference>, d: &Tensor<Reference>| {
        ops::sum_all(&[g, d], |p| p.input(0) * p.input(1)).item().unwrap()
    };
    let along = |(i, d): (usize, &Tensor<Reference>)| gradients.get(i).map_or(0.0, |g| inner(g, d));
    let exact: f64 = direction.iter().enumerate().map(along).sum::<f64>() + inner(grads.of(&image).unwrap(), &across);
    let deviation = |h: f64| {
        let stencil = (value(-2.0 * h) - 8.0 * value(-h) + 8.0 * value(h) - value(2.0 * h)) / (12.0 * h);
        (exact - stencil).abs() / exact.abs().max(1e-1)
    };
    // A long step may turn over a rectifier, a short one drowns in rounding; a wrong gradient deviates at every step.
    STEPS.map(deviation).into_iter().fold(f64::INFINITY, f64::min)
}

#[test]
fn the_gradient_of_every_network() {
    let deviations = small_networks().into_iter().map(|(name, network)| (name, direction_check(&*network)));
    let wrong: Vec<(String, f64)> =
        deviations.filter(|(_, deviation)| deviation.is_nan() || *deviation >= 1e-7).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Everything that a run of four steps consists of; optionally stopped half-way, written and read back.
fn run(network: &dyn Network<Cpu>, backend: &Cpu, stop: bool) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let (image, labels) = problem(backend, small_image(network));
    let mut parameters = network.parameters(4, backend);
    let mut optimiser = Optimiser::new(Rule::default(), &parameters).unwrap();
    for step in 0..4 {
        if stop && step == 2 {
            save(&path, &[("", &parameters), ("optimiser", &optimiser.state())], &BTreeMap::new()).unwrap();
            let stored = load(&path).unwrap();
            parameters = network.restore(&stored, backend).unwrap();
            optimiser = Optimiser::new(Rule::default(), &parameters).unwrap();
            optimiser.set_state(&stored.restore("optimiser", &optimiser.state()).unwrap()).unwrap();
        }
        let leaves = parameters.tracked();
        let gradients = leaves.gradients(&loss(network, &leaves, &image, &labels).backward());
        optimiser.step(&mut parameters, &gradients, 1e-2);
    }
    parameters.iter().chain(optimiser.state().iter()).flat_map(|p| p.value.to_f64().unwrap()).collect()
}

#[test]
fn every_network_gives_the_same_bits_with_any_number_of_threads_and_when_resumed() {
    let backends = [1, 2, 3].map(|threads| Cpu::new(Some(threads)).unwrap());
    for (name, network) in small_networks::<Cpu>() {
        let once = run(&*network, &backends[0], false);
        assert!(once.iter().all(|number| number.is_finite()), "{name}");
        assert_eq!(once, run(&*network, &backends[1], false), "{name}, 2 threads");
        assert_eq!(once, run(&*network, &backends[2], true), "{name}, 3 threads and resumed");
    }
}

#[test]
fn dropout_drops_its_share_and_keeps_the_mean() {
    use segcal_models::layers::Dropout;
    let shape = Shape::new(2, 5, 1, 40, 25);
    let (layer, x) = (Dropout { name: "d".into(), rate: 0.2 }, Tensor::full(&Reference, shape, 1.0));
    let empty = Parameters::<Reference>::new(Vec::new());
    let with = |seed| layer.forward(&empty.clone().with_dropout(Rng::new(seed)), &x).to_f64().unwrap();
    assert_eq!(layer.forward(&empty, &x).to_f64().unwrap(), x.to_f64().unwrap(), "off without random numbers");
    assert_eq!(with(3), with(3));
    assert_ne!(with(3), with(4));
    let dropped = with(3).iter().filter(|&&y| y == 0.0).count() as f64 / shape.len() as f64;
    // Five standard errors of a share of 0.2 among 10,000.
    assert!((dropped - 0.2).abs() < 5.0 * (0.16f64 / 10_000.0).sqrt(), "{dropped}");
    assert!(with(3).iter().all(|&y| y == 0.0 || y == 1.25));
}
