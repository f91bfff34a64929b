//! Penalty functions and multipliers of CRaC and CALS.

use segcal_core::{Backend, Result, Shape, Tensor, ops};

use super::problem::{gap, given};
use super::{Problem, Theorem};
use crate::Convention::{Authors, Paper};
use crate::lagrangian::Penalty;
use crate::{Convention, Loss};

const PENALTIES: [Penalty; 3] = [Penalty::Phr, Penalty::P2, Penalty::P3];

/// Value and slope of a penalty at one point, as the backend computes them.
fn at<B: Backend>(p: &Problem<B>, penalty: Penalty, z: f64, rho: f64, lambda: f64) -> Result<[f64; 2]> {
    let [z, rho, lambda] = [z, rho, lambda].map(|x| p.tensor(Shape::SCALAR, &[x]));
    let inputs: [&Tensor<B>; 3] = [&z, &rho, &lambda];
    let value = ops::map(&inputs, |b| penalty.value(b.input(0), b.input(1), b.input(2)));
    let slope = ops::map(&inputs, |b| penalty.slope(b.input(0), b.input(1), b.input(2)));
    Ok([value.item()?, slope.item()?])
}

/// Random arguments of a penalty.
fn arguments<B: Backend>(p: &Problem<B>) -> [f64; 3] {
    [p.rng.range(20, -4.0, 4.0), p.rng.range(21, 0.1, 10.0), p.rng.range(22, 1e-3, 2.0)]
}

/// The multiplier state after observing this problem for one epoch.
fn after_epoch<B: Backend>(p: &Problem<B>, loss: &mut Loss) -> Result<[Vec<f64>; 2]> {
    p.with_batch(|batch| loss.observe(batch))?;
    loss.end_epoch();
    let state = loss.state();
    let part = |name: &str| state.iter().find(|(known, _)| known == name).expect("a part of the state").1.clone();
    Ok([part("lambda"), part("rho")])
}

fn build(name: &str, set: &[(&str, &str)], convention: Convention) -> Result<Loss> {
    Loss::new(name, &given(set), convention)
}

/// Mean of `|t - l|` over all pixels, where a pixel counts 0 in the other region: outer for all classes, then inner.
fn constraints_of_regions<B: Backend>(p: &Problem<B>) -> Result<Vec<f64>> {
    let (prior, classes, voxels) = (p.prior("mean", &[], Authors)?, p.classes(), p.shape.voxels());
    let mut means = vec![0.0; 2 * classes];
    for (number, pixel) in p.each_pixel().iter().enumerate() {
        let tau: Vec<f64> =
            (0..classes).map(|k| prior[(number / voxels * classes + k) * voxels + number % voxels]).collect();
        let inner = tau.iter().any(|&share| share > 1.0 - 1e-6);
        for k in 0..classes {
            let (target, first) = if inner { (5.0 * tau[k], classes) } else { (tau[k], 0) };
            means[first + k] += (target - pixel.l[k]).abs() / p.pixels() as f64;
        }
    }
    Ok(means)
}

/// Deviation of the multipliers from the authors' recursion over 25 epochs of decreasing logits, in two batches.
fn outer_loop_gap<B: Backend>(p: &Problem<B>) -> Result<f64> {
    let mut loss = build("crac", &[], Authors)?;
    let entries = 2 * p.classes();
    let (mut lambda, mut rho, mut previous) = (vec![1e-6; entries], vec![0.1; entries], vec![0.0; entries]);
    let mut worst: f64 = 0.0;
    for epoch in 0..25 {
        let shrink = 0.99_f64.powi(epoch);
        let batches = [p.with_logits(|_, l| l * shrink), p.with_logits(|_, l| -0.5 * l * shrink)];
        let mut mean = vec![0.0; entries];
        for batch in &batches {
            batch.with_batch(|batch| loss.observe(batch))?;
            mean.iter_mut().zip(constraints_of_regions(batch)?).for_each(|(mean, own)| *mean += 0.5 * own);
        }
        loss.end_epoch();
        for entry in 0..entries {
            lambda[entry] = (lambda[entry] + rho[entry] * mean[entry]).clamp(1e-6, 1e6);
            if (epoch + 1) % 10 == 0 && mean[entry] > 0.9 * previous[entry] {
                rho[entry] = (rho[entry] * 1.2).clamp(0.1, 10.0);
            }
        }
        previous = mean;
        let state = loss.state();
        for (found, expected) in [(&state[0], &lambda), (&state[1], &rho), (&state[2], &previous)] {
            // Until the first update, one number is shared by all.
            let found = |entry: usize| found.1[entry.min(found.1.len() - 1)];
            worst = (0..entries).fold(worst, |worst, entry| worst.max(gap(found(entry), expected[entry])));
        }
    }
    Ok(worst)
}

