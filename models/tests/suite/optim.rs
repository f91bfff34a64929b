//! Optimisers against plain loops over single numbers, clipping, and going on from a stored state.

use segcal_core::{Reference, Rng, Shape, Tensor, ops};
use segcal_models::{Adam, AdamW, Gradients, Optimiser, Parameter, Parameters, Rule, Schedule, Sgd};

/// Two tensors of 3 and 2 numbers, and one that is not trainable.
fn start() -> Parameters<Reference> {
    let tensor = |name: &str, count: usize, trainable: bool| Parameter {
        name: name.into(),
        dims: vec![count],
        value: Tensor::new(&Reference, Shape::SCALAR.with(1, count), numbers(name.len() as u64, count)),
        trainable,
    };
    Parameters::new(vec![tensor("a", 3, true), tensor("fixed", 2, false), tensor("bb", 2, true)])
}

fn numbers(stream: u64, count: usize) -> Vec<f64> {
    let rng = Rng::new(21).stream(stream);
    (0..count as u64).map(|i| rng.normal(i)).collect()
}

/// Gradients `weights[step]` of the five trainable numbers, by way of a loss that is linear in them.
fn gradients(parameters: &Parameters<Reference>, step: u64) -> Gradients<Reference> {
    let leaves = parameters.tracked();
    let slopes = slopes(step);
    let term = |name: &str, slopes: &[f64]| {
        let leaf = leaves.get(name);
        let weight = Tensor::new(&Reference, leaf.shape(), slopes.to_vec());
        ops::sum_all(&[leaf, &weight], |p| p.input(0) * p.input(1))
    };
    let loss = ops::sum_of(&[term("a", &slopes[..3]), term("bb", &slopes[3..])]);
    leaves.gradients(&loss.backward())
}

fn slopes(step: u64) -> Vec<f64> {
    numbers(1000 + step, 5)
}

fn host(parameters: &Parameters<Reference>) -> Vec<f64> {
    ["a", "bb"].iter().flat_map(|name| parameters.get(name).to_f64().unwrap()).collect()
}

fn run(rule: Rule, steps: u64) -> Vec<f64> {
    let mut parameters = start();
    let mut optimiser = Optimiser::new(rule, &parameters).unwrap();
    for step in 0..steps {
        let gradients = gradients(&parameters, step);
        optimiser.step(&mut parameters, &gradients, rate(step));
    }
    assert_eq!(parameters.get("fixed").to_f64().unwrap(), start().get("fixed").to_f64().unwrap());
    host(&parameters)
}

fn rate(step: u64) -> f64 {
    0.1 / (1.0 + step as f64)
}

fn assert_close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-13 * (1.0 + b.abs()), "{a} {b}");
    }
}

/// Algorithm 1 of Kingma and Ba, one number at a time; `decay` as L2 penalty or, decoupled, as in algorithm 2 of
/// Loshchilov and Hutter.
fn adam_by_hand([beta1, beta2, epsilon, decay]: [f64; 4], decoupled: bool, steps: u64) -> Vec<f64> {
    let (mut p, mut m, mut v) = (host(&start()), [0.0; 5], [0.0; 5]);
    for step in 0..steps {
        let t = (step + 1) as i32;
        for (i, slope) in slopes(step).into_iter().enumerate() {
            let g = if decoupled { slope } else { slope + decay * p[i] };
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            let (m_hat, v_hat) = (m[i] / (1.0 - beta1.powi(t)), v[i] / (1.0 - beta2.powi(t)));
            if decoupled {
                p[i] -= rate(step) * decay * p[i];
            }
            p[i] -= rate(step) * m_hat / (v_hat.sqrt() + epsilon);
        }
    }
    p
}

#[test]
fn adam_is_the_published_algorithm() {
    assert_close(&run(Rule::Adam(Adam::default()), 20), &adam_by_hand([0.9, 0.999, 1e-8, 0.0], false, 20));
    let adam = Adam { beta1: 0.5, beta2: 0.9, epsilon: 1e-3, weight_decay: 0.2 };
    assert_close(&run(Rule::Adam(adam), 20), &adam_by_hand([0.5, 0.9, 1e-3, 0.2], false, 20));
    let adam_w = AdamW { beta1: 0.5, beta2: 0.9, epsilon: 1e-3, weight_decay: 0.2 };
    assert_close(&run(Rule::AdamW(adam_w), 20), &adam_by_hand([0.5, 0.9, 1e-3, 0.2], true, 20));
}

#[test]
fn sgd_is_the_formula() {
    for (momentum, nesterov, weight_decay) in [(0.0, false, 0.0), (0.9, false, 0.1), (0.9, true, 0.0)] {
        let (mut p, mut m) = (host(&start()), [0.0; 5]);
        for step in 0..20 {
            for (i, slope) in slopes(step).into_iter().enumerate() {
                let g = slope + weight_decay * p[i];
                m[i] = momentum * m[i] + g;
                p[i] -= rate(step) * if nesterov { g + momentum * m[i] } else { m[i] };
            }
        }
        assert_close(&run(Rule::Sgd(Sgd { momentum, nesterov, weight_decay }), 20), &p);
    }
}

