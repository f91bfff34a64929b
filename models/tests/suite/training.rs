//! Networks on `Cpu` against `Reference`: outputs and ten steps of training.

use std::collections::BTreeMap;
use std::path::Path;

use super::common::{authors, cross_entropy, golden_difference, largest_difference, peer_differences, problem, tiny};
use segcal_backends::Cpu;
use segcal_core::{Backend, Reference, Shape};
use segcal_models::layers::Norm;
use segcal_models::{Adam, Mode, NetworkConfig, Optimiser, Rule, build, load, save};

#[test]
fn networks_give_the_numbers_of_others_in_f32() {
    let difference = golden_difference(&Cpu::default());
    assert!(difference < 1e-5, "{difference:e}");
    for (name, difference) in peer_differences(&Cpu::default()) {
        assert!(difference < 1e-5, "{name}: {difference:e}");
    }
}

/// Losses of ten steps of Adam.
fn curve<B: Backend>(backend: &B, config: &NetworkConfig, shape: Shape) -> Vec<f64> {
    let network = build::<B>(config).unwrap();
    let (image, labels) = problem(backend, shape);
    let mut parameters = network.parameters(4, backend);
    let mut optimiser = Optimiser::new(Rule::Adam(Adam::default()), &parameters).unwrap();
    let step = |_| {
        let leaves = parameters.tracked();
        let loss = cross_entropy(&network.forward(&leaves, &image, Mode::Train), &labels);
        let value = loss.item().unwrap();
        let gradients = leaves.gradients(&loss.backward()).clipped(1.0);
        optimiser.step(&mut parameters, &gradients, 1e-2);
        value
    };
    (0..10).map(step).collect()
}

#[test]
fn ten_steps_of_training_are_the_same_on_reference_and_cpu() {
    for (config, shape) in [
        (tiny(2), Shape::new(2, 1, 1, 16, 16)),
        (tiny(3), Shape::new(1, 1, 4, 8, 8)),
        (tiny(2).with("norm", Norm::Batch), Shape::new(2, 1, 1, 16, 16)),
        (authors(4, 3).with("levels", 3), Shape::new(1, 1, 1, 16, 16)),
    ] {
        let slow = curve(&Reference, &config, shape);
        let fast = curve(&Cpu::default(), &config, shape);
        assert!(slow[9] < slow[0], "nothing was learnt: {slow:?}");
        let deviation = largest_difference(&slow, &fast);
        assert!(deviation < 1e-5, "{deviation:e}: {slow:?} {fast:?}");
    }
}

/// Everything that a run consists of, after this many steps; optionally stopped half-way, written and read back.
fn run(backend: &Cpu, config: &NetworkConfig, stop_at: Option<&Path>) -> Vec<f64> {
    let shape = Shape::new(4, 1, 1, 32, 32);
    let network = build::<Cpu>(config).unwrap();
    let (image, labels) = problem(backend, shape);
    let mut parameters = network.parameters(4, backend);
    let mut optimiser = Optimiser::new(Rule::default(), &parameters).unwrap();
    for step in 0..6 {
        if let (3, Some(path)) = (step, stop_at) {
            save(path, &[("", &parameters), ("optimiser", &optimiser.state())], &BTreeMap::new()).unwrap();
            let stored = load(path).unwrap();
            parameters = network.restore(&stored, backend).unwrap();
            optimiser = Optimiser::new(Rule::default(), &parameters).unwrap();
            optimiser.set_state(&stored.restore("optimiser", &optimiser.state()).unwrap()).unwrap();
        }
        let leaves = parameters.tracked();
        let loss = cross_entropy(&network.forward(&leaves, &image, Mode::Train), &labels);
        let gradients = leaves.gradients(&loss.backward()).clipped(0.5);
        optimiser.step(&mut parameters, &gradients, 1e-2);
    }
    parameters.iter().chain(optimiser.state().iter()).flat_map(|p| p.value.to_f64().unwrap()).collect()
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for norm in [Norm::Instance, Norm::Batch] {
        let config = tiny(2).with("norm", norm);
        let path = folder.path().join("last.safetensors");
        assert_eq!(run(&Cpu::default(), &config, None), run(&Cpu::default(), &config, Some(&path)), "{norm:?}");
    }
}

#[test]
fn a_run_gives_the_same_bits_with_one_thread_and_with_three() {
    let with = |threads| run(&Cpu::new(Some(threads)).unwrap(), &tiny(2), None);
    assert_eq!(with(1), with(3));
}
