//! Gradients derived by hand from the papers, compared with automatic differentiation.

use segcal_core::Backend;

use super::problem::{Pixel, gap_of};
use super::{Problem, Theorem};
use crate::Convention::{Authors, Paper};

/// The gradient of a whole loss, derived by hand.
type ByHand<B> = fn(&Problem<B>) -> Vec<f64>;

/// A loss with parameters, the convention, and its gradient derived by hand.
type Entry<B> = (&'static str, &'static [(&'static str, &'static str)], crate::Convention, ByHand<B>);

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// `s - y`.
fn of_ce(pixel: &Pixel) -> Vec<f64> {
    pixel.s.iter().enumerate().map(|(k, s)| s - pixel.y(k)).collect()
}

fn ce<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    p.gradient_of_mean(|_, pixel| of_ce(pixel))
}

/// Cross entropy plus a term with gradient `f` per pixel.
fn ce_and<B: Backend>(p: &Problem<B>, f: impl Fn(usize, &Pixel) -> Vec<f64>) -> Vec<f64> {
    p.gradient_of_mean(|number, pixel| sum(&of_ce(pixel), &f(number, pixel)))
}

/// `p = s_y`: `dL/dp = gamma (1 - p)^(gamma - 1) log p - (1 - p)^gamma / p`, `dp/dl_k = p (y_k - s_k)`.
fn focal<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    p.gradient_of_mean(|_, pixel| {
        let (gamma, q) = (2, pixel.s[pixel.label]);
        let slope = f64::from(gamma) * (1.0 - q) * q * pixel.log_s[pixel.label] - (1.0 - q).powi(gamma);
        (0..p.classes()).map(|k| slope * (pixel.y(k) - pixel.s[k])).collect()
    })
}

/// `-dH/dl_k = s_k (log s_k + H)`.
fn confidence(pixel: &Pixel, weight: f64) -> Vec<f64> {
    let entropy = pixel.entropy();
    pixel.s.iter().zip(&pixel.log_s).map(|(s, log_s)| weight * s * (log_s + entropy)).collect()
}

/// Converts derivatives with respect to the distances into derivatives with respect to the logits: each is subtracted
/// at its logit and added at the largest.
fn of_distances(pixel: &Pixel, slopes: &[f64]) -> Vec<f64> {
    let mut gradient: Vec<f64> = slopes.iter().map(|slope| -slope).collect();
    gradient[pixel.winner()] += slopes.iter().sum::<f64>();
    gradient
}

fn mbls<B: Backend>(p: &Problem<B>, slope: impl Fn(f64) -> f64) -> Vec<f64> {
    ce_and(p, |_, pixel| {
        let slopes: Vec<f64> = pixel.distances().iter().map(|&d| slope(d)).collect();
        of_distances(pixel, &slopes)
    })
}

/// Dice: `dD/ds_k = -(2 y_k (S + Y + e) - (2 I + e) S') / (S + Y + e)^2` per sample and class with `S' = 1`, or `2 s_k`
/// if `S` sums squares, then through softmax.
fn dice<B: Backend>(p: &Problem<B>, first: usize, squared: bool) -> Vec<f64> {
    let (pixels, classes, samples, e) = (p.each_pixel(), p.classes(), p.shape.n(), 1e-5);
    let mut sums = vec![[0.0; 3]; samples * classes];
    for (number, pixel) in pixels.iter().enumerate() {
        for k in 0..classes {
            let sum = &mut sums[number / p.shape.voxels() * classes + k];
            let own = if squared { pixel.s[k].powi(2) } else { pixel.s[k] };
            *sum = [sum[0] + pixel.s[k] * pixel.y(k), sum[1] + own, sum[2] + pixel.y(k)];
        }
    }
    let share = p.pixels() as f64 / (samples * (classes - first)) as f64;
    p.gradient_of_mean(|number, pixel| {
        let slope = |k: usize| {
            let [both, predicted, true_] = sums[number / p.shape.voxels() * classes + k];
            let below = predicted + true_ + e;
            let own = if squared { 2.0 * pixel.s[k] } else { 1.0 };
            let slope = -share * (2.0 * pixel.y(k) * below - (2.0 * both + e) * own) / (below * below);
            if k < first { 0.0 } else { slope }
        };
        pixel.through_softmax(&(0..classes).map(slope).collect::<Vec<_>>())
    })
}

/// The value of a prior at a pixel and class.
fn at<B: Backend>(p: &Problem<B>, prior: &[f64], number: usize, class: usize) -> f64 {
    let voxels = p.shape.voxels();
    prior[(number / voxels * p.classes() + class) * voxels + number % voxels]
}

/// The mean prior: a share in the public code, a count as printed.
fn mean_prior<B: Backend>(p: &Problem<B>, convention: crate::Convention) -> Vec<f64> {
    let set: &[(&str, &str)] = if convention == Paper { &[("normalise", "false")] } else { &[] };
    p.prior("mean", set, convention).expect("the mean prior")
}

