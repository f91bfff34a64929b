//! Soft Dice loss: `1 - mean over samples and classes of (2 I + e) / (S + Y + e)` with, over the pixels of a sample,
//! `I = sum s_k y_k` and
//!
//! - `denominator = linear`: `S = sum s_k`, `Y = sum y_k` (MONAI's Dice, which the code of MbLS uses);
//! - `denominator = squared`: `S = sum s_k^2`, `Y = sum y_k^2` (V-Net, Milletari et al. 2016).
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. Values are in `[0, 1]`. A class
//! that is absent from the labels gives `1 - e / (S + e)`: nearly 1 unless it is predicted nowhere.
//!
//! `over = batch` sums `I`, `S` and `Y` over all samples before the division (MEEP). Both conventions are the same; the
//! authors of MbLS include the background (`include_background`).
//! Source: MbLS, Sec. 5 ("CE + DSC") and its public code; V-Net, Sec. 3, for the squared denominator.

use segcal_core::{Backend, Result, Shape, Tensor, axis, ops};

use crate::fused::sums;
use crate::words::{Word, words};
use crate::{Batch, Criterion, Listed, Param, Range, Settings, Spec, Value, Weighting};

/// Soft Dice loss.
#[derive(Clone, Debug)]
pub struct Dice {
    weighting: Weighting,
    overlap: Overlap,
}

/// How the overlap of a soft Dice is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overlap {
    /// Whether samples are pooled before the division.
    pub(crate) pooled: bool,
    /// First class of the average.
    pub(crate) first_class: usize,
    /// Number of classes in the average; all following classes if `None`.
    pub(crate) classes: Option<usize>,
    /// Added to the numerator and the denominator.
    pub(crate) smooth: f64,
    /// Whether the denominator sums squares.
    pub(crate) squared: bool,
}

impl Dice {
    /// Smoothing, a parameter of every loss with a Dice part.
    pub(crate) const SMOOTH: Param =
        Param::new("smooth", "1e-5", Range::Above(0.0, 1.0), "added above and below the fraction");

    /// The denominator, a parameter of every loss with a Dice part; see [`Denominator::is_squared`].
    pub(crate) const DENOMINATOR: Param = Param::new(
        "denominator",
        "linear",
        Range::OneOf(Denominator::WORDS),
        "whether the denominator sums shares or their squares",
    );
}

words! {
    /// What the denominator sums: probabilities or their squares.
    pub(crate) enum Denominator {
        Linear "linear",
        Squared "squared",
    }
}

impl Denominator {
    /// Reads [`Dice::DENOMINATOR`] from checked parameters.
    pub(crate) fn is_squared(settings: &Settings) -> bool {
        settings.choice::<Self>("denominator") == Self::Squared
    }
}

words! {
    /// What is summed before the division.
    enum Over {
        Sample "sample",
        Batch "batch",
    }
}

impl Listed for Dice {
    const SPEC: Spec = Spec {
        name: "dice",
        title: "Soft Dice",
        source: "MbLS (Murugesan et al. 2023), Sec. 5; squared: V-Net (Milletari et al. 2016), Sec. 3",
        image: false,
        views: 1,
        params: &[&[
            Param::new("include_background", "true", Range::Flag, "whether class 0 is averaged, too"),
            Param::new("over", "sample", Range::OneOf(Over::WORDS), "what is summed before the division"),
            Self::DENOMINATOR,
            Self::SMOOTH,
            Weighting::IGNORE,
        ]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        let overlap = Overlap {
            pooled: settings.choice::<Over>("over") == Over::Batch,
            first_class: usize::from(!settings.flag("include_background")),
            classes: None,
            smooth: settings.number("smooth"),
            squared: Denominator::is_squared(settings),
        };
        Ok(Self { weighting: Weighting::ignoring(settings), overlap })
    }
}

impl Criterion for Dice {
    fn check(&self, classes: usize) -> Result<()> {
        self.overlap.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let total = self.overlap.loss(batch, &self.weighting);
        Value { terms: vec![("dice", total.detach())], total }
    }
}

impl Overlap {
    /// Checks that at least one class is left to average.
    pub(crate) fn check(self, classes: usize) -> Result<()> {
        if classes > self.first_class {
            return Ok(());
        }
        Err(segcal_core::Error::new("excluding the background leaves no class").help("set include_background = true"))
    }

    /// The Dice loss of a batch.
    pub(crate) fn loss<B: Backend>(self, batch: &Batch<'_, B>, weighting: &Weighting) -> Tensor<B> {
        let shape = batch.logits.shape();
        let groups = Shape::new(if self.pooled { 1 } else { shape.n() }, shape.c(), 1, 1, 1);
        let weight = weighting.weights(&batch.labels.detach());
        let weighted = weight.is_some();
        let parts = sums(batch, weight, &[], groups, 2, |p| {
            let keep = |x| if weighted { x * p.weight() } else { x };
            // `y` is 0 or 1, so it equals its square.
            let predicted = if self.squared { p.s().square() } else { p.s() };
            vec![keep(p.s() * p.y()), keep(predicted), keep(p.y())]
        });
        let count = self.classes.unwrap_or(shape.c() - self.first_class);
        let (first, last) = (self.first_class as f64, (self.first_class + count - 1) as f64);
        let share = 1.0 / (groups.n() * count) as f64;
        let inputs: Vec<_> = parts.iter().collect();
        ops::sum_all(&inputs, |p| {
            let (both, predicted, true_) = (p.input(0), p.input(1), p.input(2));
            let fraction = (2.0 * both + self.smooth) / (predicted + true_ + self.smooth);
            let class = p.coord(axis::C);
            (class.lt(first) + p.constant(last).lt(class)).select(0.0, (1.0 - fraction) * share)
        })
    }
}
