//! Label smoothing: cross entropy with the label `y_k (1 - alpha) + alpha / K`,
//! `LS = -sum_k ((1 - alpha) y_k + alpha / K) log s_k`, averaged over the pixels.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. Both conventions are the same.
//! `alpha = 0` is cross entropy. Exactly, `LS = (1 - alpha) CE + alpha (KL(u || s) + log K)` with the uniform `u`.
//! Source: MbLS (Murugesan et al. 2023), Eq. 3; Szegedy et al. 2016.

use segcal_core::{Backend, Result};

use crate::pixelwise::{Per, pixelwise};
use crate::{Batch, Criterion, Listed, Param, Range, Settings, Spec, Value, Weighting};

/// Cross entropy with smoothed labels.
#[derive(Clone, Debug)]
pub struct LabelSmoothing {
    weighting: Weighting,
    alpha: f64,
}

impl Listed for LabelSmoothing {
    const SPEC: Spec = Spec {
        name: "label-smoothing",
        title: "Cross entropy with smoothed labels",
        source: "MbLS (Murugesan et al. 2023), Eq. 3",
        image: false,
        views: 1,
        params: &[
            &[Param::new("alpha", "0.1", Range::Closed(0.0, 1.0), "share of the label spread over all classes")
                .reported("tried 0.1 0.2 0.3; reported 0.1 (MbLS, NACL)")],
            Weighting::PARAMS,
        ],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { weighting: Weighting::new(settings), alpha: settings.number("alpha") })
    }
}

impl Criterion for LabelSmoothing {
    fn check(&self, classes: usize) -> Result<()> {
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let floor = self.alpha / batch.classes() as f64;
        pixelwise(batch, &self.weighting, &[], &[("label-smoothing", 1.0)], |p| {
            let label = p.y().select(p.constant(1.0 - self.alpha + floor), floor);
            vec![Per::Class(label * p.log_s(), -1.0)]
        })
    }
}
