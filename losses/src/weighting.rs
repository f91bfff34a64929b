//! Which pixels count in a loss, and with what weight.

use segcal_core::{Backend, Shape, Tensor, axis, ops};

use crate::words::{Word, words};
use crate::{Param, Range, Settings};

/// How the pixels of a batch are weighted and reduced.
#[derive(Clone, Debug)]
pub struct Weighting {
    ignore_index: Option<f64>,
    class_weights: Vec<f64>,
    sum: bool,
}

words! {
    /// How the pixels of the batch are reduced.
    enum Reduction {
        Mean "mean",
        Sum "sum",
    }
}

impl Weighting {
    /// The parameter of every loss that can ignore pixels.
    pub const IGNORE: Param = Param::new("ignore_index", "none", Range::Label, "pixels with this label count nowhere");

    /// The parameters of every pixel-wise loss.
    pub const PARAMS: &'static [Param] = &[
        Self::IGNORE,
        Param::new(
            "class_weights",
            "none",
            Range::Weights,
            "weight of a pixel by the class of its label; a mean is divided by the sum of the weights",
        ),
        Param::new("reduction", "mean", Range::OneOf(Reduction::WORDS), "over the pixels of the batch"),
    ];

    /// The mean over all pixels, equally weighted.
    pub const MEAN: Self = Self { ignore_index: None, class_weights: Vec::new(), sum: false };

    /// The sum over all pixels, each with weight 1.
    pub(crate) const SUM: Self = Self { ignore_index: None, class_weights: Vec::new(), sum: true };

    /// The mean over all pixels that are not ignored.
    pub fn ignoring(settings: &Settings) -> Self {
        Self { ignore_index: settings.optional("ignore_index"), class_weights: Vec::new(), sum: false }
    }

    /// Creates it from checked parameters.
    pub fn new(settings: &Settings) -> Self {
        Self {
            ignore_index: settings.optional("ignore_index"),
            class_weights: settings.numbers("class_weights"),
            sum: settings.choice::<Reduction>("reduction") == Reduction::Sum,
        }
    }

    /// Checks that the weights fit the number of classes.
    ///
    /// # Errors
    /// There are class weights, but their number differs from the number of classes.
    pub fn check(&self, classes: usize) -> segcal_core::Result<()> {
        let count = self.class_weights.len();
        if count == 0 || count == classes {
            return Ok(());
        }
        let problem = format!("class_weights holds {count} numbers, but the logits have {classes} classes");
        Err(segcal_core::Error::new(problem).help("give one weight per class"))
    }

    /// 1 for the pixels that count, 0 for ignored pixels, `[n, 1, d, h, w]`; `None` if all count.
    pub(crate) fn kept<B: Backend>(&self, labels: &Tensor<B>) -> Option<Tensor<B>> {
        let ignored = self.ignore_index?;
        Some(ops::map(&[labels], |p| 1.0 - p.input(0).equals(ignored)))
    }

    /// Weight of each pixel, `[n, 1, d, h, w]`, before division by the sum of the weights; `None` if all are 1.
    pub(crate) fn weights<B: Backend>(&self, labels: &Tensor<B>) -> Option<Tensor<B>> {
        let kept = self.kept(labels);
        if self.class_weights.is_empty() {
            return kept;
        }
        let table = Shape::SCALAR.with(axis::W, self.class_weights.len());
        let weights = ops::take(&Tensor::from_f64(labels.backend(), table, &self.class_weights), labels);
        Some(kept.map_or(weights.clone(), |kept| ops::map(&[&weights, &kept], |p| p.input(0) * p.input(1))))
    }

    /// The factor of each pixel in the reduction: a constant or a tensor. It is 0 everywhere if every pixel is ignored.
    pub(crate) fn shares<B: Backend>(&self, labels: &Tensor<B>) -> (f64, Option<Tensor<B>>) {
        let Some(weights) = self.weights(labels) else {
            return (if self.sum { 1.0 } else { 1.0 / labels.shape().len() as f64 }, None);
        };
        if self.sum {
            return (1.0, Some(weights));
        }
        let total = ops::sum_all(&[&weights], |p| p.input(0));
        let shares = ops::map(&[&weights, &total], |p| p.input(0) / p.input(1).max(f64::from(f32::MIN_POSITIVE)));
        (1.0, Some(shares))
    }
}
