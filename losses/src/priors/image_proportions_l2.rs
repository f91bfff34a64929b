//! Image proportions (l2): labels of the patch weighted by the similarity of their intensity to the centre,
//! `tau_k = sum_i w_i [label_i = k] / sum_i w_i` with `w_i = exp(-(I_i - I_c)^2)` and the centre `c`.
//!
//! Intensities should be in `[0, 1]`. Sums to one at every pixel, in both conventions. It is in the authors' code, not
//! in a paper. The convention `paper` differs only where the patch leaves the image: `authors` sees background of
//! intensity 0 there, `paper` repeats the nearest pixel. A constant image gives the mean prior.
//! Source: the public code of NACL (Murugesan et al. 2023).

use segcal_core::{Backend, Result, Tensor};

use super::patch::{Outside, PATCH, likeness_filter, need_image};
use crate::{LabelPrior, Settings, Spec};

/// Labels weighted by squared similarity to the centre.
#[derive(Clone, Debug)]
pub struct ImageProportionsL2 {
    patch: usize,
    outside: Outside,
}

impl LabelPrior for ImageProportionsL2 {
    const SPEC: Spec = Spec {
        name: "image-proportions-l2",
        title: "Labels weighted by squared likeness to the centre (needs an image)",
        source: "public code of NACL (Murugesan et al. 2023)",
        image: true,
        views: 1,
        params: &[&[PATCH]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { patch: settings.whole("patch"), outside: Outside::of(settings) })
    }

    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, image: Option<&Tensor<B>>) -> Tensor<B> {
        likeness_filter(labels, classes, need_image(image), self.patch, self.outside, |contrast| {
            (-contrast.square()).exp()
        })
    }
}
