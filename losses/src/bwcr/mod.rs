//! Boundary-weighted consistency: cross entropy of one random view plus a penalty on the difference between the logits
//! of two random views of the same batch, weighted more heavily near the label boundaries.
//!
//! Both sets of logits are in the original frame: [`TwoViews`] draws the views, transforms the images and maps the
//! logits back. `batch.logits` are those of view 1; [`Batch::with_second`] adds those of view 2 and the mask `v` of the
//! pixels that both views contain. With the weights `w` of [`Boundary::weights`](weights::Boundary::weights):
//!
//! - `authors`: the labels for cross entropy have made the round trip through view 1, like the logits
//!   ([`Batch::with_returned_labels`]; the boundary weights use the original labels). The loss is
//!   `(sup + lambda cons) / (1 + lambda)`, where `cons` is the mean over pixels **and** classes of `v w (z1 - z2)^2`,
//!   and `sup` that of `-v y_k log s_k`: masked pixels stay in the divisor, and cross entropy counts `1/K`.
//! - `paper`: `CE + lambda cons`, both summed over the classes and averaged over the valid pixels.
//!
//! `weighting = none` sets `w = 1`. Equal views leave only the cross-entropy part. Without a second view the
//! consistency part is 0. Gradients flow into both sets of logits. Logits `[n, K, d, h, w]`, any finite number; labels
//! `[n, 1, d, h, w]` in `0..K`.
//! Source: Karani et al. 2023 (BWCR), Eq. 1 to 3; a baseline in CRaC with `lambda_min = 0.01`, `lambda_max = 1`.

pub mod views;
pub mod weights;

use segcal_core::{Backend, Error, Result, Tensor, ops};

pub use views::TwoViews;
pub use weights::Boundary;

use crate::pixelwise::{Per, pixelwise};
use crate::words::{Word, words};
use crate::{Batch, Criterion, Listed, Param, Range, Settings, Spec, Value, Weighting};

/// Cross entropy with boundary-weighted consistency of two views.
#[derive(Clone, Debug)]
pub struct Bwcr {
    lambda: f64,
    boundary: Option<Boundary>,
    printed: bool,
}

words! {
    /// How pixels are weighted.
    enum Weights {
        Boundary "boundary",
        Equal "none",
    }
}

impl Listed for Bwcr {
    const SPEC: Spec = Spec {
        name: "bwcr",
        title: "Boundary-weighted consistency of two random views",
        source: "BWCR (Karani et al. 2023)",
        image: false,
        views: 2,
        params: &[&[
            Param::new("lambda", "1", Range::Closed(0.0, f64::INFINITY), "weight of the consistency"),
            Param::new("weighting", "boundary", Range::OneOf(Weights::WORDS), "how pixels are weighted"),
            Param::new("radius", "10", Range::Above(0.0, 1e4), "reach of the boundary weight, in pixels"),
            Param::new("power", "1", Range::Above(0.0, 20.0), "how steeply the weight falls with the distance"),
            Param::new("lambda_max", "1", Range::Closed(0.0, 1e6), "weight at the boundary, above lambda_min"),
            Param::new("lambda_min", "0.01", Range::Closed(0.0, 1e6), "weight far from it"),
        ]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        let boundary = Boundary {
            radius: settings.number("radius"),
            power: settings.number("power"),
            most: settings.number("lambda_max"),
            least: settings.number("lambda_min"),
            exact: settings.is_paper(),
        };
        Ok(Self {
            lambda: settings.number("lambda"),
            boundary: match settings.choice("weighting") {
                Weights::Boundary => Some(boundary),
                Weights::Equal => None,
            },
            printed: settings.is_paper(),
        })
    }
}

impl Criterion for Bwcr {
    fn views(&self) -> usize {
        Self::SPEC.views
    }

    fn check(&self, classes: usize) -> Result<()> {
        if classes > 1 || self.boundary.is_none() {
            return Ok(());
        }
        Err(Error::new("boundary weights need a foreground class").help("set weighting = none"))
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let labels = batch.labels.detach();
        let pixels = labels.shape().len() as f64;
        let ones = || Tensor::full(labels.backend(), labels.shape(), 1.0);
        let valid = batch.second.as_ref().map_or_else(ones, |second| second.mask.detach());
        // Factor of a pixel's sum over the classes: 1/K, or pixels / valid pixels.
        let factor = if self.printed {
            ops::map(&[&ops::sum_all(&[&valid], |p| p.input(0))], |p| pixels / p.input(0).max(1.0))
        } else {
            Tensor::full(labels.backend(), segcal_core::Shape::SCALAR, 1.0 / batch.classes() as f64)
        };
        let share = ops::map(&[&valid, &factor], |p| p.input(0) * p.input(1));
        let scale = if self.printed { 1.0 } else { 1.0 / (1.0 + self.lambda) };
        let returned = batch.second.as_ref().and_then(|second| second.returned).filter(|_| !self.printed);
        let judged = Batch::new(batch.logits, returned.unwrap_or(batch.labels));
        let supervised = pixelwise(&judged, &Weighting::MEAN, &[&share], &[("ce", scale)], |p| {
            vec![Per::Pixel(-(p.log_s_y() * p.input(0)))]
        });
        let consistency = self.consistency(batch, &share);
        let terms = vec![("consistency", consistency.detach())];
        supervised.plus(self.lambda * scale, Value { total: consistency, terms })
    }
}

impl Bwcr {
    /// Mean over the pixels of `share w sum_k (z1 - z2)^2`.
    fn consistency<B: Backend>(&self, batch: &Batch<'_, B>, share: &Tensor<B>) -> Tensor<B> {
        let Some(second) = &batch.second else {
            return Tensor::zeros(share.backend(), segcal_core::Shape::SCALAR);
        };
        let pixels = share.shape().len() as f64;
        let weights = match self.boundary {
            Some(boundary) => boundary.weights(&batch.labels.detach(), batch.classes()),
            None => Tensor::full(share.backend(), share.shape(), 1.0),
        };
        ops::sum_all(&[batch.logits, second.logits, share, &weights], |p| {
            (p.input(0) - p.input(1)).square() * (p.input(2) * p.input(3) * (1.0 / pixels))
        })
    }
}