#[expect(clippy::too_many_lines, reason = "a list")]
pub(super) fn theorems<B: Backend>() -> Vec<Theorem<B>> {
    vec![
        Theorem {
            name: "penalty-axioms-1-2",
            statement: "P'(z) >= 0 for all z, and P'(0) = lambda, for PHR, P2 and P3",
            source: "CRaC, appendix A, axioms 1 and 2",
            about: &["crac", "cals"],
            bound: [1e-12, 1e-6],
            check: |p| {
                let [z, rho, lambda] = arguments(p);
                PENALTIES.iter().try_fold(0.0, |worst: f64, &penalty| {
                    let slope = at(p, penalty, z, rho, lambda)?[1];
                    Ok(worst.max(-slope).max(gap(at(p, penalty, 0.0, rho, lambda)?[1], lambda)))
                })
            },
        },
        Theorem {
            name: "penalty-axioms-3-4",
            statement: "with growing rho, P' grows without limit where z > 0 and vanishes where z < 0",
            source: "CRaC, appendix A, axioms 3 and 4",
            about: &["crac", "cals"],
            bound: [1e-4, 1e-4],
            check: |p| {
                let [z, _, lambda] = arguments(p);
                let z = z.abs().max(0.1);
                PENALTIES.iter().try_fold(0.0, |worst: f64, &penalty| {
                    let violated = [1e2, 1e4, 1e6].map(|rho| at(p, penalty, z, rho, lambda));
                    let [low, middle, high] = violated;
                    let (low, middle, high) = (low?[1], middle?[1], high?[1]);
                    let grows = middle > 10.0 * low && high > 10.0 * middle;
                    let satisfied = at(p, penalty, -z, 1e6, lambda)?[1];
                    Ok(worst.max(if grows { 0.0 } else { 1.0 }).max(satisfied))
                })
            },
        },
        Theorem {
            name: "penalty-derivative",
            statement: "the multiplier update P' is the derivative of P",
            source: "CRaC, Eq. 6",
            about: &["crac", "cals"],
            // A five-point stencil with f64 rounding error 1e-16 / h for h = 1e-4; f32 backends are compared with the
            // value in f64.
            bound: [1e-9, 1e-4],
            check: |p| {
                let [z, rho, lambda] = arguments(p);
                let exact = p.on(&segcal_core::Reference);
                PENALTIES.iter().try_fold(0.0, |worst: f64, &penalty| {
                    let h = 1e-4;
                    let value =
                        |step: f64| Ok::<f64, segcal_core::Error>(at(&exact, penalty, z + step * h, rho, lambda)?[0]);
                    let stencil = (value(-2.0)? - 8.0 * value(-1.0)? + 8.0 * value(1.0)? - value(2.0)?) / (12.0 * h);
                    // Near a kink of the second derivative (z = 0, lambda + rho z = 0) the stencil is not valid.
                    let smooth = z.abs() > 3.0 * h && (lambda + rho * z).abs() > 3.0 * h * rho;
                    let slope = at(p, penalty, z, rho, lambda)?[1];
                    Ok(worst.max(if smooth { gap(slope, stencil) } else { 0.0 }))
                })
            },
        },
        Theorem {
            name: "phr-closed-form",
            statement: "PHR = (max(0, lambda + rho z)^2 - lambda^2) / (2 rho)",
            source: "CRaC, Eq. 10",
            about: &["crac"],
            bound: [1e-12, 1e-4],
            check: |p| {
                let [z, rho, lambda] = arguments(p);
                let expected = ((lambda + rho * z).max(0.0).powi(2) - lambda * lambda) / (2.0 * rho);
                Ok(gap(at(p, Penalty::Phr, z, rho, lambda)?[0], expected))
            },
        },
        Theorem {
            name: "multipliers-in-clamps",
            statement: "multipliers stay within their clamps over twelve epochs",
            source: "CRaC, appendix A",
            about: &["crac", "cals"],
            bound: [0.0, 0.0],
            check: |p| {
                let mut worst: f64 = 0.0;
                for (name, convention) in [("crac", Authors), ("crac", Paper), ("cals", Authors), ("cals", Paper)] {
                    let clamps = [("lambda_max", "0.5"), ("rho_max", "2"), ("rho_every", "1")];
                    let mut loss = build(name, &clamps, convention)?;
                    for _ in 0..12 {
                        let [lambda, rho] = after_epoch(p, &mut loss)?;
                        let outside = |x: &f64, low: f64, high: f64| (low - x).max(x - high).max(0.0);
                        let of_lambda = lambda.iter().map(|x| outside(x, 1e-6, 0.5));
                        worst = of_lambda.chain(rho.iter().map(|x| outside(x, 0.1, 2.0))).fold(worst, f64::max);
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "satisfied-multiplier-falls",
            statement: "where an inequality constraint is satisfied everywhere, its multiplier falls (CALS; CRaC with the printed \
                        sign and logits above the prior)",
            source: "CRaC, Eq. 6 to 8",
            about: &["cals", "crac"],
            bound: [0.0, 0.0],
            check: |p| {
                let mut cals = build("cals", &[("margin", "1e5"), ("lambda", "0.5")], Authors)?;
                let of_cals = after_epoch(p, &mut cals)?[0].clone();
                // Above 27, the number of pixels in a patch.
                let above = p.with_logits(|_, l| 30.0 + l.abs());
                let mut crac = build("crac", &[("lambda", "0.5")], Paper)?;
                let of_crac = after_epoch(&above, &mut crac)?[0].clone();
                // A region without pixels keeps its multiplier.
                let rises = of_cals.iter().map(|l| l - 0.5 + 1e-3).chain(of_crac.iter().map(|l| l - 0.5));
                Ok(rises.fold(0.0, f64::max))
            },
        },
        Theorem {
            name: "absolute-constraint-never-falls",
            statement: "with the authors' h = |t - l| >= 0 the update lambda + rho mean(h) can never let a multiplier fall",
            source: "public code of CRaC",
            about: &["crac"],
            bound: [1e-12, 1e-6],
            check: |p| {
                let mut loss = build("crac", &[("lambda", "0.3"), ("rho_every", "2")], Authors)?;
                let mut last = vec![0.3; 2 * p.classes()];
                let mut worst: f64 = 0.0;
                for _ in 0..6 {
                    let [lambda, _] = after_epoch(p, &mut loss)?;
                    worst = lambda.iter().zip(&last).fold(worst, |worst, (new, old)| worst.max(old - new));
                    last = lambda;
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "outer-loop",
            statement: "over 25 epochs the multipliers follow lambda <- lambda + rho mean(h in the region), and every tenth epoch \
                        rho <- 1.2 rho where the mean is above 0.9 times that of the epoch before, within their clamps",
            source: "public code of CRaC; Eq. 8 and 9",
            about: &["crac"],
            bound: [1e-12, 1e-4],
            check: outer_loop_gap,
        },
        Theorem {
            name: "state-survives",
            statement: "a loss that is restored from its state goes on with the same multipliers and values",
            source: "checkpoints",
            about: &["crac", "cals"],
            bound: [0.0, 0.0],
            check: |p| {
                let mut worst: f64 = 0.0;
                for name in ["crac", "cals"] {
                    let mut first = build(name, &[("rho_every", "2")], Authors)?;
                    for _ in 0..3 {
                        after_epoch(p, &mut first)?;
                    }
                    let mut second = build(name, &[("rho_every", "2")], Authors)?;
                    second.restore(&first.state())?;
                    worst = worst.max((p.total(&first)? - p.total(&second)?).abs());
                    let [a, b] = [after_epoch(p, &mut first)?, after_epoch(p, &mut second)?];
                    worst = worst.max(if a == b { 0.0 } else { 1.0 });
                }
                Ok(worst)
            },
        },
    ]
}
