//! Networks on `Cpu` against `Reference`: outputs and ten steps of training.

use super::common::{authors, cross_entropy, golden_difference, largest_difference, problem, tiny};
use segcal_backends::Cpu;
use segcal_core::{Backend, Reference, Shape};
use segcal_models::layers::Norm;
use segcal_models::{Adam, Mode, NetworkConfig, Optimiser, Rule, build};

#[test]
fn the_authors_network_gives_the_authors_numbers_in_f32() {
    let difference = golden_difference(&Cpu::default());
    assert!(difference < 1e-5, "{difference:e}");
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
        (NetworkConfig { norm: Some(Norm::Batch), ..tiny(2) }, Shape::new(2, 1, 1, 16, 16)),
        (NetworkConfig { levels: Some(3), ..authors(4, 3) }, Shape::new(1, 1, 1, 16, 16)),
    ] {
        let slow = curve(&Reference, &config, shape);
        let fast = curve(&Cpu::default(), &config, shape);
        assert!(slow[9] < slow[0], "nothing was learnt: {slow:?}");
        let deviation = largest_difference(&slow, &fast);
        assert!(deviation < 1e-4, "{deviation:e}: {slow:?} {fast:?}");
    }
}
