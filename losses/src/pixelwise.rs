//! Losses that are sums over pixels: value and gradient in as few passes over the logits as possible.
//!
//! A term is a sum over the pixels of an expression that depends only on the pixel, or a sum over pixels and classes of
//! an expression that depends on both ([`Per`]). There are two passes for the statistics, one over the logits for the
//! terms of the second kind, which also computes their derivatives with respect to the statistics if a gradient is
//! requested, and one for the gradient. Expressions that depend only on the pixel are computed once per pixel.

use std::cell::Cell;

use segcal_core::{Backend, Expr, Shape, Tensor, custom, ops};

use crate::fused::{Inputs, Pixel, Source, Written, unfolded};
use crate::weighting::Weighting;
use crate::{Batch, Value};

/// An expression of a pixel-wise loss, and how often it counts.
pub(crate) enum Per<'b> {
    /// Once per pixel: it depends only on the pixel.
    Pixel(Expr<'b>),
    /// Once per class, multiplied by the number.
    Class(Expr<'b>, f64),
}

impl<'b> Per<'b> {
    /// Cross entropy of a pixel, `-log s_y`.
    pub(crate) fn cross_entropy(p: &Pixel<'b>) -> Self {
        Self::Pixel(-p.log_s_y())
    }
}

/// A pixel-wise loss: `total = sum over terms of factor * term`, where a term is the mean (or sum) over the pixels of
/// its expression in `f`.
pub(crate) fn pixelwise<B: Backend>(
    batch: &Batch<'_, B>,
    weighting: &Weighting,
    inputs: &[&Tensor<B>],
    terms: &[(&'static str, f64)],
    f: impl for<'b> Fn(&Pixel<'b>) -> Vec<Per<'b>>,
) -> Value<B> {
    let (share, weight) = weighting.shares(&batch.labels.detach());
    let share = weight.is_none().then_some(share);
    let form = Form { factors: terms.iter().map(|(_, factor)| *factor).collect(), share, f };
    let (pixels, tracked) = (batch.labels.shape(), batch.logits.is_tracked());
    let mut inputs = Inputs::new(batch, weight, inputs);
    let folded = form.fold_classes(&mut inputs, tracked);
    let all = Written::new(|p| {
        let values: Vec<_> = form.values(p).into_iter().map(|value| value * form.share(p)).collect();
        std::iter::once(form.weighed(p, values.iter().copied())).chain(values).collect()
    });
    let mut outputs = inputs.reduce(&all, &all.program, &[], [pixels, Shape::SCALAR]).into_iter();
    let total = outputs.next().expect("the total comes first");
    let total = if tracked { form.record(batch, inputs, &folded, &total) } else { total };
    Value { total, terms: terms.iter().map(|(name, _)| *name).zip(outputs).collect() }
}

/// The definition of a pixel-wise loss.
struct Form<F> {
    factors: Vec<f64>,
    /// The constant factor of each pixel; the pixel's weight if `None`.
    share: Option<f64>,
    f: F,
}

impl<F: for<'b> Fn(&Pixel<'b>) -> Vec<Per<'b>>> Form<F> {
    /// Sums the per-class terms of each pixel and stores the sums in `inputs.known`, followed, if `slopes` is set, by
    /// their derivatives with respect to the returned statistics.
    fn fold_classes<B: Backend>(&self, inputs: &mut Inputs<B>, slopes: bool) -> Vec<Source> {
        let sums = Written::new(|p| self.of_classes(p).into_iter().map(|(value, _)| value).collect());
        let count = sums.program.outputs().len();
        if count == 0 {
            return Vec::new();
        }
        let shapes = inputs.shapes();
        if !slopes {
            inputs.known = inputs.reduce(&sums, &sums.program, &[], shapes);
            return Vec::new();
        }
        let both = Written::new(|p| {
            self.of_classes(p).into_iter().map(|(value, _)| value).chain([self.class_total(p).0]).collect()
        });
        let (statistics, wanted): (Vec<Source>, Vec<usize>) = both.statistics().into_iter().unzip();
        let outputs: Vec<usize> = (0..count).chain((0..wanted.len()).map(|slope| count + 1 + slope)).collect();
        let program = both.program.with_slopes(count, &wanted).select(&outputs);
        inputs.known = inputs.reduce(&both, &program, &[], shapes);
        statistics
    }

    /// Makes the total differentiable.
    fn record<B: Backend>(
        &self,
        batch: &Batch<'_, B>,
        inputs: Inputs<B>,
        folded: &[Source],
        total: &Tensor<B>,
    ) -> Tensor<B> {
        let (first_slope, scale) = (inputs.known.len() - folded.len(), self.scale());
        // To first order the per-class part is linear in the statistics, with the slopes computed by `fold_classes`.
        let of_pixel = Written::new(|p| {
            let own = (self.f)(p).into_iter().map(|term| match term {
                Per::Pixel(value) => value,
                Per::Class(..) => p.constant(0.0),
            });
            let slopes = (first_slope..).zip(folded);
            let linear = slopes.map(|(slope, &statistic)| p.source(Source::Known(slope)) * p.source(statistic) * scale);
            vec![linear.fold(self.weighed(p, own), |sum, part| sum + part) * self.share(p)]
        });
        let (statistics, wanted): (Vec<Source>, Vec<usize>) = of_pixel.statistics().into_iter().unzip();
        let backward = Written::new(|p| {
            std::iter::once(self.class_total(p).0)
                .chain(statistics.iter().map(|&statistic| unfolded(p, statistic)))
                .collect()
        });
        let share = self.share;
        custom(&[batch.logits], total, move |gradient| {
            let direct = match (share, inputs.weight()) {
                (None, Some(weight)) => ops::map(&[gradient, weight], |p| p.input(0) * p.input(1) * scale),
                (share, _) => ops::map(&[gradient], |p| p.input(0) * (share.unwrap_or(1.0) * scale)),
            };
            let program = of_pixel.program.vjp(&wanted);
            let gradient = std::slice::from_ref(gradient);
            let domain = inputs.domain(&of_pixel, &program, gradient);
            let slopes = inputs.map(&of_pixel, &program, gradient, domain);
            let gradients = std::iter::once(direct).chain(slopes).collect();
            vec![Some(inputs.gradient(&backward, &statistics, gradients))]
        })
    }

    fn share<'b>(&self, p: &Pixel<'b>) -> Expr<'b> {
        self.share.map_or_else(|| p.weight(), |share| p.constant(share))
    }

    /// The per-class terms, each with its factor in the total.
    fn of_classes<'b>(&self, p: &Pixel<'b>) -> Vec<(Expr<'b>, f64)> {
        let terms = (self.f)(p).into_iter().zip(&self.factors);
        let of_class = |(term, factor)| match term {
            Per::Class(value, share) => Some((value, share * factor)),
            Per::Pixel(_) => None,
        };
        terms.filter_map(of_class).collect()
    }

    /// The contribution of the per-class terms to the total, divided by a scale, and that scale, so that it need not be
    /// multiplied for every class.
    fn class_total<'b>(&self, p: &Pixel<'b>) -> (Expr<'b>, f64) {
        let terms: Vec<_> = self.of_classes(p).into_iter().filter(|(_, factor)| *factor != 0.0).collect();
        let scale = terms.first().map_or(1.0, |(_, factor)| *factor);
        let add = |sum, &(value, factor): &(Expr<'b>, f64)| sum + value * (factor / scale);
        (terms.iter().fold(p.constant(0.0), add), scale)
    }

    /// The scale of [`Form::class_total`].
    fn scale(&self) -> f64 {
        let scale = Cell::new(1.0);
        Written::new(|p| {
            scale.set(self.class_total(p).1);
            Vec::new()
        });
        scale.get()
    }

    /// The value of each term at a pixel, with the classes already summed.
    fn values<'b>(&self, p: &Pixel<'b>) -> Vec<Expr<'b>> {
        let mut sums = (0..).map(|number| p.source(Source::Known(number)));
        let value = |term| match term {
            Per::Pixel(value) => value,
            Per::Class(_, share) => sums.next().expect("as many as there are terms") * share,
        };
        (self.f)(p).into_iter().map(value).collect()
    }

    /// The sum of the terms times their factors.
    fn weighed<'b>(&self, p: &Pixel<'b>, values: impl Iterator<Item = Expr<'b>>) -> Expr<'b> {
        let counted = values.zip(&self.factors).filter(|(_, factor)| **factor != 0.0);
        counted.fold(p.constant(0.0), |sum, (value, &factor)| sum + value * factor)
    }
}
