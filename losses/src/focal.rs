//! Focal loss: `FL = -sum_k y_k (1 - s_k)^gamma log s_k`, averaged over the pixels.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. Both conventions are the same.
//! `gamma = 0` is cross entropy; the loss is at least `CE - gamma H(s)` (MbLS, Eq. 5) for `gamma >= 1`.
//!
//! With `schedule = flsd53` gamma depends on the probability `s_y` of the label: 5 where `s_y < 0.2`, 3 where
//! `s_y < 0.5`, else `gamma`. It is held constant in the gradient (Mukhoti et al. 2020).
//! Source: Lin et al. 2017; MbLS (Murugesan et al. 2023), Eq. 5.

use segcal_core::{Backend, Expr, Result};

use crate::pixelwise::{Per, pixelwise};
use crate::words::{Word, words};
use crate::{Batch, Criterion, Listed, Param, Pixel, Range, Settings, Spec, Value, Weighting};

/// Focal loss.
#[derive(Clone, Debug)]
pub struct Focal {
    weighting: Weighting,
    gamma: f64,
    scheduled: bool,
}

words! {
    /// How gamma is chosen.
    enum Schedule {
        Constant "constant",
        Flsd53 "flsd53",
    }
}

impl Listed for Focal {
    const SPEC: Spec = Spec {
        name: "focal",
        title: "Focal loss",
        source: "MbLS (Murugesan et al. 2023), Eq. 5; Lin et al. 2017",
        image: false,
        views: 1,
        params: &[
            &[
                Param::new("gamma", "3", Range::Closed(0.0, 20.0), "how much confident pixels are discounted")
                    .reported("tried 1 2 3; reported 3 (MbLS, NACL, CRaC), 2 (MEEP)"),
                Param::new("schedule", "constant", Range::OneOf(Schedule::WORDS), "how gamma is chosen"),
            ],
            Weighting::PARAMS,
        ],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            weighting: Weighting::new(settings),
            gamma: settings.number("gamma"),
            scheduled: settings.choice::<Schedule>("schedule") == Schedule::Flsd53,
        })
    }
}

impl Criterion for Focal {
    fn check(&self, classes: usize) -> Result<()> {
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        pixelwise(batch, &self.weighting, &[], &[("focal", 1.0)], |p| {
            // Keep it above 0, where the derivative of a power below 1 is infinite.
            let s_y = p.log_s_y().exp();
            let doubt = (1.0 - s_y).max(f64::from(f32::MIN_POSITIVE));
            vec![Per::Pixel(-(doubt.pow(self.exponent(p, s_y)) * p.log_s_y()))]
        })
    }
}

impl Focal {
    fn exponent<'b>(&self, p: &Pixel<'b>, s_y: Expr<'b>) -> Expr<'b> {
        let gamma = p.constant(self.gamma);
        if self.scheduled { s_y.lt(0.2).select(5.0, s_y.lt(0.5).select(3.0, gamma)) } else { gamma }
    }
}