#[test]
fn clipping_scales_all_gradients_to_the_limit_and_never_up() {
    let parameters = start();
    let norm = slopes(0).iter().map(|g| g * g).sum::<f64>().sqrt();
    assert!((gradients(&parameters, 0).norm().item().unwrap() - norm).abs() < 1e-14);
    for limit in [0.5 * norm, 2.0 * norm] {
        let clipped = gradients(&parameters, 0).clipped(limit);
        let expected = (limit / (norm + 1e-6)).min(1.0);
        assert!((clipped.scale().unwrap().item().unwrap() - expected).abs() < 1e-14);
        let mut moved = parameters.clone();
        let plain = Rule::Sgd(Sgd { momentum: 0.0, ..Sgd::default() });
        Optimiser::new(plain, &parameters).unwrap().step(&mut moved, &clipped, 1.0);
        let by_hand: Vec<f64> = host(&parameters).iter().zip(slopes(0)).map(|(p, g)| p - expected * g).collect();
        assert_close(&host(&moved), &by_hand);
    }
}

#[test]
fn a_restored_state_goes_on_with_the_same_bits() {
    for rule in
        [Rule::Adam(Adam::default()), Rule::Sgd(Sgd::default()), Rule::Sgd(Sgd { momentum: 0.0, ..Sgd::default() })]
    {
        let mut parameters = start();
        let mut optimiser = Optimiser::new(rule, &parameters).unwrap();
        for step in 0..7 {
            let gradients = gradients(&parameters, step);
            optimiser.step(&mut parameters, &gradients, rate(step));
        }
        let mut resumed = Optimiser::new(rule, &parameters).unwrap();
        resumed.set_state(&optimiser.state()).unwrap();
        assert_eq!(resumed.steps(), 7);
        for step in 7..12 {
            let gradients = gradients(&parameters, step);
            resumed.step(&mut parameters, &gradients, rate(step));
        }
        assert_eq!(host(&parameters), run(rule, 12), "{rule:?}");
    }
}

#[test]
fn a_parameter_that_the_loss_does_not_use_stays() {
    let mut parameters = start();
    let leaves = parameters.tracked();
    let loss = ops::sum_all(&[leaves.get("a")], |p| p.input(0).square());
    let gradients = leaves.gradients(&loss.backward()).clipped(1e-3);
    let before = host(&parameters);
    Optimiser::new(Rule::default(), &parameters).unwrap().step(&mut parameters, &gradients, 0.1);
    let after = host(&parameters);
    assert_ne!(before[..3], after[..3]);
    assert_eq!(before[3..], after[3..]);
}

#[test]
fn schedules_give_their_tables() {
    let table = |schedule: &Schedule| (0..4).map(|epoch| schedule.factor(epoch, 4)).collect::<Vec<_>>();
    let near = |schedule: Schedule, expected: [f64; 4]| {
        for (got, expected) in table(&schedule).iter().zip(expected) {
            assert!((got - expected).abs() < 5e-4, "{schedule:?}: {got} {expected}");
        }
    };
    near(Schedule::Constant {}, [1.0; 4]);
    near(Schedule::Step { milestones: vec![2], every: 0, factor: 0.1 }, [1.0, 1.0, 0.1, 0.1]);
    near(Schedule::Step { milestones: vec![1, 3], every: 0, factor: 0.5 }, [1.0, 0.5, 0.5, 0.25]);
    near(Schedule::Polynomial { power: 0.9, warmup: 0 }, [1.0, 0.772, 0.536, 0.287]);
    near(Schedule::Cosine {}, [1.0, 0.854, 0.5, 0.146]);
}

#[test]
fn configs_are_read_strictly() {
    let rule = |text: &str| serde_json::from_str::<Rule>(text);
    assert_eq!(rule(r#"{"name": "adam"}"#).unwrap(), Rule::default());
    let sgd = Sgd { nesterov: true, ..Sgd::default() };
    assert_eq!(rule(r#"{"name": "sgd", "nesterov": true}"#).unwrap(), Rule::Sgd(sgd));
    assert!(rule(r#"{"name": "sgd", "beta1": 0.9}"#).unwrap_err().to_string().contains("beta1"));
    assert!(rule(r#"{"name": "adamm"}"#).unwrap_err().to_string().contains("adamw"));
    let schedule = |text: &str| serde_json::from_str::<Schedule>(text);
    let step = Schedule::Step { milestones: vec![6], every: 0, factor: 0.1 };
    assert_eq!(schedule(r#"{"name": "step", "milestones": [6]}"#).unwrap(), step);
    assert!(schedule(r#"{"name": "step", "milestones": [6], "power": 1.0}"#).is_err());
    assert!(schedule(r#"{"name": "cosine", "power": 1.0}"#).is_err());
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let refused = |rule| Optimiser::new(rule, &start()).unwrap_err().to_string();
    assert!(refused(Rule::Adam(Adam { beta1: 1.0, ..Adam::default() })).starts_with("beta1: 1 is out of range"));
    assert!(refused(Rule::AdamW(AdamW { weight_decay: f64::NAN, ..AdamW::default() })).starts_with("weight_decay"));
    assert!(refused(Rule::Sgd(Sgd { momentum: 0.0, nesterov: true, ..Sgd::default() })).starts_with("nesterov"));
    assert!(Schedule::Polynomial { power: -1.0, warmup: 0 }.check().unwrap_err().to_string().starts_with("power"));
}
