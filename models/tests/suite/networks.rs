//! Whole networks on `Reference`: the papers' numbers, parameter counts, shapes, gradients.

use super::common::{
    authors, cross_entropy, golden_difference, largest_difference, noise, peer_differences, problem, small_image, tiny,
};
use segcal_core::{Reference, Shape, Tensor, ops};
use segcal_models::layers::{Activation, Norm, Upsampling};
use segcal_models::{Extent, Mode, NetworkConfig, Parameter, build, networks};

#[test]
fn the_authors_network_gives_the_authors_numbers() {
    let difference = golden_difference(&Reference);
    assert!(difference < 1e-6, "{difference:e}");
}

#[test]
fn networks_give_the_numbers_of_onnx_runtime() {
    for (name, difference) in peer_differences(&Reference) {
        assert!(difference < 1e-5, "{name}: {difference:e}");
    }
}

/// The counts that were measured with the authors' code: channels, classes, parameters.
#[test]
fn the_authors_parameter_counts() {
    for (in_channels, classes, count) in
        [(1, 4, 7_846_180), (1, 5, 7_846_213), (4, 4, 7_847_044), (3, 4, 7_846_756), (1, 2, 7_846_114)]
    {
        let config = NetworkConfig { in_channels, ..authors(32, classes) };
        let network = build::<Reference>(&config).unwrap();
        assert_eq!(network.parameter_count(), count);
        assert_eq!(network.stride(), [1, 32, 32]);
    }
}

/// Ours from 32 channels, counted by hand: 3x3 weights `9 i o`, norm `2 o`, transposed 2x2 `4 i o + o`, head `i k + k`.
#[test]
fn our_parameter_count() {
    for (dims, taps, corner) in [(2, 9, 4), (3, 27, 8)] {
        let w = [32, 64, 128, 256, 512];
        let block = |i: usize, o: usize| taps * (i * o + o * o) + 4 * o;
        let encoder: usize = (0..5).map(|l| block(if l == 0 { 1 } else { w[l - 1] }, w[l])).sum();
        let decoder: usize = (0..4).map(|l| corner * w[l + 1] * w[l] + w[l] + block(2 * w[l], w[l])).sum();
        let network = build::<Reference>(&NetworkConfig { classes: 4, dims, ..NetworkConfig::default() }).unwrap();
        assert_eq!(network.parameter_count(), encoder + decoder + 32 * 4 + 4);
    }
}

#[test]
fn every_network_of_the_list_runs_and_describes_itself() {
    for entry in networks() {
        let config = NetworkConfig { classes: 3, ..entry.small_config() };
        let network = build::<Reference>(&config).unwrap();
        let keys: Vec<&str> = entry.keys.iter().map(|(name, _)| *name).collect();
        assert_eq!(entry.values().keys().map(String::as_str).collect::<Vec<_>>(), keys, "{}", entry.name);
        let shape = small_image(&*network);
        network.accepts(shape).unwrap();
        let parameters = network.parameters(1, &Reference);
        assert_eq!(parameters.count(), network.parameter_count());
        let logits = network.forward(&parameters, &noise(&Reference, shape, 0), Mode::Evaluate);
        assert_eq!(logits.shape(), shape.with(1, 3));
        assert!(logits.to_f64().unwrap().iter().all(|x| x.is_finite()));
        let again = build::<Reference>(network.config()).unwrap();
        assert_eq!(again.config(), network.config());
        assert_eq!(again.parameter_count(), network.parameter_count());
    }
}

#[test]
fn a_volume_of_one_slice_through_a_flat_3d_network_is_a_slice_through_a_2d_one() {
    let pools = Some(vec![Extent::Axes([1, 2, 2]), Extent::Axes([1, 2, 2])]);
    let flat = build::<Reference>(&tiny(3).with("pools", pools.clone())).unwrap();
    let plane = build::<Reference>(&tiny(2).with("pools", pools)).unwrap();
    let cubes = flat.parameters(3, &Reference);
    let squares = plane.parameters(3, &Reference);
    // Of a 3x3x3 kernel with one slice and zero padding only the middle plane counts.
    let middle = |(cube, square): (&Parameter<Reference>, &Parameter<Reference>)| {
        let (from, to) = (cube.value.shape(), square.value.shape());
        ops::slice(&cube.value, [0, 0, (from.spatial()[0] - to.spatial()[0]) / 2, 0, 0], to)
    };
    let squares = squares.with_values(cubes.iter().zip(squares.iter()).map(middle).collect());
    let x = noise(&Reference, Shape::new(1, 1, 1, 8, 8), 5);
    let a = flat.forward(&cubes, &x, Mode::Evaluate).to_f64().unwrap();
    let b = plane.forward(&squares, &x, Mode::Evaluate).to_f64().unwrap();
    assert!(largest_difference(&a, &b) < 1e-12);
}

