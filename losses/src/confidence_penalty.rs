//! Confidence penalty: a segmentation loss minus the entropy of **all** pixels, `L = L_seg - beta H`. It is the
//! baseline in MEEP's tables, with `beta = 0.2` for both cross entropy and Dice.
//!
//! It is [`Meep`] with `pixels = all` and the regulariser `entropy`, in both conventions. With cross entropy and the
//! convention `paper` it is [`Ecp`](crate::ecp::Ecp). Logits `[n, K, d, h, w]`, any finite number; labels
//! `[n, 1, d, h, w]` in `0..K`. `beta = 0` is the segmentation loss. Source: Pereyra et al. 2017, as a baseline of MEEP
//! (Larrazabal et al. 2023), Sec. 3.

use segcal_core::{Backend, Result};

use crate::meep::Meep;
use crate::{Batch, Criterion, Listed, Param, Range, Settings, Spec, Value, Weighting};

/// A segmentation loss with an entropy bonus on all pixels.
#[derive(Clone, Debug)]
pub struct ConfidencePenalty(Meep);

impl Listed for ConfidencePenalty {
    const SPEC: Spec = Spec {
        name: "confidence-penalty",
        title: "Cross entropy or Dice with a penalty on the confidence of all pixels",
        source: "Pereyra et al. 2017; baseline of MEEP (Larrazabal et al. 2023), Sec. 3",
        image: false,
        views: 1,
        params: &[&[
            Param::new("beta", "0.2", Range::Closed(0.0, f64::INFINITY), "weight of the entropy")
                .reported("0.2 (MEEP)"),
            Meep::BASE,
            Meep::DENOMINATOR,
            Weighting::IGNORE,
        ]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self(Meep::everywhere(settings, settings.number("beta"))))
    }
}

impl Criterion for ConfidencePenalty {
    fn check(&self, classes: usize) -> Result<()> {
        self.0.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        self.0.value(batch)
    }
}
