//! Spatially varying label smoothing: cross entropy with labels blurred by a discrete Gaussian,
//! `SVLS = -sum_k ytilde_k log s_k`, `ytilde_k = sum_i w_i y_i^k / sum_i w_i` over the label patch.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. The blurred label is the prior
//! [`gaussian`](crate::priors::gaussian), whose documentation describes the two conventions: `authors` gives the centre
//! half of the weight for every sigma and blurs in float32 regardless of the type of the logits, which in 3-D affects
//! the 7th digit; `paper` uses the plain Gaussian.
//!
//! `SVLS = w_c CE + (1 - w_c) (KL(tau || s) + H(tau))` with the weight `w_c` of the centre and the mixture `tau` of the
//! neighbours' labels. In the convention `paper`, `sigma -> 0` is cross entropy; a uniform patch gives cross entropy in
//! both (`authors`: to 1e-6).
//! Source: Islam and Glocker 2021; NACL (Murugesan et al. 2023), Eq. 1 to 5.

use segcal_core::{Backend, Result};

use crate::pixelwise::{Per, pixelwise};
use crate::priors::gaussian::Gaussian;
use crate::{Batch, Criterion, LabelPrior, Listed, Settings, Spec, Value, Weighting};

/// Cross entropy with labels blurred by a Gaussian.
#[derive(Clone, Debug)]
pub struct Svls {
    weighting: Weighting,
    blur: Gaussian,
}

impl Listed for Svls {
    const SPEC: Spec = Spec {
        name: "svls",
        title: "Spatially varying label smoothing",
        source: "NACL (Murugesan et al. 2023), Eq. 1; Islam and Glocker 2021",
        image: false,
        views: 1,
        params: &[Gaussian::SPEC.params[0], Weighting::PARAMS],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { weighting: Weighting::new(settings), blur: Gaussian::new(settings)? })
    }
}

impl Criterion for Svls {
    fn check(&self, classes: usize) -> Result<()> {
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let label = self.blur.single(&batch.labels.detach(), batch.classes());
        pixelwise(batch, &self.weighting, &[&label], &[("svls", 1.0)], |p| {
            vec![Per::Class(p.input(0) * p.log_s(), -1.0)]
        })
    }
}
