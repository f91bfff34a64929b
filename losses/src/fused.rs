//! Sums of pointwise functions of the logits and of per-pixel statistics. All memory access of the losses happens here.
//!
//! A statistic is one number per pixel computed from all its logits: their log-sum-exp, the largest, the
//! log-probability of the label. Losses are functions of the logit, the statistics and the label. Their gradient
//! follows from the chain rule through the statistics: one reduction over the classes for the derivatives with respect
//! to the statistics, and one map. [`pixelwise`](crate::pixelwise::pixelwise) is for losses that are a sum over pixels;
//! [`sums`] is the general form.

use std::cell::RefCell;

use segcal_core::{Backend, Builder, Expr, Fold, Program, Shape, Step, Tensor, View, axis, custom, ops};

use crate::Batch;
use crate::statistics::Statistics;

/// What an input of a program represents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    Logit,
    /// The logit as a constant that is not differentiated.
    Held,
    LogSumExp,
    Largest,
    /// `log s_y` of the label's class `y`.
    LogTrue,
    Label,
    Weight,
    /// An additional input of the loss.
    Given(usize),
    /// A per-pixel value computed earlier.
    Known(usize),
}

/// A pixel, or a pixel and class, inside a program under construction.
pub struct Pixel<'b> {
    builder: &'b Builder,
    sources: RefCell<Vec<Source>>,
}

impl<'b> Pixel<'b> {
    /// The input for a source. Inputs are numbered in the order of first use.
    pub(crate) fn source(&self, source: Source) -> Expr<'b> {
        let mut sources = self.sources.borrow_mut();
        let number = sources.iter().position(|known| *known == source).unwrap_or_else(|| {
            sources.push(source);
            sources.len() - 1
        });
        self.builder.input(number)
    }

    /// The logit `l_k`.
    pub fn logit(&self) -> Expr<'b> {
        self.source(Source::Logit)
    }

    /// `log sum_j exp l_j`.
    pub fn log_sum_exp(&self) -> Expr<'b> {
        self.source(Source::LogSumExp)
    }

    /// `max_j l_j`.
    pub fn largest(&self) -> Expr<'b> {
        self.source(Source::Largest)
    }

    /// `log s_k`, finite for all finite logits.
    pub fn log_s(&self) -> Expr<'b> {
        self.logit() - self.log_sum_exp()
    }

    /// The probability `s_k`.
    pub fn s(&self) -> Expr<'b> {
        self.log_s().exp()
    }

    /// `log s_y` of the label's class `y`, which depends only on the pixel.
    pub fn log_s_y(&self) -> Expr<'b> {
        self.source(Source::LogTrue)
    }

    /// The pixel's label, a class number.
    pub fn label(&self) -> Expr<'b> {
        self.source(Source::Label)
    }

    /// The class number `k`.
    pub fn class(&self) -> Expr<'b> {
        self.builder.coord(axis::C)
    }

    /// `y_k`: 1 if the label is class `k`, else 0.
    pub fn y(&self) -> Expr<'b> {
        self.label().equals(self.class())
    }

    /// The value of additional input `number`.
    pub fn input(&self, number: usize) -> Expr<'b> {
        self.source(Source::Given(number))
    }

    /// A constant.
    pub fn constant(&self, value: f64) -> Expr<'b> {
        self.builder.constant(value)
    }

    /// The weight of the pixel.
    pub(crate) fn weight(&self) -> Expr<'b> {
        self.source(Source::Weight)
    }
}

/// A program and the sources of its inputs.
pub(crate) struct Written {
    pub(crate) program: Program,
    sources: Vec<Source>,
}

impl Written {
    /// The program that `write` builds, with only the inputs that it uses.
    pub(crate) fn new(write: impl for<'b> Fn(&Pixel<'b>) -> Vec<Expr<'b>>) -> Self {
        let all = Self::with_sources(&write, Vec::new());
        let used = |&(number, _): &(usize, &Source)| all.program.steps().contains(&Step::Input(number));
        let used = all.sources.iter().enumerate().filter(used).map(|(_, &source)| source).collect();
        Self::with_sources(&write, used)
    }

    /// The program that `write` builds, with these sources as its first inputs.
    fn with_sources(write: &impl for<'b> Fn(&Pixel<'b>) -> Vec<Expr<'b>>, first: Vec<Source>) -> Self {
        let mut sources = Vec::new();
        let program = Program::with_outputs(|builder| {
            let pixel = Pixel { builder, sources: RefCell::new(first) };
            let outputs = write(&pixel);
            sources = pixel.sources.into_inner();
            outputs
        });
        sources.truncate(program.inputs());
        Self { program, sources }
    }

    pub(crate) fn position(&self, source: Source) -> Option<usize> {
        self.sources.iter().position(|known| *known == source)
    }

    /// The statistics that the program reads, with their input numbers.
    pub(crate) fn statistics(&self) -> Vec<(Source, usize)> {
        let all = [Source::LogSumExp, Source::Largest, Source::LogTrue];
        all.into_iter().filter_map(|source| Some((source, self.position(source)?))).collect()
    }
}

