//! Logit distances, and the properties that make a function of them a penalty.

use segcal_core::{Backend, Result, stable};

use super::problem::{gap, gap_of};
use super::{Problem, Theorem};
use crate::Convention;
use crate::Convention::{Authors, Paper};

/// A loss with parameters, and the name of its penalty term.
type Penalised = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// Penalties on logit distances, whose constraint holds where all distances are 0.
const OF_DISTANCES: [Penalised; 5] = [
    ("mbls", &[("margin", "3")], "margin"),
    ("mbls", &[("margin", "3"), ("penalty", "l2")], "margin"),
    ("cals", &[("margin", "3"), ("lambda", "0.2"), ("penalty", "phr")], "penalty"),
    ("cals", &[("margin", "3"), ("lambda", "0.2"), ("penalty", "p2")], "penalty"),
    ("cals", &[("margin", "3"), ("lambda", "0.2"), ("penalty", "p3")], "penalty"),
];

/// Penalties on the distance from the prior, whose constraint holds where the logits equal the prior.
const OF_PRIOR: [Penalised; 3] = [
    ("nacl", &[("penalty", "l1")], "penalty"),
    ("nacl", &[("penalty", "l2")], "penalty"),
    ("crac-fixed", &[("lambda", "0.3")], "penalty"),
];

/// How far a penalty is below its value where the constraint holds.
fn below<B: Backend>(p: &Problem<B>, held: &Problem<B>, loss: Penalised, convention: Convention) -> Result<f64> {
    let (name, set, term) = loss;
    let [value, least] = [p, held].map(|p| p.evaluate(name, set, convention).map(|found| found.term(term)));
    Ok(least? - value?)
}

fn soft_penalties<B: Backend>(p: &Problem<B>) -> Result<f64> {
    let mut worst: f64 = 0.0;
    let equal = p.with_logits(|_, _| 0.0);
    for &convention in Convention::ALL {
        for loss in OF_DISTANCES {
            worst = worst.max(below(p, &equal, loss, convention)?);
        }
        let counted = [("normalise", if convention == Paper { "false" } else { "true" })];
        let prior = p.prior("mean", &counted, convention)?;
        let at_prior = p.with_logits(|place, _| prior[place]);
        for loss in OF_PRIOR {
            worst = worst.max(below(p, &at_prior, loss, convention)?);
        }
    }
    // The authors' constraint of CRaC is at least 0, where PHR is at least 0 as well; no logits are both 5 tau and tau.
    Ok(worst.max(-p.evaluate("crac", &[("lambda", "0.2")], Authors)?.term("penalty")))
}

/// The statement for logits where one is the margin and the others are 0.
fn unhinged<B: Backend>(p: &Problem<B>) -> Result<f64> {
    let margin_of_first = |place: usize| if (place / p.shape.voxels()).is_multiple_of(p.classes()) { 3.0 } else { 0.0 };
    let set = [("margin", "3"), ("penalty", "l2-unhinged")];
    let term = |p: &Problem<B>| Ok::<f64, segcal_core::Error>(p.evaluate("mbls", &set, Authors)?.term("margin"));
    let (at_margin, at_zero) =
        (term(&p.with_logits(|place, _| margin_of_first(place)))?, term(&p.with_logits(|_, _| 0.0))?);
    let falls = if at_margin < at_zero { 0.0 } else { 1.0 };
    Ok(gap(at_margin, 9.0 / p.classes() as f64).max(gap(at_zero, 9.0)).max(falls))
}

fn trivial_solution<B: Backend>(p: &Problem<B>) -> Result<f64> {
    let distance =
        |p: &Problem<B>| Ok::<f64, segcal_core::Error>(p.evaluate("mbls", &[("margin", "0")], Paper)?.term("margin"));
    let classes = p.classes() as f64;
    let away = p.mean(|pixel| pixel.s.iter().map(|s| (s - 1.0 / classes).abs()).fold(0.0, f64::max));
    let ratios = p.mean(|pixel| {
        let largest = pixel.s.iter().copied().fold(0.0, f64::max);
        pixel.s.iter().map(|s| (largest / s).ln()).sum()
    });
    let found = distance(p)?;
    Ok((away - found).max(gap(found, ratios)).max(distance(&p.with_logits(|_, _| 0.75))?.abs()))
}

fn log_sum_exp<B: Backend>(p: &Problem<B>) -> Result<f64> {
    let log_s = stable::log_softmax(&p.tensor(p.shape, &p.logits)).to_f64()?;
    let mut worst: f64 = 0.0;
    for pixel in p.each_pixel() {
        for (k, &place) in pixel.places.iter().enumerate() {
            let sum = pixel.l[k] - log_s[place];
            worst = worst.max(pixel.largest() - sum).max(sum - pixel.largest() - (p.classes() as f64).ln());
        }
    }
    Ok(worst)
}

pub(super) fn theorems<B: Backend>() -> Vec<Theorem<B>> {
    vec![
        Theorem {
            name: "soft-penalties",
            statement: "P(d) >= P(0): MbLS (l1, l2) and CALS (PHR, P2, P3) are least where all distances are 0, NACL (l1, l2) and \
                        CRaC with fixed weights where the logits are the prior, and PHR of CRaC's |t - l| is at least 0",
            source: "MbLS, Sec. 4.2; NACL, Sec. 2.2",
            about: &["mbls", "cals", "nacl", "crac", "crac-fixed"],
            bound: [1e-12, 1e-5],
            check: soft_penalties,
        },
        Theorem {
            name: "unhinged-is-not-soft",
            statement: "the quadratic penalty of the public code (l2-unhinged) breaks P(d) >= P(0): all distances 0 cost m^2, \
                        distances of m cost m^2 / K",
            source: "MbLS, Sec. 4.2; public code",
            about: &["mbls"],
            bound: [1e-12, 1e-5],
            check: unhinged,
        },
        Theorem {
            name: "distances-and-uniform",
            statement: "d_k = log(max s / s_k), so d >= 0, and d = 0 exactly where s = 1/K: max |s - 1/K| <= sum_k d_k, which is \
                        0 for equal logits",
            source: "MbLS, Sec. 4.1",
            about: &["mbls"],
            bound: [1e-12, 1e-4],
            check: trivial_solution,
        },
        Theorem {
            name: "log-sum-exp",
            statement: "max_k l_k <= log sum_k exp l_k <= max_k l_k + log K at every pixel",
            source: "MbLS, Prop. 1",
            about: &["mbls"],
            bound: [1e-12, 1e-4],
            check: log_sum_exp,
        },
        Theorem {
            name: "kl-cross-entropy",
            statement: "KL(q||p) = H(q, p) - log K for the uniform q: MEEP's KL over all pixels is LS with alpha = 1 less log K, \
                        value and gradient",
            source: "MEEP, Sec. 2",
            about: &["meep", "label-smoothing"],
            bound: [1e-12, 1e-4],
            check: |p| {
                let set = [("regularizer", "kl"), ("pixels", "all"), ("lambda", "1")];
                let [meep, ce] = [p.evaluate("meep", &set, Paper)?, p.evaluate("ce", &[], Paper)?];
                let cross_entropy = p.evaluate("label-smoothing", &[("alpha", "1")], Paper)?;
                let of_value = gap(meep.term("kl"), cross_entropy.total - (p.classes() as f64).ln());
                let slope: Vec<f64> = ce.gradient.iter().zip(&cross_entropy.gradient).map(|(a, b)| a + b).collect();
                Ok(of_value.max(gap_of(&meep.gradient, &slope)))
            },
        },
    ]
}
