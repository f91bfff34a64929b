//! Sums of pointwise functions of logits, their log-sum-exp and maximum: the one place where losses touch memory.
//!
//! A pixel-wise loss is a sum over pixels and classes of a function of the logit, the pixel's log-sum-exp, its largest
//! logit and its label. Its value takes three passes over the logits (maximum, sum of exponentials, the sum itself)
//! and its gradient two: one that sums the slope in the log-sum-exp and the maximum over the classes, and one map.

use std::cell::RefCell;

use segcal_core::{Backend, Builder, Expr, Fold, Program, Shape, Tensor, View, axis, custom, ops};

use crate::{Batch, Param, Range, Setting, Settings, Value};

/// What an input of a program stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Logit,
    LogSumExp,
    Largest,
    Label,
    Weight,
    Given(usize),
}

/// One pixel and class, inside a program that is being written.
pub struct Pixel<'b> {
    builder: &'b Builder,
    sources: RefCell<Vec<Source>>,
}

impl<'b> Pixel<'b> {
    /// Inputs are numbered in the order in which they are first asked for, so that a program reads no more than it
    /// needs.
    fn source(&self, source: Source) -> Expr<'b> {
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

    /// The value of the further input `number`.
    pub fn input(&self, number: usize) -> Expr<'b> {
        self.source(Source::Given(number))
    }

    /// A constant.
    pub fn constant(&self, value: f64) -> Expr<'b> {
        self.builder.constant(value)
    }

    /// The weight that was given to [`sums`].
    pub(crate) fn weight(&self) -> Expr<'b> {
        self.source(Source::Weight)
    }
}

/// A program with the meaning of its inputs.
struct Written {
    program: Program,
    sources: Vec<Source>,
}

impl Written {
    fn new(write: impl for<'b> FnOnce(&Pixel<'b>) -> Vec<Expr<'b>>) -> Self {
        let mut sources = Vec::new();
        let program = Program::with_outputs(|builder| {
            let pixel = Pixel { builder, sources: RefCell::default() };
            let outputs = write(&pixel);
            sources = pixel.sources.into_inner();
            outputs
        });
        Self { program, sources }
    }

    fn position(&self, source: Source) -> Option<usize> {
        self.sources.iter().position(|known| *known == source).filter(|&number| number < self.program.inputs())
    }
}

/// The tensors that the sources stand for, without history.
struct Inputs<B: Backend> {
    logits: Tensor<B>,
    largest: Tensor<B>,
    log_sum_exp: Tensor<B>,
    labels: Tensor<B>,
    weight: Option<Tensor<B>>,
    given: Vec<Tensor<B>>,
}

impl<B: Backend> Inputs<B> {
    fn tensor(&self, source: Source) -> &Tensor<B> {
        match source {
            Source::Logit => &self.logits,
            Source::LogSumExp => &self.log_sum_exp,
            Source::Largest => &self.largest,
            Source::Label => &self.labels,
            Source::Weight => self.weight.as_ref().expect("only weighted sums ask for a weight"),
            Source::Given(number) => &self.given[number],
        }
    }

    /// Views of what the program reads, then of the gradients.
    fn views<'a>(&'a self, written: &Written, gradients: impl IntoIterator<Item = &'a Tensor<B>>) -> Vec<View<'a, B>> {
        let read = written.sources[..written.program.inputs()].iter().map(|&source| self.tensor(source));
        read.chain(gradients).map(Tensor::view).collect()
    }