fn nacl<B: Backend>(p: &Problem<B>, slope: impl Fn(f64) -> f64) -> Vec<f64> {
    let prior = mean_prior(p, Paper);
    ce_and(p, |number, pixel| (0..p.classes()).map(|k| slope(pixel.l[k] - at(p, &prior, number, k))).collect())
}

/// NACL's sum over the classes, with the prior as a share.
fn nacl_of_shares<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let prior = p.prior("mean", &[], Paper).expect("the mean prior");
    ce_and(p, |number, pixel| {
        (0..p.classes()).map(|k| 0.1 * (pixel.l[k] - at(p, &prior, number, k)).signum()).collect()
    })
}

/// Fixed weights: 0.3 at outer pixels, 0.7 at inner ones, doubled for class 0.
fn crac_fixed<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let shares = p.prior("mean", &[], Paper).expect("the mean prior");
    let prior = mean_prior(p, Paper);
    ce_and(p, |number, pixel| {
        let inner = (0..p.classes()).any(|k| at(p, &shares, number, k) > 1.0 - 1e-6);
        let weight = |k: usize| if inner { 0.7 } else { 0.3 } * if k == 0 { 2.0 } else { 1.0 };
        (0..p.classes()).map(|k| weight(k) * (pixel.l[k] - at(p, &prior, number, k)).signum()).collect()
    })
}

fn nacl_softmax<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let prior = mean_prior(p, Authors);
    ce_and(p, |number, pixel| {
        let slope = |k: usize| 0.1 * (pixel.s[k] - at(p, &prior, number, k)).signum() / p.classes() as f64;
        pixel.through_softmax(&(0..p.classes()).map(slope).collect::<Vec<_>>())
    })
}

/// CRaC as printed: `-P'(tau - l)` with a single multiplier, so that regions do not matter.
fn crac<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let prior = mean_prior(p, Paper);
    ce_and(p, |number, pixel| {
        (0..p.classes()).map(|k| -(0.3 + 0.5 * (at(p, &prior, number, k) - pixel.l[k])).max(0.0)).collect()
    })
}

/// CRaC as coded: `P'(h) sign(l - t)` with `t = 5 tau` at inner pixels, `tau` at outer ones.
fn crac_authors<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let prior = mean_prior(p, Authors);
    ce_and(p, |number, pixel| {
        let inner = (0..p.classes()).any(|k| at(p, &prior, number, k) > 1.0 - 1e-6);
        let slope = |k: usize| {
            let away = pixel.l[k] - at(p, &prior, number, k) * if inner { 5.0 } else { 1.0 };
            (0.3 + 0.5 * away.abs()) * away.signum() / (2 * p.classes()) as f64
        };
        (0..p.classes()).map(slope).collect()
    })
}

fn wrong<B: Backend>(p: &Problem<B>) -> f64 {
    p.each_pixel().iter().filter(|pixel| pixel.winner() != pixel.label).count().max(1) as f64
}

fn meep<B: Backend>(p: &Problem<B>, slope: impl Fn(&Pixel) -> Vec<f64>) -> Vec<f64> {
    let share = p.pixels() as f64 / wrong(p);
    ce_and(p, |_, pixel| {
        let keep = if pixel.winner() == pixel.label { 0.0 } else { share };
        slope(pixel).iter().map(|slope| slope * keep).collect()
    })
}

/// As printed, without boundary weights: means over the valid pixels.
fn bwcr<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let share = p.pixels() as f64 / p.mask.iter().sum::<f64>().max(1.0);
    p.gradient_of_mean(|number, pixel| {
        let keep = p.mask[number] * share;
        let slope = |k: usize| keep * (of_ce(pixel)[k] + 2.0 * (pixel.l[k] - p.second[pixel.places[k]]));
        (0..p.classes()).map(slope).collect()
    })
}

/// Hard bins: each pixel pulls its bin's mean probability to the bin's frequency.
fn ace<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let (bins, classes, pixels) = (20, p.classes(), p.each_pixel());
    let bin = |s: f64| ((s * f64::from(bins)).floor() as usize).min(bins as usize - 1);
    let mut gaps = vec![(0.0, 0.0); p.shape.n() * classes * bins as usize];
    let group = |number: usize, k: usize, s: f64| (number / p.shape.voxels() * classes + k) * bins as usize + bin(s);
    for (number, pixel) in pixels.iter().enumerate() {
        for k in 0..classes {
            let sum = &mut gaps[group(number, k, pixel.s[k])];
            *sum = (sum.0 + pixel.s[k] - pixel.y(k), sum.1 + 1.0);
        }
    }
    let occupied = |number: usize, k: usize| {
        let first = (number / p.shape.voxels() * classes + k) * bins as usize;
        gaps[first..first + bins as usize].iter().filter(|(_, count)| *count > 0.0).count() as f64
    };
    p.gradient_of_mean(|number, pixel| {
        let slope = |k: usize| {
            let (gap, count) = gaps[group(number, k, pixel.s[k])];
            p.pixels() as f64 * gap.signum() / (count * occupied(number, k) * (p.shape.n() * classes) as f64)
        };
        pixel.through_softmax(&(0..classes).map(slope).collect::<Vec<_>>())
    })
}

