//! Bilateral prior: labels of the patch weighted by a Gaussian in space and by the difference in intensity,
//! `tau_k = 1/|patch| sum_i g_i |I_i - I_c| [label_i = k]` with the normalised Gaussian `g` and the centre `c`.
//!
//! Does **not** sum to one: the centre has weight 0, and a constant image gives 0 everywhere. It is in the authors'
//! code, not in a paper. The convention `paper` differs only where the patch leaves the image: `authors` sees
//! background of intensity 0 there, `paper` repeats the nearest pixel.
//! Source: the public code of NACL (Murugesan et al. 2023).

use segcal_core::{Backend, Result, Tensor};

use super::gaussian;
use super::patch::{Outside, PATCH, contrast_filter, need_image, patch_extents};
use crate::{LabelPrior, Param, Range, Settings, Spec};

/// Labels weighted by nearness and by contrast with the centre.
#[derive(Clone, Debug)]
pub struct Bilateral {
    patch: usize,
    sigma: f64,
    outside: Outside,
}

impl LabelPrior for Bilateral {
    const SPEC: Spec = Spec {
        name: "bilateral",
        title: "Labels weighted by nearness and by contrast with the centre (needs an image)",
        source: "public code of NACL (Murugesan et al. 2023)",
        image: true,
        views: 1,
        params: &[&[
            PATCH,
            Param::new("sigma", "1", Range::Above(0.0, 1e6), "standard deviation of the Gaussian, in pixels"),
        ]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        let (patch, sigma) = (settings.whole("patch"), settings.number("sigma"));
        Ok(Self { patch, sigma, outside: Outside::of(settings) })
    }

    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, image: Option<&Tensor<B>>) -> Tensor<B> {
        let extents = patch_extents(self.patch, labels.shape());
        let weights = gaussian::kernel(extents, self.sigma);
        let count = weights.len() as f64;
        contrast_filter(labels, classes, need_image(image), extents, self.outside, |tap, contrast| {
            contrast.abs() * (weights[tap] / count)
        })
    }
}