    /// The gradient of the logits for gradients `wanted` of the first outputs.
    ///
    /// The chain rule through log-sum-exp and maximum is folded into the last map: `backward` is the program of the
    /// same outputs followed by `exp(l - lse)` and `l [l = max]`, whose derivatives in `l` are those of log-sum-exp
    /// and maximum.
    fn gradient(&self, forward: &Written, backward: &Written, wanted: &[Tensor<B>]) -> Tensor<B> {
        let (backend, domain) = (self.logits.backend(), self.logits.shape());
        let pixels = domain.with(axis::C, 1);
        let positions = [forward.position(Source::LogSumExp), forward.position(Source::Largest)];
        let slopes: Vec<usize> = positions.into_iter().flatten().collect();
        let mut gradients = wanted.to_vec();
        if !slopes.is_empty() {
            let program = forward.program.vjp(&slopes);
            let buffers = backend.reduce(Fold::Sum, &program, &[], &self.views(forward, wanted), domain, pixels);
            gradients.extend(buffers.into_iter().map(|buffer| Tensor::from_buffer(backend, pixels, buffer)));
        }
        if positions[1].is_some() {
            let slope = gradients.pop().expect("the slope in the maximum comes last");
            // Where several logits are the largest, each gets an equal share, as `ops::max` has it.
            let attained = ops::sum(&[&self.logits, &self.largest], pixels, |p| p.input(0).equals(p.input(1)));
            gradients.push(ops::map(&[&slope, &attained], |p| p.input(0) / p.input(1)));
        }
        let logit = backward.position(Source::Logit).expect("a loss reads its logits");
        let buffers = backend.map(&backward.program.vjp(&[logit]), &[], &self.views(backward, &gradients), domain);
        Tensor::from_buffer(backend, domain, buffers.into_iter().next().expect("one output"))
    }
}

/// Sums of pointwise functions over the axes where `out` is 1: one tensor of shape `out` for each expression of `f`.
/// The first `tracked` of them are differentiable in the logits, and in nothing else.
pub(crate) fn sums<B: Backend>(
    batch: &Batch<'_, B>,
    weight: Option<Tensor<B>>,
    inputs: &[&Tensor<B>],
    out: Shape,
    tracked: usize,
    f: impl for<'b> Fn(&Pixel<'b>) -> Vec<Expr<'b>>,
) -> Vec<Tensor<B>> {
    let (backend, domain) = (batch.logits.backend(), batch.logits.shape());
    let (largest, log_sum_exp) = batch.statistics();
    let inputs = Inputs {
        logits: batch.logits.detach(),
        largest,
        log_sum_exp,
        labels: batch.labels.detach(),
        weight,
        given: inputs.iter().map(|input| input.detach()).collect(),
    };
    let all = Written::new(&f);
    let buffers = backend.reduce(Fold::Sum, &all.program, &[], &inputs.views(&all, []), domain, out);
    let mut outputs: Vec<_> = buffers.into_iter().map(|buffer| Tensor::from_buffer(backend, out, buffer)).collect();
    if !batch.logits.is_tracked() || tracked == 0 {
        return outputs;
    }
    let forward = Written::new(|p| f(p).into_iter().take(tracked).collect());
    let backward = Written::new(|p| {
        let mut outputs: Vec<_> = f(p).into_iter().take(tracked).collect();
        if forward.position(Source::LogSumExp).is_some() {
            outputs.push(p.s());
        }
        if forward.position(Source::Largest).is_some() {
            outputs.push(p.logit().equals(p.largest()).select(p.logit(), 0.0));
        }
        outputs
    });
    // One node for all outputs: they lie one behind the other along the depth axis.
    let stacked = out.with(axis::D, tracked);
    assert_eq!(out.spatial()[0], 1, "sums: the depth axis must be folded");
    let parts: Vec<_> =
        outputs[..tracked].iter().enumerate().map(|(number, part)| (part, [0, 0, number, 0, 0])).collect();
    let stack = custom(&[batch.logits], &ops::place(&parts, stacked), move |gradient| {
        let wanted: Vec<_> = (0..tracked).map(|number| ops::slice(gradient, [0, 0, number, 0, 0], out)).collect();
        vec![Some(inputs.gradient(&forward, &backward, &wanted))]
    });
    for (number, output) in outputs.iter_mut().take(tracked).enumerate() {
        *output = ops::slice(&stack, [0, 0, number, 0, 0], out);
    }
    outputs
}

/// How the pixels of a batch are weighted and put together.
#[derive(Clone, Debug)]
pub struct Weighting {
    ignore_index: Option<f64>,
    class_weights: Vec<f64>,
    sum: bool,
}