fn smoothed<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let floor = 0.2 / p.classes() as f64;
    p.gradient_of_mean(|_, pixel| (0..p.classes()).map(|k| pixel.s[k] - 0.8 * pixel.y(k) - floor).collect())
}

fn svls<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let label = p.prior("gaussian", &[], Paper).expect("the Gaussian prior");
    p.gradient_of_mean(|number, pixel| (0..p.classes()).map(|k| pixel.s[k] - at(p, &label, number, k)).collect())
}

fn entries<B: Backend>() -> Vec<Entry<B>> {
    vec![
        ("ce", &[], Authors, ce),
        ("dice", &[], Authors, |p| dice(p, 0, false)),
        ("dice", &[("denominator", "squared")], Paper, |p| dice(p, 0, true)),
        ("ce-dice", &[], Authors, |p| sum(&ce(p), &dice(p, 0, false))),
        ("focal", &[("gamma", "2")], Authors, focal),
        ("ecp", &[("lambda", "0.3")], Paper, |p| ce_and(p, |_, pixel| confidence(pixel, 0.3))),
        ("label-smoothing", &[("alpha", "0.2")], Authors, smoothed),
        ("svls", &[], Paper, svls),
        ("mbls", &[("margin", "3")], Paper, |p| mbls(p, |d| if d > 3.0 { 0.1 } else { 0.0 })),
        ("mbls", &[("margin", "3"), ("penalty", "l2")], Paper, |p| mbls(p, |d| 0.2 * (d - 3.0).max(0.0))),
        ("mbls", &[("margin", "3"), ("penalty", "l2-unhinged")], Paper, |p| mbls(p, |d| 0.2 * (d - 3.0))),
        ("mbls-dice", &[("margin", "3")], Paper, |p| {
            sum(&mbls(p, |d| if d > 3.0 { 0.1 } else { 0.0 }), &dice(p, 1, false))
        }),
        ("nacl", &[], Paper, |p| nacl(p, |away| 0.1 * away.signum())),
        ("nacl", &[("penalty", "l2")], Paper, |p| nacl(p, |away| 0.2 * away)),
        ("nacl", &[("normalise", "true")], Paper, nacl_of_shares),
        ("nacl", &[("on", "softmax")], Authors, nacl_softmax),
        ("crac", &[("lambda", "0.3"), ("rho", "0.5")], Paper, crac),
        ("crac", &[("lambda", "0.3"), ("rho", "0.5")], Authors, crac_authors),
        ("cals", &[("margin", "4"), ("lambda", "0.3"), ("rho", "0.5")], Paper, |p| {
            mbls(p, |d| (0.3 + 0.5 * (d / 4.0 - 1.0)).max(0.0) / 4.0)
        }),
        ("bwcr", &[("weighting", "none")], Paper, bwcr),
        ("meep", &[], Paper, |p| meep(p, |pixel| confidence(pixel, 0.3))),
        ("meep", &[("regularizer", "kl")], Paper, |p| {
            meep(p, |pixel| pixel.s.iter().map(|s| 0.3 * (s - 1.0 / pixel.s.len() as f64)).collect())
        }),
        ("confidence-penalty", &[], Paper, |p| ce_and(p, |_, pixel| confidence(pixel, 0.2))),
        ("ace-l1", &[], Authors, ace),
    ]
}

/// Names of the losses whose gradient is derived here.
const NAMES: &[&str] = &[
    "ce",
    "dice",
    "ce-dice",
    "focal",
    "ecp",
    "label-smoothing",
    "svls",
    "mbls",
    "mbls-dice",
    "nacl",
    "crac",
    "crac-fixed",
    "cals",
    "bwcr",
    "meep",
    "confidence-penalty",
    "ace-l1",
];

pub(super) fn theorems<B: Backend>() -> Vec<Theorem<B>> {
    vec![Theorem {
        name: "closed-form-gradients",
        statement: "gradients written by hand from the papers equal the automatic ones",
        source: "each paper",
        about: NAMES,
        bound: [1e-9, 1e-3],
        check: |p| {
            let mut worst: f64 = 0.0;
            for (name, set, convention, by_hand) in entries::<B>() {
                let deviation = gap_of(&p.evaluate(name, set, convention)?.gradient, &by_hand(p));
                worst = worst.max(deviation);
            }
            let weights: Vec<String> = [0.3, 0.7]
                .iter()
                .flat_map(|w| (0..p.classes()).map(move |k| (if k == 0 { 2.0 * w } else { *w }).to_string()))
                .collect();
            let found = p.evaluate("crac-fixed", &[("lambda", &weights.join(","))], Paper)?.gradient;
            Ok(worst.max(gap_of(&found, &crac_fixed(p))))
        },
    }]
}
