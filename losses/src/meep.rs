//! Maximum entropy on erroneous predictions: a segmentation loss plus a regulariser that pushes misclassified pixels
//! towards the uniform distribution.
//!
//! The misclassified pixels `W` are those whose largest logit (the first in case of ties) is not that of the label. The
//! set is held constant in the gradient; if it is empty, the regulariser is 0.
//!
//! - `paper`: `L = L_seg - lambda H_W` with the Shannon entropy `H_W = -1/|W| sum_(i in W) sum_k s_k log s_k` (Eq. 1),
//!   or `L = L_seg + lambda KL_W` with `KL_W = 1/|W| sum_(i in W) KL(u || s)` (Eq. 2; this sign pushes towards the
//!   uniform distribution, the minus in the text would push away from it). `L_seg` is cross entropy, or the soft Dice
//!   of V-Net, which the paper cites (squared denominators), over the whole batch, averaged over the foreground
//!   classes, with 1e-7 added to the numerator and the denominator.
//! - `authors`: the binary form of the public code. The entropy is the mean over the channels of the binary entropy of
//!   `s_k`; the KL part is the mean over `W` and the channels of `log s_k` (negative; `L = L_seg - lambda` times it);
//!   cross entropy is the mean over the channels of the binary cross entropy; Dice is that of channel 1 only, with
//!   linear denominators (`denominator`). Probabilities are clamped to `[1e-7, 1 - 1e-7]` and 1e-7 is added inside
//!   logarithms. For two classes it equals the printed form up to a factor of 1/2 in the KL part, the constant `log 2`,
//!   and the clamps.
//!
//! `empty = nan` gives the 0/0 of the public code if nothing is misclassified. `pixels = all` takes the entropy of all
//! pixels; [`ConfidencePenalty`](crate::confidence_penalty::ConfidencePenalty) is this baseline of the paper's tables.
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]`. `lambda = 0` is the segmentation loss.
//! Source: MEEP (Larrazabal et al. 2023), Eq. 1 and 2.

use segcal_core::{Backend, Expr, Result, Tensor, ops};

use crate::dice::{Denominator, Dice, Overlap};
use crate::fused::prediction;
use crate::pixelwise::{Per, pixelwise};
use crate::words::{Word, words};
use crate::{Batch, Criterion, Listed, Param, Pixel, Range, Settings, Spec, Value, Weighting};

/// A segmentation loss with maximum entropy on misclassified pixels.
#[derive(Clone, Debug)]
pub struct Meep {
    weighting: Weighting,
    lambda: f64,
    /// The overlap of the Dice loss; `None` for cross entropy.
    overlap: Option<Overlap>,
    kl: bool,
    wrong_only: bool,
    /// Lower bound of the number of pixels that the regulariser is divided by.
    least: f64,
    shannon: bool,
}

words! {
    /// The segmentation loss.
    enum Base {
        CrossEntropy "ce",
        Dice "dice",
    }
}

words! {
    /// The regulariser that pushes towards uniform predictions.
    enum Regularizer {
        Entropy "entropy",
        Kl "kl",
    }
}

words! {
    /// The pixels that are regularised.
    enum Pixels {
        Wrong "wrong",
        All "all",
    }
}

words! {
    /// The regulariser if there is no such pixel.
    enum Empty {
        Zero "zero",
        Nan "nan",
    }
}

impl Listed for Meep {
    const SPEC: Spec = Spec {
        name: "meep",
        title: "Maximum entropy on erroneous predictions",
        source: "MEEP (Larrazabal et al. 2023), Eq. 1 and 2",
        image: false,
        views: 1,
        params: &[&[
            Param::new("lambda", "0.3", Range::Closed(0.0, f64::INFINITY), "weight of the regulariser")
                .reported("WMH 0.3 with ce, 1.0 with dice; LA 0.1 with ce, 0.5 with dice"),
            Self::BASE,
            Self::DENOMINATOR,
            Param::new("regularizer", "entropy", Range::OneOf(Regularizer::WORDS), "what pushes towards uniform"),
            Param::new("pixels", "wrong", Range::OneOf(Pixels::WORDS), "where it pushes"),
            Param::new("empty", "zero", Range::OneOf(Empty::WORDS), "the regulariser of no pixel at all"),
            Weighting::IGNORE,
        ]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            kl: settings.choice::<Regularizer>("regularizer") == Regularizer::Kl,
            wrong_only: settings.choice::<Pixels>("pixels") == Pixels::Wrong,
            least: match settings.choice("empty") {
                Empty::Zero => 1.0,
                Empty::Nan => 0.0,
            },
            ..Self::everywhere(settings, settings.number("lambda"))
        })
    }
}

impl Meep {
    /// The segmentation loss, as a parameter.
    pub(crate) const BASE: Param = Param::new("base", "ce", Range::OneOf(Base::WORDS), "the segmentation loss");
    /// The denominator of the Dice, as a parameter.
    pub(crate) const DENOMINATOR: Param = Dice::DENOMINATOR.paper("squared");

    /// The entropy of all pixels, with the segmentation loss of these parameters.
    pub(crate) fn everywhere(settings: &Settings, lambda: f64) -> Self {
        let overlap = Overlap {
            pooled: true,
            first_class: 1,
            classes: (!settings.is_paper()).then_some(1),
            smooth: 1e-7,
            squared: Denominator::is_squared(settings),
        };
        Self {
            weighting: Weighting::ignoring(settings),
            lambda,
            overlap: match settings.choice("base") {
                Base::CrossEntropy => None,
                Base::Dice => Some(overlap),
            },
            kl: false,
            wrong_only: false,
            least: 1.0,
            shannon: settings.is_paper(),
        }
    }
}

impl Criterion for Meep {
    fn check(&self, classes: usize) -> Result<()> {
        self.overlap.map_or(Ok(()), |overlap| overlap.check(classes))
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let (shape, classes) = (batch.labels.shape(), batch.classes() as f64);
        let ones = Tensor::full(batch.labels.backend(), shape, 1.0);
        let kept = self.weighting.kept(&batch.labels.detach()).unwrap_or(ones);
        let chosen = if self.wrong_only { wrong(batch, &kept) } else { kept.clone() };
        let inputs = [shares(&chosen, self.least), shares(&kept, 1.0)];
        let weight = if self.shannon && self.kl { self.lambda } else { -self.lambda };
        let regularizer = (if self.kl { "kl" } else { "entropy" }, weight);
        if let Some(overlap) = self.overlap {
            let total = overlap.loss(batch, &self.weighting);
            let terms = vec![("dice", total.detach())];
            let added = pixelwise(batch, &Weighting::SUM, &[&inputs[0]], &[regularizer], |p| {
                vec![Per::Class(self.regularizer(p, classes) * p.input(0), 1.0)]
            });
            return Value { total, terms }.plus(1.0, added);
        }
        pixelwise(batch, &Weighting::SUM, &[&inputs[0], &inputs[1]], &[("ce", 1.0), regularizer], |p| {
            let regularizer = self.regularizer(p, classes) * p.input(0);
            vec![self.cross_entropy(p, classes), Per::Class(regularizer, 1.0)]
        })
    }
}

impl Meep {
    /// The regulariser of a pixel and class.
    fn regularizer<'b>(&self, p: &Pixel<'b>, classes: f64) -> Expr<'b> {
        let share = 1.0 / classes;
        match (self.shannon, self.kl) {
            (true, false) => -(p.s() * p.log_s()),
            (true, true) => (-p.log_s() - classes.ln()) * share,
            (false, false) => binary_cross_entropy(p.s(), p.s()) * share,
            (false, true) => p.s().max(1e-7).ln() * share,
        }
    }

    /// Cross entropy times the share of the pixel, the second input.
    fn cross_entropy<'b>(&self, p: &Pixel<'b>, classes: f64) -> Per<'b> {
        if self.shannon {
            Per::Pixel(-(p.log_s_y() * p.input(1)))
        } else {
            Per::Class(binary_cross_entropy(p.y(), p.s()) * p.input(1), 1.0 / classes)
        }
    }
}

/// The weight of each pixel in a mean over the pixels that are 1 in `map`; the divisor is at least `least`.
fn shares<B: Backend>(map: &Tensor<B>, least: f64) -> Tensor<B> {
    let count = ops::sum_all(&[map], |p| p.input(0));
    ops::map(&[map, &count], |p| p.input(0) / p.input(1).max(least))
}

/// `-(t log p + (1 - t) log(1 - p))` with the clamps of the authors' library.
fn binary_cross_entropy<'b>(target: Expr<'b>, s: Expr<'b>) -> Expr<'b> {
    let p = s.max(1e-7).min(1.0 - 1e-7);
    -(target * (p + 1e-7).ln() + (1.0 - target) * (1.0 - p + 1e-7).ln())
}

/// 1 for kept pixels whose predicted class differs from the label.
fn wrong<B: Backend>(batch: &Batch<'_, B>, kept: &Tensor<B>) -> Tensor<B> {
    ops::map(&[&prediction(batch), &batch.labels.detach(), kept], |p| {
        p.input(2) * (1.0 - p.input(0).equals(p.input(1)))
    })
}
