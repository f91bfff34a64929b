//! Layers on `Reference`: fused passes against their naive composition, and gradients against finite differences.

use super::common::{largest_difference, noise};
use segcal_core::{Geometry, Reference, Shape, Tensor, ops};
use segcal_models::layers::{Activation, Conv, Norm, NormLayer, Unit, Upsample, Upsampling};
use segcal_models::{Init, Mode, Optimiser, Parameters, Rule, Sgd};

type T = Tensor<Reference>;

const SHAPE: Shape = Shape::new(2, 3, 2, 4, 5);

fn host(x: &T) -> Vec<f64> {
    x.to_f64().unwrap()
}

/// A norm layer called `n`.
fn layer(norm: Norm) -> NormLayer {
    NormLayer::new("n", SHAPE.c(), norm)
}

/// Tensors of a norm layer called `n` with random `gamma` and `beta`.
fn norm_parameters(norm: Norm) -> Parameters<Reference> {
    let fresh = Parameters::initialised(&layer(norm).specs(), 0, &Reference);
    let values = fresh.iter().enumerate().map(|(i, p)| {
        let noise = noise(&Reference, p.value.shape(), 50 + i as u64);
        if p.trainable { noise } else { ops::map(&[&noise], |p| p.input(0).square() + 0.5) }
    });
    fresh.with_values(values.collect())
}

/// The formula of the layer, one operation at a time, each with the gradient of `core`.
fn naive(parameters: &Parameters<Reference>, x: &T, over: Shape, activation: Activation) -> T {
    let count = (x.shape().len() / over.len()) as f64;
    let mean = ops::sum(&[x], over, |p| p.input(0) / count);
    let centred = ops::map(&[x, &mean], |p| p.input(0) - p.input(1));
    let variance = ops::sum(&[&centred], over, |p| p.input(0).square() / count);
    let scaled = ops::map(&[&centred, &variance], |p| p.input(0) / (p.input(1) + 1e-5).sqrt());
    let z = ops::map(&[&scaled, parameters.get("n.weight"), parameters.get("n.bias")], |p| {
        p.input(0) * p.input(1) + p.input(2)
    });
    ops::map(&[&z], |p| activation.value(p.input(0)))
}

/// A scalar that depends on every number of `y` in its own way.
fn weigh(y: &T) -> T {
    let weight = noise(&Reference, y.shape(), 77);
    ops::sum_all(&[y, &weight], |p| p.input(0) * p.input(1))
}

#[test]
fn fused_normalisation_is_its_naive_composition_with_the_same_gradients() {
    for (norm, over) in [(Norm::Instance, SHAPE.with_spatial([1; 3])), (Norm::Batch, Shape::new(1, 3, 1, 1, 1))] {
        for activation in Activation::ALL {
            let parameters = norm_parameters(norm).tracked();
            // A large mean beside a small spread: the case in which one-pass variances break down.
            let x = ops::map(&[&noise(&Reference, SHAPE, 9)], |p| p.input(0) * 0.3 + 20.0).tracked();
            let fused = layer(norm).forward(&parameters, &x, activation, Mode::Train);
            let plain = naive(&parameters, &x, over, activation);
            assert!(largest_difference(&host(&fused), &host(&plain)) < 1e-11, "{norm:?} {activation:?}");
            let (fused, plain) = (weigh(&fused).backward(), weigh(&plain).backward());
            for leaf in [&x, parameters.get("n.weight"), parameters.get("n.bias")] {
                let (a, b) = (host(fused.of(leaf).unwrap()), host(plain.of(leaf).unwrap()));
                let scale = b.iter().fold(1.0f64, |m, g| m.max(g.abs()));
                assert!(largest_difference(&a, &b) < 1e-11 * scale, "{norm:?} {activation:?} {leaf:?}");
            }
        }
    }
}

