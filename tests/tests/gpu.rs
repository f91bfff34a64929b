//! The graphics card through the suites that any backend must pass: `cargo test -p segcal-tests --features gpu`.
#![cfg(feature = "gpu")]

use segcal_backends::gpu::{Counters, Gpu, Options, adapters};
use segcal_core::{Backend, Elem, Reference, Rng, Shape, Tensor, ops};
use segcal_losses::{Batch, Convention, Given, Loss};
use segcal_models::{Adam, Mode, NetworkConfig, Optimiser, Rule, Sgd};
use segcal_tests::suites::{self, Accuracy, theorems};

/// The card, or a line that says why there is nothing to test.
fn card() -> Option<Gpu> {
    if adapters().is_empty() {
        eprintln!("skipped: no graphics card (mesa-vulkan-drivers and libvulkan1 make one in software)");
        return None;
    }
    Some(Gpu::open(&Options::default()).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn gpu() {
    if let Some(gpu) = card() {
        suites::backend(&gpu, &Accuracy::GPU).assert_clean();
    }
}

#[test]
fn theorems_hold_on_the_gpu() {
    if let Some(gpu) = card() {
        theorems::check(&gpu, 1).assert_clean();
    }
}

/// Trains a small UNet on one random batch; `after` is told the loss of each step at its end.
fn train<B: Backend>(backend: &B, loss: &str, rule: Rule, steps: usize, mut after: impl FnMut(f64)) {
    let config = NetworkConfig { classes: 3, ..NetworkConfig::default() }.with("levels", 3).with("base", 4);
    let network = segcal_models::build::<B>(&config).unwrap();
    let mut parameters = network.parameters(1, backend);
    let mut optimiser = Optimiser::new(rule, &parameters).unwrap();
    let loss = Loss::new(loss, &Given::new(), Convention::Authors).unwrap();
    let shape = Shape::new(2, 1, 1, 16, 20);
    let numbers = |stream: u64, value: &dyn Fn(f64) -> f64| {
        let rng = Rng::new(7).stream(stream);
        (0..shape.len() as u64).map(|i| B::Elem::of(value(rng.uniform(i)))).collect::<Vec<_>>()
    };
    for step in 0..steps {
        let images = Tensor::new(backend, shape, numbers(step as u64, &|x| x));
        let labels = Tensor::new(backend, shape, numbers(step as u64, &|x| (x * 3.0).floor()));
        let leaves = parameters.tracked();
        let logits = network.forward(&leaves, &images, Mode::Train);
        let total = loss.value(&Batch::new(&logits, &labels).with_image(&images)).total;
        let value = total.detach();
        let gradients = leaves.gradients(&total.backward());
        let value = value.item().unwrap();
        optimiser.step(&mut parameters, &gradients, 0.01);
        after(value);
    }
}

/// What is asked of the card in each step, the optimiser's part included.
fn steps(gpu: &Gpu, loss: &str) -> Vec<Counters> {
    let mut looks = vec![gpu.counters()];
    train(gpu, loss, Rule::Adam(Adam::default()), 4, |_| looks.push(gpu.counters()));
    looks.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn after_the_first_training_step_no_pipeline_and_no_buffer_is_made() {
    for loss in ["ce", "nacl", "crac", "mbls-dice"] {
        let Some(gpu) = card() else { return };
        let steps = steps(&gpu, loss);
        assert!(steps[0].pipelines > 20 && steps[0].allocations > 50, "{loss}, first step: {}", steps[0]);
        for (number, step) in (2..).zip(&steps[1..]) {
            assert_eq!((step.pipelines, step.allocations), (0, 0), "{loss}, step {number}: {step}");
            // The samples, and what the loss itself has to say: a prior's filter (36 bytes), multipliers (84).
            let (samples, said) = (2 * 2 * 16 * 20 * 4, 128);
            assert!((samples..=samples + said).contains(&step.uploaded), "{loss}, step {number}: {step}");
            assert_eq!(step.dispatches, steps[1].dispatches, "{loss}, step {number}");
        }
    }
}

/// The losses of ten steps in f32 beside those in f64. With plain descent, roundings stay roundings: a loss sums some
/// thousand terms, and ten steps add up theirs. Adam divides each gradient by its own magnitude, so that one near 0 may
/// turn the other way: the tolerance is that of a hundredth of a step.
#[test]
fn ten_steps_take_the_course_of_the_reference() {
    let Some(gpu) = card() else { return };
    for (rule, tolerance) in [(Rule::Sgd(Sgd::default()), 1e-5), (Rule::Adam(Adam::default()), 1e-4)] {
        for loss in ["ce", "nacl", "crac"] {
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            train(&gpu, loss, rule, 10, |value| found.push(value));
            train(&Reference, loss, rule, 10, |value| expected.push(value));
            assert!(expected[9] != expected[0], "{loss}: nothing was learnt");
            for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let deviation = (found - expected).abs() / expected.abs();
                assert!(deviation <= tolerance, "{rule:?}, {loss}, step {step}: {found} instead of {expected}");
            }
        }
    }
}

/// The tests above see the card's own sums: one download of a sum is one number.
#[test]
fn a_sum_is_one_number_down() {
    let Some(gpu) = card() else { return };
    let x = Tensor::full(&gpu, Shape::new(2, 3, 1, 40, 40), 0.5);
    let before = gpu.counters();
    assert_eq!(ops::sum_all(&[&x], |p| p.input(0)).item().unwrap(), 4800.0);
    assert_eq!((gpu.counters() - before).downloaded, 4);
}