/// An expression of the logit that has the same derivative as a statistic: `s_k`, `[l = max]`, `y_k - s_k`.
pub(crate) fn unfolded<'b>(p: &Pixel<'b>, statistic: Source) -> Expr<'b> {
    let logit = p.source(Source::Held);
    let s = (logit - p.log_sum_exp()).exp();
    let slope = match statistic {
        Source::LogSumExp => s,
        Source::Largest => logit.equals(p.largest()),
        Source::LogTrue => p.y() - s,
        other => unreachable!("{other:?} is not a statistic"),
    };
    slope * p.logit()
}

/// The tensors behind the sources, without history.
pub(crate) struct Inputs<B: Backend> {
    pub(crate) logits: Tensor<B>,
    statistics: Statistics<B>,
    labels: Tensor<B>,
    weight: Option<Tensor<B>>,
    given: Vec<Tensor<B>>,
    pub(crate) known: Vec<Tensor<B>>,
}

impl<B: Backend> Inputs<B> {
    pub(crate) fn new(batch: &Batch<'_, B>, weight: Option<Tensor<B>>, given: &[&Tensor<B>]) -> Self {
        Self {
            logits: batch.logits.detach(),
            statistics: batch.statistics().clone(),
            labels: batch.labels.detach(),
            weight,
            given: given.iter().map(|input| input.detach()).collect(),
            known: Vec::new(),
        }
    }

    fn tensor(&self, source: Source) -> &Tensor<B> {
        match source {
            Source::Logit | Source::Held => &self.logits,
            Source::LogSumExp => &self.statistics.log_sum_exp,
            Source::Largest => &self.statistics.largest,
            Source::LogTrue => &self.statistics.log_true,
            Source::Label => &self.labels,
            Source::Weight => self.weight.as_ref().expect("only weighted sums ask for a weight"),
            Source::Given(number) => &self.given[number],
            Source::Known(number) => &self.known[number],
        }
    }

    /// Views of the program's inputs, followed by those of the gradients.
    fn views<'a>(&'a self, written: &Written, gradients: &'a [Tensor<B>]) -> Vec<View<'a, B>> {
        let read = written.sources.iter().map(|&source| self.tensor(source));
        read.chain(gradients).map(Tensor::view).collect()
    }

    /// Sums over `domain` of the outputs of `program`, which reads the inputs of `written` followed by `gradients`.
    pub(crate) fn reduce(
        &self,
        written: &Written,
        program: &Program,
        gradients: &[Tensor<B>],
        [domain, out]: [Shape; 2],
    ) -> Vec<Tensor<B>> {
        let backend = self.logits.backend();
        let buffers = backend.reduce(Fold::Sum, program, &[], &self.views(written, gradients), domain, out);
        buffers.into_iter().map(|buffer| Tensor::from_buffer(backend, out, buffer)).collect()
    }

    /// The outputs over `domain` of `program`, which reads the inputs of `written` followed by `gradients`.
    pub(crate) fn map(
        &self,
        written: &Written,
        program: &Program,
        gradients: &[Tensor<B>],
        domain: Shape,
    ) -> Vec<Tensor<B>> {
        let backend = self.logits.backend();
        let buffers = backend.map(program, &[], &self.views(written, gradients), domain);
        buffers.into_iter().map(|buffer| Tensor::from_buffer(backend, domain, buffer)).collect()
    }

    /// The smallest domain that covers everything the program reads; the program must not read coordinates.
    pub(crate) fn domain(&self, written: &Written, program: &Program, gradients: &[Tensor<B>]) -> Shape {
        let read = written.sources.iter().map(|&source| self.tensor(source)).chain(gradients).enumerate();
        let read = read.filter(|&(number, _)| program.steps().contains(&Step::Input(number)));
        read.fold(Shape::SCALAR, |domain, (_, tensor)| domain.broadcast(tensor.shape()).expect("shapes that fit"))
    }

    /// The weight of each pixel, if there are weights.
    pub(crate) fn weight(&self) -> Option<&Tensor<B>> {
        self.weight.as_ref()
    }