/// Every single derivative of the fused pass against a 5-point stencil, with smooth activations.
#[test]
fn fused_normalisation_gradient_is_the_finite_difference() {
    for norm in [Norm::Instance, Norm::Batch] {
        for activation in [Activation::Identity, Activation::Silu, Activation::Gelu] {
            let parameters = norm_parameters(norm);
            let x = noise(&Reference, SHAPE, 9).tracked();
            let gradients = weigh(&layer(norm).forward(&parameters, &x, activation, Mode::Train)).backward();
            let exact = host(gradients.of(&x).unwrap());
            let numbers = host(&x);
            let value = |place: usize, step: f64| {
                let mut moved = numbers.clone();
                moved[place] += step;
                let moved = Tensor::from_f64(&Reference, SHAPE, &moved);
                weigh(&layer(norm).forward(&parameters, &moved, activation, Mode::Train)).item().unwrap()
            };
            let h = 1e-3;
            for place in 0..numbers.len() {
                let f = |step| value(place, step);
                let stencil = (f(-2.0 * h) - 8.0 * f(-h) + 8.0 * f(h) - f(2.0 * h)) / (12.0 * h);
                assert!((stencil - exact[place]).abs() < 1e-9, "{norm:?} {activation:?} {place}");
            }
        }
    }
}

#[test]
fn a_normalised_channel_has_mean_beta_and_deviation_gamma() {
    let parameters = norm_parameters(Norm::Instance);
    let x = noise(&Reference, SHAPE, 9);
    let y = host(&layer(Norm::Instance).forward(&parameters, &x, Activation::Identity, Mode::Evaluate));
    let (gamma, beta) = (host(parameters.get("n.weight")), host(parameters.get("n.bias")));
    for (group, numbers) in y.chunks(SHAPE.voxels()).enumerate() {
        let channel = group % SHAPE.c();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
        assert!((mean - beta[channel]).abs() < 1e-12);
        // The 1e-5 beside the variance shortens the deviation by about 1e-5 / (2 variance).
        assert!((variance.sqrt() / gamma[channel].abs() - 1.0).abs() < 2e-5);
    }
}

#[test]
fn batch_statistics_take_effect_with_the_optimisers_step() {
    let mut parameters = norm_parameters(Norm::Batch);
    let before = (host(parameters.get("n.running_mean")), host(parameters.get("n.running_var")));
    let x = noise(&Reference, SHAPE, 9);
    let leaves = parameters.tracked();
    let loss = weigh(&layer(Norm::Batch).forward(&leaves, &x, Activation::Relu, Mode::Train));
    let gradients = leaves.gradients(&loss.backward());
    assert_eq!(host(parameters.get("n.running_mean")), before.0);
    let mut optimiser = Optimiser::new(Rule::Sgd(Sgd::default()), &parameters).unwrap();
    optimiser.step(&mut parameters, &gradients, 0.0);
    let (mean, variance) = (host(parameters.get("n.running_mean")), host(parameters.get("n.running_var")));
    for channel in 0..SHAPE.c() {
        let of_channel = |&(i, _): &(usize, f64)| SHAPE.coordinate(i)[1] == channel;
        let numbers: Vec<f64> = host(&x).into_iter().enumerate().filter(of_channel).map(|(_, x)| x).collect();
        let m = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let v = numbers.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (numbers.len() - 1) as f64;
        assert!((mean[channel] - (0.9 * before.0[channel] + 0.1 * m)).abs() < 1e-12);
        assert!((variance[channel] - (0.9 * before.1[channel] + 0.1 * v)).abs() < 1e-12);
    }
}

#[test]
fn batch_norm_in_evaluation_uses_the_running_statistics() {
    let parameters = norm_parameters(Norm::Batch);
    let x = noise(&Reference, SHAPE, 9);
    let y = host(&layer(Norm::Batch).forward(&parameters, &x, Activation::Relu, Mode::Evaluate));
    let [gamma, beta, mean, variance] =
        ["weight", "bias", "running_mean", "running_var"].map(|name| host(parameters.get(&format!("n.{name}"))));
    for (i, (x, y)) in host(&x).into_iter().zip(y).enumerate() {
        let c = SHAPE.coordinate(i)[1];
        let z = (x - mean[c]) / (variance[c] + 1e-5).sqrt() * gamma[c] + beta[c];
        assert!((y - z.max(0.0)).abs() < 1e-12);
    }
}

