//! Normalisation, affine map and activation in one pass.

use segcal_core::{Backend, Builder, Expr, Fold, Program, Shape, Tensor, View, axis, custom, ops};
use serde::{Deserialize, Serialize};

use super::{Activation, Mode};
use crate::graph::{Graph, Layer, Value};
use crate::init::{Fill, Spec};
use crate::params::Parameters;

/// The set of numbers over which mean and (biased) variance are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// `z = x`.
    #[default]
    None,
    /// Over the voxels of one channel of one sample (Ulyanov, Vedaldi and Lempitsky 2016).
    Instance,
    /// Over the voxels of one channel of the whole batch (Ioffe and Szegedy 2015). In training, running statistics
    /// `<name>.running_mean` and `<name>.running_var` (unbiased) move a tenth of the way to those of the batch with
    /// each optimiser step; evaluation uses them instead of the batch statistics.
    Batch,
    /// Over the voxels of this many groups of consecutive channels of one sample (Wu and He 2018).
    #[serde(skip)]
    Group(usize),
    /// Over the channels of one voxel (Ba, Kiros and Hinton 2016); the voxels of a map are the tokens.
    #[serde(skip)]
    Layer,
}

/// `z = gamma (x - mean) / sqrt(variance + epsilon) + beta` per channel.
///
/// `gamma` and `beta` are `<name>.weight` and `<name>.bias`, both `[c]`.
#[derive(Clone, Debug, PartialEq)]
pub struct NormLayer {
    /// Name of the layer.
    pub name: String,
    /// Channels of the input.
    pub channels: usize,
    /// The numbers over which statistics are computed.
    pub kind: Norm,
    /// Added to the variance to keep the square root away from 0.
    pub epsilon: f64,
    /// Whether `gamma` and `beta` exist; they are 1 and 0 otherwise.
    pub affine: bool,
    /// Initial value of `gamma`.
    pub begin: f64,
}

/// Weight of the newest batch in the running statistics.
const MOMENTUM: f64 = 0.1;

impl NormLayer {
    /// An affine layer with `epsilon = 1e-5`.
    pub fn new(name: &str, channels: usize, kind: Norm) -> Self {
        Self { name: name.into(), channels, kind, epsilon: 1e-5, affine: true, begin: 1.0 }
    }

    /// The tensors.
    pub fn specs(&self) -> Vec<Spec> {
        if self.kind == Norm::None {
            return Vec::new();
        }
        let spec = |tensor: &str, value| Spec::per_channel(self.tensor(tensor), self.channels, Fill::Constant(value));
        let running = |tensor, value| Spec { trainable: false, ..spec(tensor, value) };
        let mut specs = Vec::new();
        if self.affine {
            specs.extend([spec("weight", self.begin), spec("bias", 0.0)]);
        }
        if self.kind == Norm::Batch {
            specs.extend([running("running_mean", 0.0), running("running_var", 1.0)]);
        }
        specs
    }

    fn tensor(&self, tensor: &str) -> String {
        format!("{}.{tensor}", self.name)
    }

    /// `gamma` and `beta`, both `[1, c, 1, 1, 1]`.
    pub(super) fn affine_map<B: Backend>(&self, parameters: &Parameters<B>, backend: &B) -> [Tensor<B>; 2] {
        if self.affine {
            return ["weight", "bias"].map(|tensor| parameters.get(&self.tensor(tensor)).clone());
        }
        [1.0, 0.0].map(|value| Tensor::full(backend, Shape::SCALAR.with(axis::C, self.channels), value))
    }

