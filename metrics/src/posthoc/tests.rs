use super::*;
use crate::volume::{log_sum_exp, softmax};
use proptest::prelude::*;
use segcal_core::Rng;

/// Random logits `[3, n]` of spread 3 and labels drawn from `softmax(map(l))`.
fn drawn(n: usize, seed: u64, map: impl Fn(usize, f64) -> f64) -> (Vec<f32>, Vec<Label>) {
    let rng = Rng::new(seed);
    let logits: Vec<f32> = (0..3 * n).map(|i| 3.0 * rng.stream(1).normal(i as u64) as f32).collect();
    let label = |voxel: usize| {
        let mut p: Vec<f64> = (0..3).map(|k| map(k, f64::from(logits[k * n + voxel]))).collect();
        log_sum_exp(&mut p);
        let u = rng.uniform(voxel as u64);
        Label::from(u > p[0]) + Label::from(u > p[0] + p[1])
    };
    let labels = (0..n).map(label).collect();
    (logits, labels)
}

/// Two chunks, to test that chunks are summed.
fn samples<'a>(logits: &'a (Vec<f32>, Vec<f32>), labels: &'a [Label]) -> InMemory<'a> {
    let cut = logits.0.len() / 3;
    let chunk = |logits: &'a [f32], labels: &'a [Label]| Chunk::new(logits, labels, 3).expect("a chunk");
    InMemory::new(3, vec![chunk(&logits.0, &labels[..cut]), chunk(&logits.1, &labels[cut..])])
}

fn halves(logits: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (n, cut) = (logits.len() / 3, logits.len() / 6);
    let part = |from: usize, to: usize| (0..3).flat_map(|k| logits[k * n + from..k * n + to].to_vec()).collect();
    (part(0, cut), part(cut, n))
}

/// Mean of `-ln softmax(map(l))_y`, computed directly.
fn nll(logits: &[f32], labels: &[Label], map: impl Fn(usize, f64) -> f64) -> f64 {
    let n = labels.len();
    let loss = |voxel: usize| {
        let mut z: Vec<f64> = (0..3).map(|k| map(k, f64::from(logits[k * n + voxel]))).collect();
        let own = z[usize::from(labels[voxel])];
        log_sum_exp(&mut z) - own
    };
    (0..n).map(loss).sum::<f64>() / n as f64
}

#[test]
fn the_temperature_is_a_minimum() {
    let (logits, labels) = drawn(20_000, 1, |_, l| l / 2.5);
    let parts = halves(&logits);
    let fitted = Temperature::fit(&mut samples(&parts, &labels)).expect("a fit");
    // The information in 1 / T is Var_p[l], about 4 per voxel: a standard error of 0.0035, so of 0.02 in T.
    assert!((fitted.temperature - 2.5).abs() < 0.1, "{fitted:?}");
    assert!(fitted.fit.converged && fitted.fit.voxels == 20_000);
    let at = |t: f64| nll(&logits, &labels, |_, l| l / t);
    assert!((fitted.fit.after - at(fitted.temperature)).abs() < 1e-12);
    assert!((fitted.fit.before - at(1.0)).abs() < 1e-12);
    // The gradient vanishes: a central difference is exact to h^2.
    let t = fitted.temperature;
    assert!((at(t * 1.0001) - at(t / 1.0001)).abs() < 1e-11);
    assert_eq!(fitted.nll(&mut samples(&parts, &labels)).expect("samples"), fitted.fit.after);
}

#[test]
fn far_optima_are_found_and_limits_reported() {
    for truth in [0.05, 30.0] {
        let (logits, labels) = drawn(20_000, 2, |_, l| l / truth);
        let fitted = Temperature::fit(&mut samples(&halves(&logits), &labels)).expect("a fit");
        assert!(fitted.fit.converged && (fitted.temperature / truth).ln().abs() < 0.7, "{truth}: {fitted:?}");
    }
    // All correct: the lower the temperature, the better. All wrong: the higher, the better.
    let logits = [2.0, -1.0, 0.0, 3.0, 1.0, 0.0];
    for (labels, limit) in [([0, 1], 0.01), ([2, 2], 100.0)] {
        let mut samples = InMemory::new(3, vec![Chunk::new(&logits, &labels, 3).expect("a chunk")]);
        let fitted = Temperature::fit(&mut samples).expect("a fit");
        assert!(!fitted.fit.converged && (fitted.temperature / limit - 1.0).abs() < 1e-3, "{fitted:?}");
    }
}