/// Output and every gradient of the transposed convolution: each output voxel is `bias + sum over inputs of one tap`.
#[test]
fn transposed_upsampling_is_the_sum_of_taps() {
    let layer = Upsample {
        name: "up".into(),
        kind: Upsampling::Transposed,
        factors: [1, 2, 3],
        inputs: 3,
        outputs: 2,
        space: 3,
        bias: true,
    };
    let parameters = Parameters::initialised(&layer.specs(Init::Pytorch), 6, &Reference);
    let x = noise(&Reference, SHAPE, 1);
    let y = layer.forward(&parameters, &x);
    assert_eq!(y.shape(), Shape::new(2, 2, 2, 8, 15));
    let (weight, bias, input) = (parameters.get("up.weight"), host(parameters.get("up.bias")), host(&x));
    let taps = host(weight);
    for (i, value) in host(&y).into_iter().enumerate() {
        let [n, o, d, h, w] = y.shape().coordinate(i);
        let term =
            |c| input[SHAPE.offset([n, c, d, h / 2, w / 3])] * taps[weight.shape().offset([c, o, 0, h % 2, w % 3])];
        assert!((value - bias[o] - (0..3).map(term).sum::<f64>()).abs() < 1e-12);
    }
}

#[test]
fn a_convolution_with_stride_groups_and_any_kernel() {
    let layer = Conv {
        name: "c".into(),
        inputs: 4,
        outputs: 6,
        kernel: [1, 3, 2],
        geometry: Geometry { stride: [1, 2, 1], pad: [0, 1, 0], dilation: [1, 1, 2], groups: 2 },
        space: 2,
        bias: true,
        standardised: false,
    };
    let parameters = Parameters::initialised(&layer.specs(Init::Pytorch, Activation::Relu), 6, &Reference);
    let dims: Vec<_> = parameters.iter().map(|p| p.dims.clone()).collect();
    assert_eq!(dims, [vec![6, 2, 3, 2], vec![6]]);
    let x = noise(&Reference, Shape::new(1, 4, 1, 5, 6), 1);
    let y = layer.forward(&parameters, &x, Activation::Relu);
    assert_eq!(y.shape(), Shape::new(1, 6, 1, 3, 4));
    let plain = ops::conv(&x, parameters.get("c.weight"), &layer.geometry);
    let bias = host(parameters.get("c.bias"));
    for (i, (fused, plain)) in host(&y).into_iter().zip(host(&plain)).enumerate() {
        assert_eq!(fused, (plain + bias[y.shape().coordinate(i)[1]]).max(0.0));
    }
}

/// The fused passes are what they say: a backend that counts its calls.
#[test]
fn a_unit_is_one_convolution_and_few_passes() {
    use super::counting::Counting;
    let forward = |norm| {
        let unit = Unit::new("u", [3, 3], 3, 3, norm, Activation::LeakyRelu);
        let backend = Counting::default();
        let parameters = Parameters::initialised(&unit.specs(Init::He), 1, &backend).tracked();
        let x = noise(&backend, SHAPE, 1);
        let y = unit.forward(&parameters, &x, Mode::Train);
        let forward = backend.over(SHAPE);
        drop(ops::sum_all(&[&y], |p| p.input(0)).backward());
        (forward, backend.over(SHAPE))
    };
    // Backward of a unit with norm: the gradient of the sum is broadcast by one map; then one reduce and one map.
    assert_eq!(forward(Norm::None), ((1, 0), (2 + 1, 1 + 1)));
    assert_eq!(forward(Norm::Instance), ((1, 2), (1 + 2, 2 + 2)));
}