    /// `activation(z)`. Panics for [`Norm::None`], which has no pass.
    pub fn forward<B: Backend>(
        &self,
        parameters: &Parameters<B>,
        x: &Tensor<B>,
        activation: Activation,
        mode: Mode,
    ) -> Tensor<B> {
        let [gamma, beta] = self.affine_map(parameters, x.backend());
        let [n, c, d, h, w] = x.shape().dims();
        match (self.kind, mode) {
            (Norm::None, _) => panic!("{}: there is nothing to normalise", self.name),
            (Norm::Instance, _) => {
                let statistics = Statistics::of(x, Shape::new(n, c, 1, 1, 1), self.epsilon);
                normalise(x, &gamma, &beta, &statistics, activation)
            }
            (Norm::Layer, _) => {
                let statistics = Statistics::of(x, x.shape().with(axis::C, 1), self.epsilon);
                normalise(x, &gamma, &beta, &statistics, activation)
            }
            // The channels of a group become a separate axis.
            (Norm::Group(groups), _) => {
                let split = |tensor: &Tensor<B>| tensor.reshape(Shape::new(1, groups, c / groups, 1, 1));
                let x = &x.reshape(Shape::new(n, groups, c / groups, d * h, w));
                let statistics = Statistics::of(x, Shape::new(n, groups, 1, 1, 1), self.epsilon);
                let y = normalise(x, &split(&gamma), &split(&beta), &statistics, activation);
                y.reshape(Shape::new(n, c, d, h, w))
            }
            (Norm::Batch, Mode::Train) => {
                let statistics = Statistics::of(x, gamma.shape(), self.epsilon);
                self.observe(parameters, &statistics);
                normalise(x, &gamma, &beta, &statistics, activation)
            }
            (Norm::Batch, Mode::Evaluate) => {
                let [mean, variance] = ["running_mean", "running_var"].map(|name| parameters.get(&self.tensor(name)));
                ops::map(&[x, mean, variance, &gamma, &beta], |p| {
                    let scale = p.input(3) / (p.input(2) + self.epsilon).sqrt();
                    activation.value((p.input(0) - p.input(1)) * scale + p.input(4))
                })
            }
        }
    }

    /// Moves the running statistics towards those of a batch.
    pub(super) fn observe<B: Backend>(&self, parameters: &Parameters<B>, batch: &Statistics<B>) {
        let note = |tensor: &str, batch: &Tensor<B>, factor: f64| {
            let name = self.tensor(tensor);
            let moved = ops::map_over(batch.shape(), &[MOMENTUM * factor], &[parameters.get(&name), batch], |p| {
                p.input(0) * (1.0 - MOMENTUM) + p.input(1) * p.scalar(0)
            });
            parameters.observe(&name, moved);
        };
        note("running_mean", &batch.mean, 1.0);
        note("running_var", &batch.variance, batch.count / (batch.count - 1.0).max(1.0));
    }

    /// Adds the layer in its evaluation form, without activation, to the graph after `x`; [`Norm::None`] adds nothing.
    pub fn describe(&self, graph: &mut Graph, x: Value) -> Value {
        let learnt = |tensor: &str| self.affine.then(|| self.tensor(tensor));
        let (weight, bias, epsilon, channels) = (learnt("weight"), learnt("bias"), self.epsilon, self.channels);
        let layer = match self.kind {
            Norm::None => return x,
            Norm::Instance => Layer::GroupNorm { weight, bias, epsilon, channels, groups: channels },
            Norm::Group(groups) => Layer::GroupNorm { weight, bias, epsilon, channels, groups },
            Norm::Layer => Layer::LayerNorm { weight, bias, epsilon, channels },
            Norm::Batch => {
                let (mean, variance) = (self.tensor("running_mean"), self.tensor("running_var"));
                Layer::BatchNorm { weight, bias, mean, variance, epsilon, channels }
            }
        };
        graph.add(&self.name, layer, &[x])
    }

    /// Whether statistics would be computed from a single number, so that every output would be `beta`.
    pub(crate) fn is_starved(&self, x: Shape) -> bool {
        match self.kind {
            Norm::Instance => x.spatial() == [1; 3],
            Norm::Group(groups) => x.spatial() == [1; 3] && self.channels == groups,
            Norm::None | Norm::Batch | Norm::Layer => false,
        }
    }
}

