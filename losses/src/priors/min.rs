//! Min prior: the one-hot code of the smallest class number in the label patch.
//!
//! Sums to one at every pixel, in both conventions. Depends on the numbering of the classes: it is 0 wherever the patch
//! contains background or, in the convention `authors`, leaves the image. Where the patch leaves the image, `authors`
//! counts background (class 0), `paper` repeats the nearest pixel.
//! Source: NACL (Murugesan et al. 2023), supplement, Eq. 3 with the minimum.

use segcal_core::{Backend, Rank, Result, Tensor};

use super::patch::{Outside, PATCH, rank_of_labels};
use crate::{LabelPrior, Settings, Spec};

/// Smallest class number in the label patch, one-hot.
#[derive(Clone, Debug)]
pub struct Min {
    patch: usize,
    outside: Outside,
}

impl LabelPrior for Min {
    const SPEC: Spec = Spec {
        name: "min",
        title: "Smallest class number in the label patch, one-hot",
        source: "NACL (Murugesan et al. 2023), supplement, Eq. 3 with the minimum",
        image: false,
        views: 1,
        params: &[&[PATCH]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { patch: settings.whole("patch"), outside: Outside::of(settings) })
    }

    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, _: Option<&Tensor<B>>) -> Tensor<B> {
        rank_of_labels(labels, classes, self.patch, self.outside, |_| Rank::Nth(0))
    }
}
