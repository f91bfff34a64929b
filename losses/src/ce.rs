//! Cross entropy: `CE = -sum_k y_k log s_k`, averaged over the pixels.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. Both conventions are the same. It
//! is the limit of focal (`gamma = 0`), label smoothing (`alpha = 0`), ECP, MbLS and NACL (`lambda = 0`).
//! Source: MbLS, Sec. 4.2; any textbook.

use segcal_core::{Backend, Result};

use crate::pixelwise::{Per, pixelwise};
use crate::{Batch, Criterion, Listed, Settings, Spec, Value, Weighting};

/// Cross entropy.
#[derive(Clone, Debug)]
pub struct Ce {
    weighting: Weighting,
}

impl Listed for Ce {
    const SPEC: Spec = Spec {
        name: "ce",
        title: "Cross entropy",
        source: "MbLS (Murugesan et al. 2023), Sec. 4.2",
        image: false,
        views: 1,
        params: &[Weighting::PARAMS],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { weighting: Weighting::new(settings) })
    }
}

impl Criterion for Ce {
    fn check(&self, classes: usize) -> Result<()> {
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        pixelwise(batch, &self.weighting, &[], &[("ce", 1.0)], |p| vec![Per::cross_entropy(p)])
    }
}
