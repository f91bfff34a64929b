//! Losses that are sums over pixels, value and gradient in as few passes over the logits as there can be.
//!
//! A term is a sum over the pixels of an expression of the pixel alone, or over pixels and classes of an expression of
//! both ([`Per`]). Beside the two passes for the statistics there is one over the logits for the terms of the second
//! kind, which also gives their slopes in the statistics where a gradient is wanted, and one for the gradient. What
//! depends on the pixel alone is computed once a pixel.

use segcal_core::{Backend, Expr, Shape, Tensor, custom, ops};

use crate::fused::{Inputs, Pixel, Source, Written, unfolded};
use crate::weighting::Weighting;
use crate::{Batch, Value};

/// An expression of a pixel-wise loss, with how often it counts.
pub(crate) enum Per<'b> {
    /// Once: it depends on the pixel alone.
    Pixel(Expr<'b>),
    /// Once for each class.
    Class(Expr<'b>),
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

/// What a pixel-wise loss is.
struct Form<F> {
    factors: Vec<f64>,
    /// What each pixel counts; its weight if `None`.
    share: Option<f64>,
    f: F,
}

impl<F: for<'b> Fn(&Pixel<'b>) -> Vec<Per<'b>>> Form<F> {
    /// Sums the terms of classes for each pixel and makes them known to `inputs`, followed by their slopes in
    /// the statistics that are answered, if they are wanted.
    fn fold_classes<B: Backend>(&self, inputs: &mut Inputs<B>, slopes: bool) -> Vec<Source> {
        let sums = Written::new(|p| self.of_classes(p).into_iter().flatten().collect());
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
            let values = self.of_classes(p);
            let total = self.weighed(p, values.iter().map(|value| value.unwrap_or(p.constant(0.0))));
            values.into_iter().flatten().chain([total]).collect()
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
        let first_slope = inputs.known.len() - folded.len();
        // To first order the classes' part is linear in the statistics, with the slopes that were folded.
        let of_pixel = Written::new(|p| {
            let own = (self.f)(p).into_iter().map(|term| match term {
                Per::Pixel(value) => value,
                Per::Class(_) => p.constant(0.0),
            });
            let slopes = folded.iter().enumerate();
            let linear =
                slopes.map(|(number, &statistic)| p.source(Source::Known(first_slope + number)) * p.source(statistic));
            vec![linear.fold(self.weighed(p, own), |sum, part| sum + part) * self.share(p)]
        });
        let (statistics, wanted): (Vec<Source>, Vec<usize>) = of_pixel.statistics().into_iter().unzip();
        let backward = Written::new(|p| {
            let values = self.of_classes(p).into_iter().map(|value| value.unwrap_or(p.constant(0.0)));
            let direct = self.weighed(p, values);
            std::iter::once(direct).chain(statistics.iter().map(|&statistic| unfolded(p, statistic))).collect()
        });
        let (share, pixels) = (self.share, batch.labels.shape());
        custom(&[batch.logits], total, move |gradient| {
            let direct = match (share, inputs.weight()) {
                (None, Some(weight)) => ops::map(&[gradient, weight], |p| p.input(0) * p.input(1)),
                (share, _) => ops::map(&[gradient], |p| p.input(0) * share.unwrap_or(1.0)),
            };
            let program = of_pixel.program.vjp(&wanted);
            let slopes = inputs.map(&of_pixel, &program, std::slice::from_ref(gradient), pixels);
            let gradients = std::iter::once(direct).chain(slopes).collect();
            vec![Some(inputs.gradient(&backward, &statistics, gradients))]
        })
    }

    fn share<'b>(&self, p: &Pixel<'b>) -> Expr<'b> {
        self.share.map_or_else(|| p.weight(), |share| p.constant(share))
    }

    /// For each term its expression per class, if it is of that kind.
    fn of_classes<'b>(&self, p: &Pixel<'b>) -> Vec<Option<Expr<'b>>> {
        let of_class = |term| if let Per::Class(value) = term { Some(value) } else { None };
        (self.f)(p).into_iter().map(of_class).collect()
    }

    /// For each term its value at a pixel, the classes being summed already.
    fn values<'b>(&self, p: &Pixel<'b>) -> Vec<Expr<'b>> {
        let mut sums = (0..).map(|number| p.source(Source::Known(number)));
        let value = |term| match term {
            Per::Pixel(value) => value,
            Per::Class(_) => sums.next().expect("as many as there are terms"),
        };
        (self.f)(p).into_iter().map(value).collect()
    }

    /// The terms times their factors, added.
    fn weighed<'b>(&self, p: &Pixel<'b>, values: impl Iterator<Item = Expr<'b>>) -> Expr<'b> {
        let counted = values.zip(&self.factors).filter(|(_, factor)| **factor != 0.0);
        counted.fold(p.constant(0.0), |sum, (value, &factor)| sum + value * factor)
    }
}