/// Derivative of the loss along a random direction in all parameters and the image against a 5-point stencil.
fn direction_check(config: &NetworkConfig, shape: Shape) -> f64 {
    let network = build::<Reference>(config).unwrap();
    let (image, labels) = problem(&Reference, shape);
    let start = network.parameters(2, &Reference);
    let direction: Vec<Tensor<Reference>> =
        start.iter().enumerate().map(|(i, p)| noise(&Reference, p.value.shape(), 100 + i as u64)).collect();
    let loss = |step: f64| {
        let moved = start.iter().zip(&direction).map(|(p, d)| {
            let step = if p.trainable { step } else { 0.0 };
            ops::map_over(p.value.shape(), &[step], &[&p.value, d], |q| q.input(0) + q.scalar(0) * q.input(1))
        });
        let moved = start.with_values(moved.collect());
        cross_entropy(&network.forward(&moved, &image, Mode::Train), &labels).item().unwrap()
    };
    let h = 1e-5;
    let stencil = (loss(-2.0 * h) - 8.0 * loss(-h) + 8.0 * loss(h) - loss(2.0 * h)) / (12.0 * h);
    let leaves = start.tracked();
    let gradients =
        leaves.gradients(&cross_entropy(&network.forward(&leaves, &image, Mode::Train), &labels).backward());
    let along = |(i, d): (usize, &Tensor<Reference>)| {
        gradients.get(i).map_or(0.0, |g| ops::sum_all(&[g, d], |p| p.input(0) * p.input(1)).item().unwrap())
    };
    let exact: f64 = direction.iter().enumerate().map(along).sum();
    (exact - stencil).abs() / exact.abs().max(1e-3)
}

/// Smooth activations and a stencil 4e-5 wide, so that it crosses no kink of max-pool here (the numbers are fixed).
#[test]
fn the_gradient_of_the_whole_network() {
    for (dims, shape) in [(2, Shape::new(2, 1, 1, 8, 12)), (3, Shape::new(1, 1, 8, 8, 8))] {
        for norm in [Norm::None, Norm::Instance, Norm::Batch] {
            for upsample in [Upsampling::Nearest, Upsampling::Linear, Upsampling::Transposed] {
                let config =
                    tiny(dims).with("norm", norm).with("upsample", upsample).with("activation", Activation::Silu);
                let deviation = direction_check(&config, shape);
                assert!(deviation < 1e-7, "{dims}-D {norm:?} {upsample:?}: {deviation:e}");
            }
        }
    }
}

fn config_error(change: impl FnOnce(&mut NetworkConfig)) -> String {
    let mut config = NetworkConfig::default();
    change(&mut config);
    own_error(&config)
}

fn own_error(config: &NetworkConfig) -> String {
    build::<Reference>(config).err().expect("the config must be refused").to_string()
}

#[test]
fn a_config_that_makes_no_network_is_refused_by_key() {
    let refused = |key: &str, error: String| {
        assert!(error.starts_with(&format!("{key}: ")) && error.ends_with(')'), "{error}");
    };
    refused("name", config_error(|c| c.name = "unett".into()));
    refused("dims", config_error(|c| c.dims = 4));
    refused("classes", config_error(|c| c.classes = 0));
    refused("in_channels", config_error(|c| c.in_channels = 0));
    refused("levels", own_error(&NetworkConfig::default().with("levels", 0)));
    refused("levels", own_error(&NetworkConfig::default().with("levels", 64)));
    refused("base", own_error(&NetworkConfig::default().with("base", usize::MAX)));
    refused("convs", own_error(&NetworkConfig::default().with("convs", 0)));
    refused("widths", own_error(&NetworkConfig::default().with("widths", Vec::<usize>::new())));
    refused("widths", own_error(&NetworkConfig::default().with("widths", vec![4, 0])));
    refused("widths", own_error(&NetworkConfig::default().with("widths", vec![4, 8]).with("base", 4)));
    refused("pools", own_error(&NetworkConfig::default().with("pools", vec![Extent::Every(2)])));
    refused("pools", own_error(&NetworkConfig::default().with("pools", vec![Extent::Every(0); 4])));
    refused("pools", own_error(&NetworkConfig::default().with("pools", vec![Extent::Axes([2, 2, 2]); 4])));
}