/// Mean, biased variance and `1 / sqrt(variance + epsilon)` per group. They are not differentiated; the gradient of
/// [`normalise`] accounts for them.
pub(super) struct Statistics<B: Backend> {
    mean: Tensor<B>,
    variance: Tensor<B>,
    inverse_deviation: Tensor<B>,
    /// Numbers per group.
    count: f64,
}

impl<B: Backend> Statistics<B> {
    /// Computes them over the axes that are 1 in `over`, in two passes so that a large mean does not cancel the
    /// variance.
    pub(super) fn of(x: &Tensor<B>, over: Shape, epsilon: f64) -> Self {
        let count = (x.shape().len() / over.len()) as f64;
        let mean = Self::share_of_mean(x, over, count);
        let variance = Self::share_of_variance(x, &mean, count);
        Self::new(mean, variance, count, epsilon)
    }

    /// `1 / count` of the sum of `x`.
    pub(super) fn share_of_mean(x: &Tensor<B>, over: Shape, count: f64) -> Tensor<B> {
        let [sum] = reduce(&[x], &[1.0 / count], over, &Program::new(|p| p.input(0) * p.scalar(0)));
        sum
    }

    /// `1 / count` of the sum of `(x - mean)^2`.
    pub(super) fn share_of_variance(x: &Tensor<B>, mean: &Tensor<B>, count: f64) -> Tensor<B> {
        let squared = Program::new(|p| (p.input(0) - p.input(1)).square() * p.scalar(0));
        let [sum] = reduce(&[x, mean], &[1.0 / count], mean.shape(), &squared);
        sum
    }

    pub(super) fn new(mean: Tensor<B>, variance: Tensor<B>, count: f64, epsilon: f64) -> Self {
        let inverse_deviation = ops::map(&[&variance], |p| 1.0 / (p.input(0) + epsilon).sqrt());
        Self { mean, variance, inverse_deviation, count }
    }
}

/// `y = activation(z)` with `z = s (x - mean) + beta`, `s = gamma r`, `r = 1 / sqrt(variance + epsilon)`: one pass.
///
/// Gradient, with `g` that of `z`, `M` numbers per group, `S = sum gamma g` and `T = sum gamma g (x - mean)` over a
/// group: `x: s g - r S / M - r^3 T / M (x - mean)`, `gamma: sum r g (x - mean)`, `beta: sum g`, both over the numbers
/// of a channel. One reduction with two outputs and one pass; `z` is recomputed from `x`, so nothing of full size is
/// stored.
pub(super) fn normalise<B: Backend>(
    x: &Tensor<B>,
    gamma: &Tensor<B>,
    beta: &Tensor<B>,
    statistics: &Statistics<B>,
    activation: Activation,
) -> Tensor<B> {
    let pass = Pass::new(x, [gamma, beta], statistics, activation);
    let (output, again) = (pass.output(), pass.clone());
    let output = custom(&[x, gamma, beta], &output, move |gradient| {
        let sums = pass.sums(gradient);
        let [to_gamma, to_beta] = pass.to_affine_map(&sums);
        vec![Some(pass.to_x(gradient, &sums)), Some(to_gamma), Some(to_beta)]
    });
    // The output is one cheap pass over `x`, which is kept anyway, so later layers need not keep the output too.
    output.with_recipe(move || again.output())
}

/// The operands of [`normalise`] and its gradient.
#[derive(Clone)]
pub(super) struct Pass<B: Backend> {
    values: Tensor<B>,
    mean: Tensor<B>,
    /// `1 / sqrt(variance + epsilon)`.
    r: Tensor<B>,
    gamma: Tensor<B>,
    s: Tensor<B>,
    beta: Tensor<B>,
    activation: Activation,
    /// `1 / M`.
    share: f64,
}

