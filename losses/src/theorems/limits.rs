//! Special values of parameters at which a loss becomes another one.

use segcal_core::{Backend, Result};

use super::problem::{gap, gap_of};
use super::{Problem, Theorem};
use crate::Convention;
use crate::Convention::{Authors, Paper};

/// A loss with parameters.
type Named = (&'static str, &'static [(&'static str, &'static str)]);

/// Deviation of two losses in value and gradient.
fn same<B: Backend>(p: &Problem<B>, a: Named, b: Named, convention: Convention) -> Result<f64> {
    let [a, b] = [p.evaluate(a.0, a.1, convention)?, p.evaluate(b.0, b.1, convention)?];
    Ok(gap(a.total, b.total).max(gap_of(&a.gradient, &b.gradient)))
}

const CE: Named = ("ce", &[]);

/// Losses that equal another one, in both conventions.
const EQUAL: &[(Named, Named)] = &[
    (("focal", &[("gamma", "0")]), CE),
    (("label-smoothing", &[("alpha", "0")]), CE),
    (("ecp", &[("lambda", "0")]), CE),
    (("mbls", &[("lambda", "0")]), CE),
    (("mbls", &[("margin", "1e9")]), CE),
    (("mbls", &[("margin", "1e9"), ("penalty", "l2")]), CE),
    (("nacl", &[("lambda", "0")]), CE),
    (("nacl", &[("lambda", "0"), ("on", "softmax"), ("prior", "gaussian")]), CE),
    (("crac", &[("lambda", "0"), ("rho", "1e-12")]), CE),
    (("cals", &[("lambda", "0"), ("rho", "1e-12")]), CE),
    (("cals", &[("lambda", "0"), ("margin", "1e6")]), CE),
    (("mbls-dice", &[("lambda", "0")]), ("ce-dice", &[("include_background", "false")])),
    (("mbls-dice", &[("margin", "1e9")]), ("ce-dice", &[("include_background", "false")])),
    (("meep", &[("lambda", "0"), ("regularizer", "kl")]), ("meep", &[("lambda", "0")])),
    (("confidence-penalty", &[("beta", "0.3")]), ("meep", &[("pixels", "all"), ("lambda", "0.3")])),
    (
        ("confidence-penalty", &[("beta", "0.3"), ("base", "dice")]),
        ("meep", &[("pixels", "all"), ("lambda", "0.3"), ("base", "dice")]),
    ),
    (("crac-fixed", &[("lambda", "0.3")]), ("nacl", &[("lambda", "0.3")])),
];