impl Weighting {
    /// The parameter of every loss that can leave pixels out.
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
        Param::new("reduction", "mean", Range::OneOf(&["mean", "sum"]), "over the pixels of the batch"),
    ];

    /// Every pixel counts the same; the mean is taken.
    pub const MEAN: Self = Self { ignore_index: None, class_weights: Vec::new(), sum: false };

    /// Only the ignored pixels left out.
    pub fn ignoring(settings: &Settings) -> Self {
        Self { ignore_index: settings.optional("ignore_index"), class_weights: Vec::new(), sum: false }
    }

    /// From checked parameters.
    pub fn new(settings: &Settings) -> Self {
        Self {
            ignore_index: settings.optional("ignore_index"),
            class_weights: settings.numbers("class_weights"),
            sum: *settings.get("reduction") == Setting::Word("sum".into()),
        }
    }

    /// Whether the weights fit the number of classes.
    ///
    /// # Errors
    /// There are class weights, but not one per class.
    pub fn check(&self, classes: usize) -> segcal_core::Result<()> {
        let count = self.class_weights.len();
        if count == 0 || count == classes {
            return Ok(());
        }
        let problem = format!("class_weights holds {count} numbers, the logits have {classes} classes");
        Err(segcal_core::Error::new(problem).help("give one weight per class"))
    }

    /// 1 for the pixels that count, 0 for the ignored, `[n, 1, d, h, w]`; `None` where all count.
    pub(crate) fn kept<B: Backend>(&self, labels: &Tensor<B>) -> Option<Tensor<B>> {
        let ignored = self.ignore_index?;
        Some(ops::map(&[labels], |p| 1.0 - p.input(0).equals(ignored)))
    }

    /// Weight of each pixel, `[n, 1, d, h, w]`, before the division by their sum; `None` where all are 1.
    pub(crate) fn weights<B: Backend>(&self, labels: &Tensor<B>) -> Option<Tensor<B>> {
        let kept = self.kept(labels);
        if self.class_weights.is_empty() {
            return kept;
        }
        let table = Shape::SCALAR.with(axis::W, self.class_weights.len());
        let weights = ops::take(&Tensor::from_f64(labels.backend(), table, &self.class_weights), labels);
        Some(kept.map_or(weights.clone(), |kept| ops::map(&[&weights, &kept], |p| p.input(0) * p.input(1))))
    }

    /// Share of each pixel in the reduction: a constant, or a tensor. 0 everywhere if every pixel is ignored.
    fn shares<B: Backend>(&self, labels: &Tensor<B>) -> (f64, Option<Tensor<B>>) {
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

/// The predicted class of each pixel, `[n, 1, d, h, w]`: that of the largest logit, of equals the first.
pub(crate) fn prediction<B: Backend>(batch: &Batch<'_, B>) -> Tensor<B> {
    let (logits, (largest, _)) = (batch.logits.detach(), batch.statistics());
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

/// A pixel-wise loss: `total = sum over terms of factor * term`, where a term is the mean (or sum) over the pixels of
/// the sum over the classes of its expression in `f`.
pub(crate) fn pixelwise<B: Backend>(
    batch: &Batch<'_, B>,
    weighting: &Weighting,
    inputs: &[&Tensor<B>],
    terms: &[(&'static str, f64)],
    f: impl for<'b> Fn(&Pixel<'b>) -> Vec<Expr<'b>>,
) -> Value<B> {
    let (share, weight) = weighting.shares(&batch.labels.detach());
    let weighted = weight.is_some();
    let outputs = sums(batch, weight, inputs, Shape::SCALAR, 1, |p| {
        let share = if weighted { p.weight() } else { p.constant(share) };
        let values: Vec<_> = f(p).into_iter().map(|value| value * share).collect();
        let weighed = values.iter().zip(terms).filter(|(_, (_, factor))| *factor != 0.0);
        let total = weighed.map(|(&value, (_, factor))| value * *factor).reduce(|a, b| a + b);
        std::iter::once(total.expect("at least one term")).chain(values).collect()
    });
    let mut outputs = outputs.into_iter();
    let total = outputs.next().expect("the total comes first");
    Value { total, terms: terms.iter().map(|(name, _)| *name).zip(outputs).collect() }
}
