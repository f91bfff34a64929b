//! Explicit confidence penalty: `ECP = CE - lambda H(s)` with the entropy `H(s) = -sum_k s_k log s_k`.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`.
//!
//! - `authors`: the entropy is the **mean** over the classes of `-p log p` with `p = s` clamped to
//!   `[1e-10, 1 - 1e-10]`, so `lambda` has `1/K` of the printed effect;
//! - `paper`: the Shannon entropy (MbLS, Sec. 4.2).
//!
//! `lambda = 0` is cross entropy. `-H(s) = KL(s || u) - log K`.
//! Source: Pereyra et al. 2017; MbLS (Murugesan et al. 2023), Sec. 4.2.

use segcal_core::{Backend, Result};

use crate::pixelwise::{Per, pixelwise};
use crate::{Batch, Criterion, Listed, Param, Range, Settings, Spec, Value, Weighting};

/// Cross entropy minus the entropy of the prediction.
#[derive(Clone, Debug)]
pub struct Ecp {
    weighting: Weighting,
    lambda: f64,
    shannon: bool,
}

impl Listed for Ecp {
    const SPEC: Spec = Spec {
        name: "ecp",
        title: "Explicit confidence penalty: cross entropy minus entropy",
        source: "MbLS (Murugesan et al. 2023), Sec. 4.2; Pereyra et al. 2017",
        image: false,
        views: 1,
        params: &[
            &[Param::new("lambda", "0.1", Range::Closed(0.0, f64::INFINITY), "weight of the entropy")
                .reported("tried 0.1 0.2 0.3; reported 0.1 (MbLS, NACL)")],
            Weighting::PARAMS,
        ],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            weighting: Weighting::new(settings),
            lambda: settings.number("lambda"),
            shannon: settings.is_paper(),
        })
    }
}

impl Criterion for Ecp {
    fn check(&self, classes: usize) -> Result<()> {
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let share = if self.shannon { 1.0 } else { 1.0 / batch.classes() as f64 };
        pixelwise(batch, &self.weighting, &[], &[("ce", 1.0), ("entropy", -self.lambda)], |p| {
            let negative = if self.shannon {
                p.s() * p.log_s()
            } else {
                // The logarithm of the clamped probability is the clamped logarithm.
                let log_p = p.log_s().max(1e-10_f64.ln()).min((1.0 - 1e-10_f64).ln());
                log_p.exp() * log_p
            };
            vec![Per::cross_entropy(p), Per::Class(negative, -share)]
        })
    }
}
