//! Mode prior: the one-hot code of the most frequent class in the label patch.
//!
//! Sums to one at every pixel, in both conventions. If several classes are equally frequent, the one with the smallest
//! number is chosen; apart from such ties it does not depend on the numbering of the classes. Where the patch leaves
//! the image, `authors` counts background (class 0), `paper` repeats the nearest pixel.
//! Source: NACL (Murugesan et al. 2023), supplement, Eq. 3 with the mode.

use segcal_core::{Backend, Rank, Result, Tensor};

use super::patch::{Outside, PATCH, rank_of_labels};
use crate::{LabelPrior, Settings, Spec};

/// Most frequent class of the label patch, one-hot.
#[derive(Clone, Debug)]
pub struct Mode {
    patch: usize,
    outside: Outside,
}

impl LabelPrior for Mode {
    const SPEC: Spec = Spec {
        name: "mode",
        title: "Most frequent class of the label patch, one-hot",
        source: "NACL (Murugesan et al. 2023), supplement, Eq. 3 with the mode",
        image: false,
        views: 1,
        params: &[&[PATCH]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { patch: settings.whole("patch"), outside: Outside::of(settings) })
    }

    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, _: Option<&Tensor<B>>) -> Tensor<B> {
        rank_of_labels(labels, classes, self.patch, self.outside, |_| Rank::Mode)
    }
}