#[test]
fn one_temperature_for_all_when_that_is_the_truth() {
    let (logits, labels) = drawn(20_000, 3, |_, l| l / 2.0);
    let parts = halves(&logits);
    let classwise = ClassTemperature::fit(&mut samples(&parts, &labels)).expect("a fit");
    assert!(classwise.temperatures.iter().all(|t| (t - 2.0).abs() < 0.2), "{classwise:?}");
    let one = Temperature::fit(&mut samples(&parts, &labels)).expect("a fit");
    assert!(classwise.fit.converged && classwise.fit.after <= one.fit.after, "{classwise:?} {one:?}");
}

#[test]
fn vector_scaling_finds_scales_and_biases() {
    let (scale, bias) = ([0.5, 1.5, 1.0], [0.0, 1.0, -0.5]);
    let (logits, labels) = drawn(20_000, 4, |k, l| scale[k] * l + bias[k]);
    let fitted = VectorScaling::fit(&mut samples(&halves(&logits), &labels)).expect("a fit");
    assert!(fitted.fit.converged, "{fitted:?}");
    for k in 0..3 {
        assert!((fitted.scale[k] - scale[k]).abs() < 0.1 && (fitted.bias[k] - bias[k]).abs() < 0.15, "{fitted:?}");
    }
    // No nearby point is better.
    let at = |dw: [f64; 3], db: [f64; 3]| {
        nll(&logits, &labels, |k, l| (fitted.scale[k] + dw[k]) * l + fitted.bias[k] + db[k])
    };
    let best = at([0.0; 3], [0.0; 3]);
    assert!((best - fitted.fit.after).abs() < 1e-12);
    for k in 0..3 {
        for step in [-1e-3, 1e-3] {
            let unit = std::array::from_fn(|j| if j == k { step } else { 0.0 });
            assert!(at(unit, [0.0; 3]) >= best && at([0.0; 3], unit) >= best);
        }
    }
    let mut applied = logits.clone();
    fitted.apply(&mut applied);
    assert!((nll(&applied, &labels, |_, l| l) - fitted.fit.after).abs() < 1e-6);
}

#[test]
fn platt_with_two_classes_is_a_sigmoid_of_the_logit_difference() {
    let rng = Rng::new(6);
    let n = 20_000;
    let f: Vec<f32> = (0..n).map(|i| 4.0 * rng.stream(1).normal(i) as f32).collect();
    let labels: Vec<Label> = (0..n)
        .map(|i| Label::from(rng.uniform(i) < 1.0 / (1.0 + (-0.4 * f64::from(f[i as usize]) - 0.7).exp())))
        .collect();
    let logits: Vec<f32> = [vec![0.0; f.len()], f.clone()].concat();
    let mut samples = InMemory::new(2, vec![Chunk::new(&logits, &labels, 2).expect("a chunk")]);
    let fitted = Platt::fit(&mut samples).expect("a fit");
    // Standard errors are about 0.01 and 0.02.
    assert!((fitted.slope[1] - 0.4).abs() < 0.05 && (fitted.intercept[1] - 0.7).abs() < 0.1, "{fitted:?}");
    assert!((fitted.slope[0] - fitted.slope[1]).abs() < 1e-6, "one problem seen from both sides: {fitted:?}");
    assert!((fitted.intercept[0] + fitted.intercept[1]).abs() < 1e-6, "{fitted:?}");
    let mut applied = logits;
    fitted.apply(&mut applied);
    let expected = 1.0 / (1.0 + (-fitted.slope[1] * f64::from(f[7]) - fitted.intercept[1]).exp());
    assert!((f64::from(applied[f.len() + 7]) - expected).abs() < 1e-6);
}

#[test]
fn platt_of_separable_classes_stays_finite() {
    let logits = [0.0, 0.0, 0.0, 0.0, -2.0, -1.0, 1.0, 2.0];
    let mut samples = InMemory::new(2, vec![Chunk::new(&logits, &[0, 0, 1, 1], 2).expect("a chunk")]);
    let fitted = Platt::fit(&mut samples).expect("a fit");
    assert!(fitted.fit.converged && fitted.slope.iter().all(|slope| slope.is_finite()), "{fitted:?}");
}

