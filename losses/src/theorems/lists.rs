//! Theorems over the lists: every loss and prior, with every word that a parameter accepts.

use segcal_core::{Backend, Reference, Result};

use super::problem::gap_of;
use super::{Problem, Theorem};
use crate::{Convention, Given, Loss, Range, Setting};

/// Every loss with its defaults, and once for each word that one of its parameters accepts, in both conventions.
pub(super) fn variants() -> Vec<(String, Loss)> {
    let mut variants = Vec::new();
    for spec in Loss::SPECS {
        let words = spec.params().flat_map(|param| {
            let words: Vec<&str> = match param.range {
                Range::OneOf(words) => words.to_vec(),
                Range::Flag => vec!["true", "false"],
                Range::Member(list) => list.iter().map(|spec| spec.name).collect(),
                _ => Vec::new(),
            };
            words.into_iter().map(|word| (param.name.to_string(), Setting::from(word)))
        });
        let given = std::iter::once(Given::new()).chain(words.map(|word| Given::from([word])));
        for given in given {
            for &convention in Convention::ALL {
                let name = format!("{} {given:?} {}", spec.name, convention.as_str());
                let loss = Loss::new(spec.name, &given, convention);
                variants.push((name, loss.expect("a word of the range is accepted")));
            }
        }
    }
    variants
}

/// Deviation of the gradient along a random direction from a five-point stencil, both in f64.
///
/// Logits are halved: the authors' `log(1 - p + 1e-7)` loses nine digits to rounding where `p` is nearly 1, and a
/// stencil divides the error by `h`; large logits are covered by the gradients derived by hand. If two stencils differ,
/// there is a kink between their points and neither is valid, so another point is used.
fn stencil(p: &Problem<Reference>, loss: &Loss) -> Result<f64> {
    let h = 1e-4;
    let mut last = f64::INFINITY;
    for attempt in 0..8 {
        let (jitter, rng) = (p.rng.stream(60 + attempt), p.rng.stream(40 + attempt));
        let direction: Vec<f64> = (0..p.logits.len() as u64).map(|i| rng.normal(i)).collect();
        let place: Vec<f64> = p.logits.iter().zip(0..).map(|(l, i)| 0.5 * l + 0.05 * jitter.normal(i)).collect();
        let moved = |step: f64| {
            let logits = place.iter().zip(&direction).map(|(l, d)| l + step * d).collect();
            Problem { logits, ..p.clone() }
        };
        let value = |step: f64| moved(step).total(loss);
        let slope = |h: f64| {
            let ends = value(-2.0 * h)? - value(2.0 * h)?;
            Ok::<f64, segcal_core::Error>((ends - 8.0 * value(-h)? + 8.0 * value(h)?) / (12.0 * h))
        };
        let (coarse, fine) = (slope(h)?, slope(0.5 * h)?);
        let found = moved(0.0).evaluate_loss(loss)?;
        let along: f64 = found.gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = along.abs().max(0.01 * length(&found.gradient) * length(&direction)).max(1e-9);
        // Rounding error of the four values, each off by a few units in the last place.
        let noise = 8.0 * f64::EPSILON * found.total.abs() / h;
        last = ((along - fine).abs() - noise).max(0.0) / scale;
        if (coarse - fine).abs() <= noise + 1e-8 * scale {
            return Ok(last);
        }
    }
    Ok(last)
}

pub(super) fn theorems<B: Backend>() -> Vec<Theorem<B>> {
    vec![
        Theorem {
            name: "gradients",
            statement: "the gradient of every loss, prior and variant along a random direction is that of a five-point stencil in \
                        f64; f32 backends are compared with the gradient in f64",
            source: "definition of the derivative",
            about: &[],
            bound: [1e-7, 1e-3],
            check: |p| {
                let exact = p.on(&Reference);
                // Halved as for the stencil: f32 has no significant digits left for `1 - p + 1e-7` where `p` is nearly
                // 1.
                let (moderate, exactly) = (p.with_logits(|_, l| 0.5 * l), exact.with_logits(|_, l| 0.5 * l));
                let mut worst: f64 = 0.0;
                let variants = variants();
                // A third of the variants in each case.
                let third = p.rng.below(50, 3);
                for (_, loss) in variants.iter().skip(third).step_by(3) {
                    let deviation = if Problem::<B>::is_single() {
                        gap_of(&moderate.evaluate_loss(loss)?.gradient, &exactly.evaluate_loss(loss)?.gradient)
                    } else {
                        stencil(&exact, loss)?
                    };
                    worst = worst.max(deviation);
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "extreme-logits",
            statement: "logits of 1e4, all equal logits, labels of one class and empty foreground give finite values and gradients \
                        for every loss and variant",
            source: "arithmetic",
            about: &[],
            bound: [0.0, 0.0],
            check: |p| {
                let extremes = [
                    p.with_logits(|_, l| if l > 0.0 { 1e4 } else { -1e4 }),
                    p.with_logits(|_, _| 1e4),
                    p.with_logits(|place, _| if place / p.shape.voxels() % p.classes() == 0 { 1e4 } else { 0.0 }),
                    p.with_labels(|_, _| 0.0),
                    p.with_labels(|_, _| (p.classes() - 1) as f64),
                    p.with_labels(|_, _| 0.0).with_logits(|_, _| 0.0),
                ];
                let variants = variants();
                let chosen = p.rng.below(51, extremes.len());
                let third = p.rng.below(52, 3);
                let mut worst: f64 = 0.0;
                for (_, loss) in variants.iter().skip(third).step_by(3).filter(|(name, _)| !name.contains("nan")) {
                    let found = extremes[chosen].evaluate_loss(loss)?;
                    let finite = found.total.is_finite() && found.gradient.iter().all(|g| g.is_finite());
                    worst = worst.max(if finite { 0.0 } else { 1.0 });
                }
                Ok(worst)
            },
        },
    ]
}