#[expect(clippy::too_many_lines, reason = "a list")]
pub(super) fn theorems<B: Backend>() -> Vec<Theorem<B>> {
    vec![
        Theorem {
            name: "limits",
            statement: "focal (gamma 0), LS (alpha 0), ECP, MbLS, NACL (lambda 0), MbLS (large margin), CRaC and CALS (lambda and \
                        rho towards 0) equal cross entropy; MbLS + Dice without penalty equals CE + Dice; the confidence penalty is MEEP \
                        over all pixels, and CRaC with one fixed weight is NACL; value and gradient",
            source: "each paper",
            about: &[
                "focal",
                "label-smoothing",
                "ecp",
                "mbls",
                "nacl",
                "crac",
                "cals",
                "mbls-dice",
                "ce-dice",
                "meep",
                "confidence-penalty",
                "crac-fixed",
                "ce",
            ],
            bound: [1e-8, 1e-4],
            check: |p| {
                let mut worst: f64 = 0.0;
                for &convention in Convention::ALL {
                    for &(a, b) in EQUAL {
                        worst = worst.max(same(p, a, b, convention)?);
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "limits-paper",
            statement: "as printed, MEEP without regulariser equals cross entropy, and so does SVLS for sigma towards 0; the \
                        confidence penalty beside cross entropy is ECP",
            source: "MEEP, Sec. 2; NACL, Eq. 1; MbLS, Sec. 4.2",
            about: &["meep", "svls", "confidence-penalty", "ecp", "ce"],
            bound: [1e-12, 1e-5],
            check: |p| {
                let meep = same(p, ("meep", &[("lambda", "0")]), CE, Paper)?;
                let penalty = same(p, ("confidence-penalty", &[]), ("ecp", &[("lambda", "0.2")]), Paper)?;
                Ok(meep.max(penalty).max(same(p, ("svls", &[("sigma", "0.01")]), CE, Paper)?))
            },
        },
        Theorem {
            name: "ce-dice-sum",
            statement: "CE + Dice is the sum of the two, value and gradient",
            source: "MbLS, Sec. 5",
            about: &["ce-dice", "dice", "ce"],
            bound: [1e-12, 1e-5],
            check: |p| {
                let [both, ce, dice] = ["ce-dice", "ce", "dice"].map(|name| p.evaluate(name, &[], Authors));
                let (both, ce, dice) = (both?, ce?, dice?);
                let gradient: Vec<f64> = ce.gradient.iter().zip(&dice.gradient).map(|(a, b)| a + b).collect();
                Ok(gap(both.total, ce.total + dice.total).max(gap_of(&both.gradient, &gradient)))
            },
        },
        Theorem {
            name: "mbls-margin-0",
            statement: "MbLS with margin 0 is the linear penalty 1/K sum_k (max_j l_j - l_k)",
            source: "MbLS, Sec. 4.3",
            about: &["mbls"],
            bound: [1e-12, 1e-5],
            check: |p| {
                let expected = p.mean(|pixel| pixel.distances().iter().sum::<f64>() / p.classes() as f64);
                Ok(gap(p.evaluate("mbls", &[("margin", "0")], Authors)?.term("margin"), expected))
            },
        },
        Theorem {
            name: "nacl-patch-1",
            statement: "NACL with a patch of one pixel pulls to the one-hot label",
            source: "NACL, Eq. 7",
            about: &["nacl", "mean"],
            bound: [1e-12, 1e-5],
            check: |p| {
                let found = p.evaluate("nacl", &[("patch", "1"), ("lambda", "0.3")], Paper)?.total;
                let expected = p.mean(|pixel| {
                    let pull: f64 = pixel.l.iter().enumerate().map(|(k, l)| (pixel.y(k) - l).abs()).sum();
                    pixel.cross_entropy() + 0.3 * pull
                });
                Ok(gap(found, expected))
            },
        },
        Theorem {
            name: "bwcr-equal-views",
            statement: "two equal views leave cross entropy over the valid pixels, divided by K (1 + lambda) and with masked pixels \
                        in the divisor in the authors' convention",
            source: "BWCR, Eq. 1",
            about: &["bwcr"],
            bound: [1e-12, 1e-5],
            check: |p| {
                let equal = Problem { second: p.logits.clone(), ..p.clone() };
                let pixels = equal.each_pixel();
                let valid = pixels.iter().zip(&p.mask).map(|(pixel, mask)| pixel.cross_entropy() * mask).sum::<f64>();
                let printed = valid / p.mask.iter().sum::<f64>().max(1.0);
                let coded = valid / (3.0 * (p.classes() * p.pixels()) as f64);
                let set = [("lambda", "2")];
                let authors = gap(equal.evaluate("bwcr", &set, Authors)?.total, coded);
                Ok(authors.max(gap(equal.evaluate("bwcr", &set, Paper)?.total, printed)))
            },
        },
        Theorem {
            name: "uniform-labels",
            statement: "where all labels are one class, SVLS is cross entropy, as printed and in a patch of one pixel as coded",
            source: "NACL, Eq. 1",
            about: &["svls", "ce"],
            bound: [1e-12, 1e-5],
            check: |p| {
                let uniform = p.with_labels(|_, _| 1.0);
                let authors = same(&uniform, ("svls", &[("patch", "1")]), CE, Authors)?;
                Ok(authors.max(same(&uniform, ("svls", &[("patch", "5")]), CE, Paper)?))
            },
        },
    ]
}
