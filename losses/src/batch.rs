//! The inputs of a loss.

use std::cell::OnceCell;

use segcal_core::{Backend, Tensor, axis};

use crate::statistics::Statistics;

/// The inputs of a loss: logits, labels and optional further tensors.
pub struct Batch<'a, B: Backend> {
    /// `[n, K, d, h, w]`, any finite numbers; the loss is differentiated with respect to these.
    pub logits: &'a Tensor<B>,
    /// `[n, 1, d, h, w]`, class numbers `0..K` (or the ignored label).
    pub labels: &'a Tensor<B>,
    /// `[n, 1, d, h, w]`, intensities; read only by the image-driven priors.
    pub image: Option<&'a Tensor<B>>,
    /// Logits of a second view of the same batch; read only by `bwcr`.
    pub second: Option<Second<'a, B>>,
    statistics: OnceCell<Statistics<B>>,
}

/// Logits of a second view, in the frame of the first.
pub struct Second<'a, B: Backend> {
    /// `[n, K, d, h, w]`; the loss is also differentiated with respect to these.
    pub logits: &'a Tensor<B>,
    /// `[n, 1, d, h, w]`, 1 for the pixels that both views contain, else 0.
    pub mask: &'a Tensor<B>,
    /// `[n, 1, d, h, w]`, the labels after the round trip through the first view; the original labels if `None`.
    pub returned: Option<&'a Tensor<B>>,
}

impl<'a, B: Backend> Batch<'a, B> {
    /// Creates a batch of logits `[n, K, d, h, w]` and labels `[n, 1, d, h, w]`. Panics if their shapes do not match.
    pub fn new(logits: &'a Tensor<B>, labels: &'a Tensor<B>) -> Self {
        let (of_logits, of_labels) = (logits.shape(), labels.shape());
        assert_eq!(of_logits.with(axis::C, 1), of_labels, "loss: logits {of_logits} and labels {of_labels} differ");
        Self { logits, labels, image: None, second: None, statistics: OnceCell::new() }
    }

    /// Adds an image `[n, 1, d, h, w]`.
    #[must_use]
    pub fn with_image(mut self, image: &'a Tensor<B>) -> Self {
        assert_eq!(image.shape(), self.labels.shape(), "loss: the image must have one channel and the labels' shape");
        self.image = Some(image);
        self
    }

    /// Adds the logits `[n, K, d, h, w]` of a second view, mapped back to the frame of the first, and the mask
    /// `[n, 1, d, h, w]` of the pixels that both views contain.
    #[must_use]
    pub fn with_second(mut self, logits: &'a Tensor<B>, mask: &'a Tensor<B>) -> Self {
        assert_eq!(logits.shape(), self.logits.shape(), "loss: the logits of the two views differ in shape");
        assert_eq!(mask.shape(), self.labels.shape(), "loss: the mask must have one channel and the labels' shape");
        self.second = Some(Second { logits, mask, returned: None });
        self
    }

    /// Adds the labels `[n, 1, d, h, w]` after their round trip through the first view; panics without a second view.
    #[must_use]
    pub fn with_returned_labels(mut self, labels: &'a Tensor<B>) -> Self {
        assert_eq!(labels.shape(), self.labels.shape(), "loss: the returned labels have another shape");
        self.second.as_mut().expect("loss: labels are returned with a second view").returned = Some(labels);
        self
    }

    /// Number of classes `K`.
    pub fn classes(&self) -> usize {
        self.logits.shape().c()
    }

    /// Statistics of each pixel's logits, computed once and shared by all parts of a loss.
    pub(crate) fn statistics(&self) -> &Statistics<B> {
        self.statistics.get_or_init(|| Statistics::new(&self.logits.detach(), &self.labels.detach()))
    }
}
