//! Gradient prior: labels of the patch weighted by the difference in intensity,
//! `tau_k = 1/|patch| sum_i |I_i - I_c| [label_i = k]` with the centre `c`.
//!
//! Does **not** sum to one: the centre has weight 0, and a constant image gives 0 everywhere. It is in the authors'
//! code, not in a paper. The convention `paper` differs only where the patch leaves the image: `authors` sees
//! background of intensity 0 there, `paper` repeats the nearest pixel.
//! Source: the public code of NACL (Murugesan et al. 2023).

use segcal_core::{Backend, Result, Tensor};

use super::patch::{Outside, PATCH, contrast_filter, need_image, patch_extents};
use crate::{LabelPrior, Settings, Spec};

/// Labels weighted by contrast with the centre.
#[derive(Clone, Debug)]
pub struct Gradient {
    patch: usize,
    outside: Outside,
}

impl LabelPrior for Gradient {
    const SPEC: Spec = Spec {
        name: "gradient",
        title: "Labels weighted by contrast with the centre (needs an image)",
        source: "public code of NACL (Murugesan et al. 2023)",
        image: true,
        views: 1,
        params: &[&[PATCH]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { patch: settings.whole("patch"), outside: Outside::of(settings) })
    }

    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, image: Option<&Tensor<B>>) -> Tensor<B> {
        let extents = patch_extents(self.patch, labels.shape());
        let share = 1.0 / extents.iter().product::<usize>() as f64;
        contrast_filter(labels, classes, need_image(image), extents, self.outside, |_, contrast| contrast.abs() * share)
    }
}