#[test]
fn isotonic_mends_a_wrong_temperature() {
    let (logits, labels) = drawn(30_000, 7, |_, l| l / 2.0);
    let fitted = Isotonic::fit(&mut samples(&halves(&logits), &labels)).expect("a fit");
    let ece = |probabilities: &[f32]| {
        let mut state = crate::calibration::Calibration::new(3, 15);
        state.add(Probabilities::new(probabilities, 3), &labels, None).expect("probabilities");
        state.region(crate::calibration::Region::All).cece_mean()
    };
    let (mut before, mut after) = (logits.clone(), logits);
    softmax(&mut before, 3);
    fitted.apply(&mut after);
    assert!(ece(&before) > 0.05 && ece(&after) < 0.02, "{} {}", ece(&before), ece(&after));
}

#[test]
fn nothing_to_fit_on_is_an_error() {
    let mut none = InMemory::new(3, Vec::new());
    assert!(Temperature::fit(&mut none).is_err() && Isotonic::fit(&mut none).is_err());
    assert!(Platt::fit(&mut none).is_err() && VectorScaling::fit(&mut none).is_err());
    assert!(Chunk::new(&[0.0, f32::NAN], &[0], 2).is_err());
    assert!(Chunk::new(&[0.0, 1.0], &[2], 2).is_err());
}

#[test]
fn maps_round_trip_through_json_and_threads_do_not_matter() {
    let (logits, labels) = drawn(3000, 8, |_, l| l / 1.5);
    let parts = halves(&logits);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| VectorScaling::fit(&mut samples(&parts, &labels)).expect("a fit"))
    };
    let fitted = with(1);
    assert_eq!(fitted, with(3));
    let text = serde_json::to_string(&fitted).expect("serialises");
    assert_eq!(serde_json::from_str::<VectorScaling>(&text).expect("parses"), fitted);
}

proptest! {
    #[test]
    fn temperature_keeps_the_label(
        logits in prop::collection::vec(-30.0_f32..30.0, 3..60),
        temperature in 0.01_f64..100.0,
    ) {
        let logits = &logits[..logits.len() / 3 * 3];
        let fit = Fit { voxels: 1, before: 0.0, after: 0.0, converged: true };
        let mut scaled = logits.to_vec();
        Temperature { temperature, fit }.apply(&mut scaled);
        let n = logits.len() / 3;
        for (voxel, &label) in Probabilities::new(logits, 3).argmax().iter().enumerate() {
            let largest = (0..3).map(|k| scaled[k * n + voxel]).fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(scaled[usize::from(label) * n + voxel], largest);
        }
    }
}

#[test]
fn classes_told_apart_without_error_leave_a_map_at_its_bound() {
    // The largest logit is always correct, so larger scales are always better.
    let logits: Vec<f32> = (0..300).map(|i| if i / 100 == i % 100 % 3 { 2.0 } else { -1.0 }).collect();
    let labels: Vec<Label> = (0..100).map(|i| i % 3).collect();
    let halves = halves(&logits);
    let mut some = samples(&halves, &labels);
    let classwise = ClassTemperature::fit(&mut some).unwrap();
    assert!(!classwise.fit.converged, "{classwise:?}");
    assert!(classwise.temperatures.iter().all(|t| (0.01 - 1e-12..=100.0).contains(t)), "{classwise:?}");
    let vector = VectorScaling::fit(&mut some).unwrap();
    assert!(!vector.fit.converged, "{vector:?}");
    assert!(vector.scale.iter().all(|scale| (0.01..=100.0).contains(scale)), "{vector:?}");
    assert!(vector.bias.iter().all(|bias| bias.abs() <= 100.0), "{vector:?}");
    // A single class.
    let mut one = samples(&halves, &[1; 100]);
    let classwise = ClassTemperature::fit(&mut one).unwrap();
    assert!(
        !classwise.fit.converged && classwise.temperatures.iter().all(|t| (0.009..=100.1).contains(t)),
        "{classwise:?}"
    );
}