    /// The shape of the logits, and the shape of a map with one number per pixel.
    pub(crate) fn shapes(&self) -> [Shape; 2] {
        [self.logits.shape(), self.labels.shape()]
    }

    /// The gradient with respect to the logits. `backward` is the program of the differentiated expressions followed by
    /// the [`unfolded`] `statistics`; `gradients` are the gradients of its outputs.
    pub(crate) fn gradient(
        &self,
        backward: &Written,
        statistics: &[Source],
        mut gradients: Vec<Tensor<B>>,
    ) -> Tensor<B> {
        let (domain, direct) = (self.logits.shape(), gradients.len() - statistics.len());
        if let Some(place) = statistics.iter().position(|&statistic| statistic == Source::Largest) {
            // Logits that tie for the largest get equal shares, as in `ops::max`.
            let pixels = self.labels.shape();
            let inputs = [&self.logits, &self.statistics.largest];
            let attained = ops::sum(&inputs, pixels, |p| p.input(0).equals(p.input(1)));
            let slope = &mut gradients[direct + place];
            *slope = ops::map(&[slope, &attained], |p| p.input(0) / p.input(1));
        }
        let logit = backward.position(Source::Logit).expect("a loss reads its logits");
        let program = backward.program.vjp(&[logit]);
        let program = backward.position(Source::Held).map_or(program.clone(), |held| program.unify(held, logit));
        self.map(backward, &program, &gradients, domain).pop().expect("one output")
    }
}

/// Sums of pointwise functions over the axes where `out` is 1: one tensor of shape `out` for each expression of `f`.
/// The first `tracked` of them are differentiable with respect to the logits only.
pub(crate) fn sums<B: Backend>(
    batch: &Batch<'_, B>,
    weight: Option<Tensor<B>>,
    inputs: &[&Tensor<B>],
    out: Shape,
    tracked: usize,
    f: impl for<'b> Fn(&Pixel<'b>) -> Vec<Expr<'b>>,
) -> Vec<Tensor<B>> {
    let domain = batch.logits.shape();
    let inputs = Inputs::new(batch, weight, inputs);
    let all = Written::new(&f);
    let mut outputs = inputs.reduce(&all, &all.program, &[], [domain, out]);
    if !batch.logits.is_tracked() || tracked == 0 {
        return outputs;
    }
    let forward = Written::new(|p| f(p).into_iter().take(tracked).collect());
    let (statistics, slopes): (Vec<Source>, Vec<usize>) = forward.statistics().into_iter().unzip();
    let backward = Written::new(|p| {
        let followed = statistics.iter().map(|&statistic| unfolded(p, statistic));
        f(p).into_iter().take(tracked).chain(followed).collect()
    });
    // One node for all outputs, which are stacked along the depth axis.
    let stacked = out.with(axis::D, tracked);
    assert_eq!(out.spatial()[0], 1, "sums: the depth axis must be folded");
    let parts: Vec<_> =
        outputs[..tracked].iter().enumerate().map(|(number, part)| (part, [0, 0, number, 0, 0])).collect();
    let stack = custom(&[batch.logits], &ops::place(&parts, stacked), move |gradient| {
        let mut gradients: Vec<_> =
            (0..tracked).map(|number| ops::slice(gradient, [0, 0, number, 0, 0], out)).collect();
        if !statistics.is_empty() {
            let program = forward.program.vjp(&slopes);
            gradients.extend(inputs.reduce(&forward, &program, &gradients, inputs.shapes()));
        }
        vec![Some(inputs.gradient(&backward, &statistics, gradients))]
    });
    for (number, output) in outputs.iter_mut().take(tracked).enumerate() {
        *output = ops::slice(&stack, [0, 0, number, 0, 0], out);
    }
    outputs
}

/// The predicted class of each pixel, `[n, 1, d, h, w]`: the class with the largest logit, the first in case of ties.
pub(crate) fn prediction<B: Backend>(batch: &Batch<'_, B>) -> Tensor<B> {
    let (logits, largest) = (batch.logits.detach(), &batch.statistics().largest);
    let pixels = largest.shape();
    let program = Program::new(|p| {
        let class = p.coord(axis::C);
        p.input(0).equals(p.input(1)).select(-class, f64::from(f32::MIN))
    });
    let views = [logits.view(), largest.view()];
    let buffers = logits.backend().reduce(Fold::Max, &program, &[], &views, logits.shape(), pixels);
    let negative = Tensor::from_buffer(logits.backend(), pixels, buffers.into_iter().next().expect("one output"));
    ops::map(&[&negative], |p| -p.input(0))
}
