//! Mean prior as MONAI's `NACLLoss` computes it: a box filter of the one-hot labels with zeros outside the image.
//!
//! Sums to one inside; at the border only to the share of the patch inside the image (6/9 at an edge, 4/9 at a corner
//! of a 3 x 3 patch), because pixels outside belong to no class. Both conventions are the same.
//! Source: MONAI 1.5, `NACLLoss` with `kernel_ops = "mean"`.

use segcal_core::{Backend, Result, Tensor};

use super::patch::{Outside, PATCH, filter_labels, patch_extents};
use crate::{LabelPrior, Settings, Spec};

/// Box filter of one-hot labels with zeros outside.
#[derive(Clone, Debug)]
pub struct MonaiMean {
    patch: usize,
}

impl LabelPrior for MonaiMean {
    const SPEC: Spec = Spec {
        name: "monai-mean",
        title: "Box filter of one-hot labels with zeros outside the image",
        source: "MONAI, NACLLoss, mean",
        image: false,
        views: 1,
        params: &[&[PATCH]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { patch: settings.whole("patch") })
    }

    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, _: Option<&Tensor<B>>) -> Tensor<B> {
        let extents = patch_extents(self.patch, labels.shape());
        let count: usize = extents.iter().product();
        filter_labels(labels, classes, extents, &vec![1.0 / count as f64; count], Outside::Nothing)
    }
}
