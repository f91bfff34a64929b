//! Average calibration error as a loss: `ACE = mean over samples and classes of the mean over occupied bins of
//! |conf_b - freq_b|`, where the pixels of a sample are binned by `s_k`, `conf_b` is the mean `s_k` of a bin, and
//! `freq_b` is the share of its pixels whose label is `k`.
//!
//! - `binning = hard`: equal-width bins `[b/M, (b+1)/M)`, the last of which includes 1; the assignment of pixels to
//!   bins is held constant in the gradient.
//! - `binning = soft`: a pixel is shared between the two nearest bin centres `(b + 1/2)/M` with linear weights, which
//!   are differentiated too; bins with a total weight below a thousandth of a pixel do not count.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. Values are in `[0, 1]`. Use it in a
//! weighted sum with a segmentation loss, not as the only loss. Both conventions are the same.
//! Source: Barfoot et al. 2024 (mL1-ACE); not one of the four papers.

use segcal_core::{Backend, Expr, Result, Shape, Tensor, axis, ops, stable};

use crate::words::{Word, words};
use crate::{Batch, Criterion, Listed, Param, Range, Settings, Spec, Value, Weighting};

/// Differentiable average calibration error.
#[derive(Clone, Debug)]
pub struct AceL1 {
    weighting: Weighting,
    bins: usize,
    soft: bool,
    first_class: usize,
}

words! {
    /// How pixels are assigned to bins.
    enum Binning {
        Hard "hard",
        Soft "soft",
    }
}

impl Listed for AceL1 {
    const SPEC: Spec = Spec {
        name: "ace-l1",
        title: "Average calibration error, differentiable",
        source: "Barfoot et al. 2024 (mL1-ACE)",
        image: false,
        views: 1,
        params: &[&[
            Param::new("bins", "20", Range::Whole(2.0, 1000.0), "number of bins of equal width"),
            Param::new("binning", "hard", Range::OneOf(Binning::WORDS), "how pixels belong to bins"),
            Param::new("include_background", "true", Range::Flag, "whether class 0 is averaged, too"),
            Weighting::IGNORE,
        ]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            weighting: Weighting::ignoring(settings),
            bins: settings.whole("bins"),
            soft: settings.choice::<Binning>("binning") == Binning::Soft,
            first_class: usize::from(!settings.flag("include_background")),
        })
    }
}

impl Criterion for AceL1 {
    fn check(&self, classes: usize) -> Result<()> {
        if classes > self.first_class {
            return Ok(());
        }
        Err(segcal_core::Error::new("excluding the background leaves no class").help("set include_background = true"))
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let s = stable::softmax(batch.logits);
        let labels = batch.labels.detach();
        let kept = self.weighting.kept(&labels).unwrap_or_else(|| Tensor::full(labels.backend(), labels.shape(), 1.0));
        // The signed gap sum (s - y) and the number of pixels of every bin; each pixel contributes to one or two bins.
        let gap = ops::map(&[&s, &labels], |p| p.input(0) - p.input(1).equals(p.coord(axis::C)));
        let sides = if self.soft { 0..2 } else { 0..1 };
        let [gaps, counts] = sides
            .map(|side| {
                let bins = self.bin_numbers(&s, &kept, side);
                let [gap, share] = if self.soft {
                    let share = self.share(&s, side);
                    [ops::map(&[&gap, &share], |p| p.input(0) * p.input(1)), share]
                } else {
                    [gap.clone(), Tensor::full(s.backend(), s.shape(), 1.0)]
                };
                [gap, share].map(|weights| ops::bincount(&bins, &weights, self.count(s.shape())))
            })
            .reduce(|a, b| [ops::sum_of(&[a[0].clone(), b[0].clone()]), ops::sum_of(&[a[1].clone(), b[1].clone()])])
            .expect("at least one side");
        let total = self.mean_gap(&gaps, &counts, s.shape());
        Value { terms: vec![("ace-l1", total.detach())], total }
    }
}

impl AceL1 {
    /// Number of bins over all samples and classes.
    fn count(&self, shape: Shape) -> usize {
        shape.n() * shape.c() * self.bins
    }

    /// Lower bin of a probability, as an expression: its bin (hard), or the lower of the two nearest centres (soft).
    fn lower<'b>(&self, s: Expr<'b>) -> Expr<'b> {
        let (bins, shift, last) =
            (self.bins as f64, if self.soft { 0.5 } else { 0.0 }, if self.soft { 2.0 } else { 1.0 });
        (s * bins - shift).floor().max(0.0).min(bins - last)
    }

    /// The bin of each pixel, numbered over all samples and classes; -1 for ignored pixels.
    fn bin_numbers<B: Backend>(&self, s: &Tensor<B>, kept: &Tensor<B>, side: usize) -> Tensor<B> {
        let (bins, classes) = (self.bins as f64, s.shape().c() as f64);
        ops::map(&[&s.detach(), kept], |p| {
            let group = p.coord(axis::N) * classes + p.coord(axis::C);
            p.input(1).select(group * bins + self.lower(p.input(0)) + side as f64, -1.0)
        })
    }

    /// The share of each pixel that goes to the lower or the upper of its two bins.
    fn share<B: Backend>(&self, s: &Tensor<B>, side: usize) -> Tensor<B> {
        ops::map(&[s], |p| {
            let s = p.input(0);
            let upper = (s * self.bins as f64 - 0.5 - self.lower(s)).max(0.0).min(1.0);
            if side == 0 { 1.0 - upper } else { upper }
        })
    }

    /// Mean over samples and classes of the mean gap of the occupied bins.
    fn mean_gap<B: Backend>(&self, gaps: &Tensor<B>, counts: &Tensor<B>, shape: Shape) -> Tensor<B> {
        let groups = Shape::new(shape.n(), shape.c(), 1, 1, self.bins);
        let (gaps, counts) = (gaps.reshape(groups), counts.reshape(groups));
        let per_group = groups.with(axis::W, 1);
        let least = 1e-3;
        let occupied = ops::sum(&[&counts.detach()], per_group, |p| p.constant(least).lt(p.input(0)));
        let classes = (shape.n() * (shape.c() - self.first_class)) as f64;
        let first = self.first_class as f64;
        ops::sum_all(&[&gaps, &counts, &occupied], |p| {
            let counted = p.constant(least).lt(p.input(1)) * (1.0 - p.coord(axis::C).lt(first));
            let gap = p.input(0).abs() / p.input(1).max(least);
            counted.select(gap / p.input(2).max(1.0), 0.0) * (1.0 / classes)
        })
    }
}