impl<B: Backend> Pass<B> {
    pub(super) fn new(
        x: &Tensor<B>,
        [gamma, beta]: [&Tensor<B>; 2],
        statistics: &Statistics<B>,
        activation: Activation,
    ) -> Self {
        let (mean, r, gamma) = (statistics.mean.clone(), statistics.inverse_deviation.clone(), gamma.detach());
        let s = ops::map(&[&r, &gamma], |p| p.input(0) * p.input(1));
        let (values, beta, share) = (x.detach(), beta.detach(), 1.0 / statistics.count);
        Self { values, mean, r, gamma, s, beta, activation, share }
    }

    pub(super) fn output(&self) -> Tensor<B> {
        ops::map(&[&self.values, &self.mean, &self.s, &self.beta], |p| self.activation.value(affine(p)))
    }

    /// `sum g` and `sum g (x - mean)` over the numbers of a channel of a group.
    pub(super) fn sums(&self, gradient: &Tensor<B>) -> [Tensor<B>; 2] {
        let sums = Program::with_outputs(|p| {
            let g = self.activation.gradient(affine(p), p.input(4));
            vec![g, g * (p.input(0) - p.input(1))]
        });
        reduce(&[&self.values, &self.mean, &self.s, &self.beta, gradient], &[], self.s.shape(), &sums)
    }

    /// The gradients of `gamma` and `beta`.
    pub(super) fn to_affine_map(&self, [sum, moment]: &[Tensor<B>; 2]) -> [Tensor<B>; 2] {
        let channels = self.gamma.shape();
        let to_gamma = ops::sum(&[&self.r, moment], channels, |p| p.input(0) * p.input(1));
        [to_gamma, ops::sum(&[sum], channels, |p| p.input(0))]
    }

    /// The gradient of `x`, given the sums over all numbers of each group.
    pub(super) fn to_x(&self, gradient: &Tensor<B>, [sum, moment]: &[Tensor<B>; 2]) -> Tensor<B> {
        let (r, s) = (&self.r, &self.s);
        // If a group is a single channel, its gamma is already in `s`.
        let of_group = |part: &Tensor<B>| ops::sum(&[&self.gamma, part], r.shape(), |p| p.input(0) * p.input(1));
        let [factor, group_sum, group_moment] = if s.shape() == r.shape() {
            [s.clone(), sum.clone(), moment.clone()]
        } else {
            [r.clone(), of_group(sum), of_group(moment)]
        };
        let coefficients = ops::maps(r.shape(), &[self.share], &[&factor, r, &group_sum, &group_moment], |p| {
            let factor = p.input(0) * p.scalar(0);
            vec![factor * p.input(2), factor * p.input(1).square() * p.input(3)]
        });
        let [constant, slope] = &coefficients[..] else { unreachable!("two outputs") };
        ops::map(&[&self.values, &self.mean, s, &self.beta, gradient, constant, slope], |p| {
            let g = self.activation.gradient(affine(p), p.input(4));
            p.input(2) * g - p.input(5) - p.input(6) * (p.input(0) - p.input(1))
        })
    }
}

/// `z` from the inputs `x, mean, s, beta`.
fn affine(p: &Builder) -> Expr<'_> {
    (p.input(0) - p.input(1)) * p.input(2) + p.input(3)
}

/// Sums all outputs of a program in one pass over the first input's shape, without history.
fn reduce<B: Backend, const OUTPUTS: usize>(
    inputs: &[&Tensor<B>],
    scalars: &[f64],
    out: Shape,
    program: &Program,
) -> [Tensor<B>; OUTPUTS] {
    let (domain, backend) = (inputs[0].shape(), inputs[0].backend());
    let views: Vec<View<'_, B>> = inputs.iter().map(|input| input.view()).collect();
    let buffers = backend.reduce(Fold::Sum, program, scalars, &views, domain, out);
    let tensors: Vec<_> = buffers.into_iter().map(|buffer| Tensor::from_buffer(backend, out, buffer)).collect();
    tensors.try_into().expect("one tensor for each output of the program")
}
