//! Margin-based label smoothing: cross entropy plus a penalty on logit distances `d_k = max_j l_j - l_k` above a
//! margin, `MbLS = CE + lambda sum_k P(d_k)`.
//!
//! - `penalty = l1`: `P(d) = max(0, d - m)`;
//! - `penalty = l2`: `P(d) = max(0, d - m)^2`;
//! - `penalty = l2-unhinged`: `P(d) = (d - m)^2`, as computed by the authors' quadratic class: it pulls every distance
//!   towards the margin from both sides, and the largest logit adds `m^2`.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`.
//!
//! - `authors`: the penalty is the **mean** over the classes, so `lambda` has `1/K` of the printed effect;
//! - `paper`: the penalty is the sum over the classes (Eq. 7).
//!
//! `lambda = 0`, or a margin above every distance with `l1` or `l2`, is cross entropy; `margin = 0` is the linear
//! penalty of Prop. 1. Logits that tie for the largest get equal shares of the gradient.
//! Source: MbLS (Murugesan et al. 2023), Eq. 7 and Table 4.

use segcal_core::{Backend, Expr, Result};

use crate::pixelwise::{Per, pixelwise};
use crate::words::{Word, words};
use crate::{Batch, Criterion, Listed, Param, Pixel, Range, Settings, Spec, Value, Weighting};

/// Cross entropy with a penalty on large logit distances.
#[derive(Clone, Debug)]
pub struct Mbls {
    weighting: Weighting,
    penalty: Penalty,
    margin: f64,
    lambda: f64,
    sum_classes: bool,
}

words! {
    /// The shape of the penalty.
    enum Penalty {
        Linear "l1",
        Quadratic "l2",
        Unhinged "l2-unhinged",
    }
}

impl Listed for Mbls {
    const SPEC: Spec = Spec {
        name: "mbls",
        title: "Margin-based label smoothing: logit distances kept below a margin",
        source: "MbLS (Murugesan et al. 2023), Eq. 7",
        image: false,
        views: 1,
        params: &[
            &[
                Param::new("margin", "10", Range::Closed(0.0, f64::INFINITY), "distance that is free, in logits")
                    .reported("tried 5 8 10 (MbLS), 3 5 10 (NACL); reported 5 (NACL), 10 (CRaC)"),
                Param::new("lambda", "0.1", Range::Closed(0.0, f64::INFINITY), "weight of the penalty")
                    .reported("0.1 (MbLS)"),
                Param::new("penalty", "l1", Range::OneOf(Penalty::WORDS), "shape of the penalty"),
            ],
            Weighting::PARAMS,
        ],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            weighting: Weighting::new(settings),
            penalty: settings.choice("penalty"),
            margin: settings.number("margin"),
            lambda: settings.number("lambda"),
            sum_classes: settings.is_paper(),
        })
    }
}

impl Criterion for Mbls {
    fn check(&self, classes: usize) -> Result<()> {
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let share = if self.sum_classes { 1.0 } else { 1.0 / batch.classes() as f64 };
        pixelwise(batch, &self.weighting, &[], &[("ce", 1.0), ("margin", self.lambda)], |p| {
            vec![Per::cross_entropy(p), Per::Class(self.excess(p), share)]
        })
    }
}

impl Mbls {
    fn excess<'b>(&self, p: &Pixel<'b>) -> Expr<'b> {
        let above = p.largest() - p.logit() - self.margin;
        match self.penalty {
            Penalty::Linear => above.max(0.0),
            Penalty::Quadratic => above.max(0.0).square(),
            Penalty::Unhinged => above.square(),
        }
    }
}
