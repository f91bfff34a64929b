//! Neighbour-aware calibration: cross entropy plus a penalty that pulls the logits to a prior from the label patch,
//! `NACL = CE + lambda sum_k P(tau_k - l_k)` with `P(z) = |z|` (`l1`) or `z^2` (`l2`).
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`; for the image-driven priors an
//! image `[n, 1, d, h, w]`. With `on = softmax` the probability `s_k` replaces `l_k`.
//!
//! - `authors`: the penalty is the **mean** over the classes, so `lambda` has `1/K` of the printed effect; the borders
//!   of the prior are those of the authors' code.
//! - `paper`: the penalty is the sum over the classes (NACL, Eq. 7), with the prior `mean` as the count printed there
//!   (`normalise = false`); outside the image, patches see the nearest pixel.
//!
//! `lambda = 0` is cross entropy. With `patch = 1` and the prior `mean` the target is the one-hot label.
//! Source: NACL (Murugesan et al. 2023), Eq. 7, and its supplement for the priors.

use segcal_core::{Backend, Result};

use crate::pixelwise::{Per, pixelwise};
use crate::priors::mean::Mean;
use crate::words::{Word, words};
use crate::{Batch, Criterion, LabelPrior, Listed, Param, Prior, Range, Settings, Spec, Value, Weighting};

/// Cross entropy with a penalty towards a prior from the label patch.
#[derive(Clone, Debug)]
pub struct Nacl {
    weighting: Weighting,
    prior: Prior,
    lambda: f64,
    squared: bool,
    on_softmax: bool,
    sum_classes: bool,
}

words! {
    /// How the difference from the prior is penalised.
    enum Difference {
        Absolute "l1",
        Squared "l2",
    }
}

words! {
    /// What is pulled towards the prior.
    enum Pulled {
        Logits "logits",
        Softmax "softmax",
    }
}

impl Listed for Nacl {
    const SPEC: Spec = Spec {
        name: "nacl",
        title: "Neighbour-aware calibration: logits pulled to a prior from the label patch",
        source: "NACL (Murugesan et al. 2023), Eq. 7",
        image: false,
        views: 1,
        params: &[
            &[
                Param::new("lambda", "0.1", Range::Closed(0.0, f64::INFINITY), "weight of the penalty")
                    .reported("tried 0.1 0.2 0.3; reported 0.1 (NACL)"),
                Param::new(
                    "prior",
                    "mean",
                    Range::Member(Prior::SPECS),
                    "what the logits are pulled to; see the list of priors",
                ),
                Mean::NORMALISE.paper("false").only_with("prior", Mean::SPEC.name),
                Param::new("penalty", "l1", Range::OneOf(Difference::WORDS), "absolute or squared difference"),
                Param::new("on", "logits", Range::OneOf(Pulled::WORDS), "what is pulled to the prior"),
            ],
            Weighting::PARAMS,
        ],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            weighting: Weighting::new(settings),
            prior: Prior::within(settings)?,
            lambda: settings.number("lambda"),
            squared: settings.choice::<Difference>("penalty") == Difference::Squared,
            on_softmax: settings.choice::<Pulled>("on") == Pulled::Softmax,
            sum_classes: settings.is_paper(),
        })
    }
}

impl Nacl {
    /// Whether the penalty applies to probabilities instead of logits.
    pub(crate) const fn is_on_softmax(&self) -> bool {
        self.on_softmax
    }
}

impl Criterion for Nacl {
    fn check(&self, classes: usize) -> Result<()> {
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let prior = self.prior.of_batch(batch);
        let share = if self.sum_classes { 1.0 } else { 1.0 / batch.classes() as f64 };
        pixelwise(batch, &self.weighting, &[&prior], &[("ce", 1.0), ("penalty", self.lambda)], |p| {
            let difference = p.input(0) - if self.on_softmax { p.s() } else { p.logit() };
            let penalty = if self.squared { difference.square() } else { difference.abs() };
            vec![Per::cross_entropy(p), Per::Class(penalty, share)]
        })
    }
}