#[test]
fn a_config_is_read_strictly_and_written_whole() {
    let read = |text: &str| serde_json::from_str::<NetworkConfig>(text);
    let config =
        read(r#"{"name": "unet", "classes": 3, "dims": 3, "norm": "batch", "pools": [[1, 2, 2], 2], "levels": 3}"#);
    let network = build::<Reference>(&config.unwrap()).unwrap();
    assert_eq!(network.stride(), [2, 4, 4]);
    let written = serde_json::to_string(network.config()).unwrap();
    let again = build::<Reference>(&read(&written).unwrap()).unwrap();
    assert_eq!(again.specs(), network.specs());
    let refused = |text: &str| own_error(&read(text).unwrap());
    assert_eq!(refused(r#"{"width": [3]}"#), "width: unet has no such key (did you mean widths?)");
    assert!(
        refused(r#"{"norm": "layer"}"#).starts_with("norm: ") && refused(r#"{"norm": "layer"}"#).contains("instance")
    );
    assert!(refused(r#"{"levels": "many"}"#).starts_with("levels: invalid type"));
}

#[test]
fn an_image_that_does_not_fit_is_refused() {
    let network = build::<Reference>(&tiny(2)).unwrap();
    let refused = |shape, part: &str| {
        let error = network.accepts(shape).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    network.accepts(Shape::new(3, 1, 1, 4, 8)).unwrap();
    refused(Shape::new(1, 2, 1, 8, 8), "network.in_channels = 2");
    refused(Shape::new(1, 1, 3, 8, 8), "network.dims = 3");
    refused(Shape::new(1, 1, 1, 8, 10), "multiples of the network's stride [1, 4, 4]");
    refused(Shape::new(1, 1, 1, 0, 8), "multiples");
    refused(Shape::new(1, 1, 1, 4, 4), "instance norm needs two");
}

/// Mean and variance of the initial numbers within five standard errors, and the same numbers whatever else there is.
#[test]
fn initial_weights_have_the_moments_of_their_formula() {
    let ours = build::<Reference>(&NetworkConfig::default()).unwrap().parameters(1, &Reference);
    let authors = build::<Reference>(&authors(32, 4)).unwrap().parameters(1, &Reference);
    let fan_in = 256.0 * 9.0;
    let (he, pytorch) = (2.0 / (1.0001 * fan_in), 1.0 / (3.0 * fan_in));
    for (parameters, variance, kurtosis) in [(&ours, he, 3.0), (&authors, pytorch, 1.8)] {
        let weights = parameters.get("down.3.l2.conv.weight").to_f64().unwrap();
        let n = weights.len() as f64;
        let (mean, square) = (weights.iter().sum::<f64>() / n, weights.iter().map(|w| w * w).sum::<f64>() / n);
        assert!(mean.abs() < 5.0 * (variance / n).sqrt());
        let error = variance * ((kurtosis - 1.0) / n).sqrt();
        assert!((square - variance).abs() < 5.0 * error, "{square} {variance}");
    }
    let bound = authors.get("down.3.l2.conv.bias").to_f64().unwrap().iter().fold(0.0f64, |m, b| m.max(b.abs()));
    assert!(bound <= fan_in.sqrt().recip() && bound > 0.9 * fan_in.sqrt().recip());
    let wider = build::<Reference>(&NetworkConfig { classes: 7, ..NetworkConfig::default() })
        .unwrap()
        .parameters(1, &Reference);
    assert_eq!(ours.get("up.3.up.weight").to_f64().unwrap(), wider.get("up.3.up.weight").to_f64().unwrap());
    let other = build::<Reference>(&NetworkConfig::default()).unwrap().parameters(2, &Reference);
    assert_ne!(ours.get("up.3.up.weight").to_f64().unwrap(), other.get("up.3.up.weight").to_f64().unwrap());
}
