//! Mean prior: the share of each class in the label patch, `tau_k = 1/|patch| sum_i [label_i = k]`.
//!
//! Sums to one at every pixel, in both conventions. With `normalise = false` it is the number of pixels in the patch,
//! as printed in Eq. 7 of NACL (Eq. 1 of its supplement divides it). Where the patch leaves the image:
//!
//! - `authors`: pixels outside count as background (class 0), because the label map is padded with zeros;
//! - `paper`: pixels outside repeat the nearest pixel, because the formula does not define them.
//!
//! With `patch = 1` it is the one-hot label. Source: NACL (Murugesan et al. 2023), supplement, Eq. 1.

use segcal_core::{Backend, Result, Tensor};

use super::patch::{Outside, PATCH, filter_labels, patch_extents};
use crate::{LabelPrior, Param, Range, Settings, Spec};

/// Shares of the classes in the label patch.
#[derive(Clone, Debug)]
pub struct Mean {
    patch: usize,
    outside: Outside,
    normalise: bool,
}

impl Mean {
    /// Whether the prior is a share or a count.
    pub(crate) const NORMALISE: Param = Param::new(
        "normalise",
        "true",
        Range::Flag,
        "whether it is the share of the patch, or the number of its pixels",
    );
}

impl LabelPrior for Mean {
    const SPEC: Spec = Spec {
        name: "mean",
        title: "Share of each class in the label patch",
        source: "NACL (Murugesan et al. 2023), supplement, Eq. 1",
        image: false,
        views: 1,
        params: &[&[PATCH, Self::NORMALISE]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            patch: settings.whole("patch"),
            outside: Outside::of(settings),
            normalise: settings.flag("normalise"),
        })
    }

    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, _: Option<&Tensor<B>>) -> Tensor<B> {
        let extents = patch_extents(self.patch, labels.shape());
        let count: usize = extents.iter().product();
        let weight = if self.normalise { 1.0 / count as f64 } else { 1.0 };
        filter_labels(labels, classes, extents, &vec![weight; count], self.outside)
    }
}
