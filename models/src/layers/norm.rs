//! Normalisation, affine map and activation in one pass.

use segcal_core::{Backend, Builder, Expr, Fold, Program, Shape, Tensor, View, custom, ops};
use serde::{Deserialize, Serialize};

use super::{Activation, Mode};
use crate::graph::{Graph, Layer, Value};
use crate::init::{Fill, Spec};
use crate::params::Parameters;

/// `z = gamma (x - mean) / sqrt(variance + 1e-5) + beta` per channel; the kinds differ in what mean and (biased)
/// variance are taken over.
///
/// `gamma` and `beta` are `<name>.weight` and `<name>.bias`, both `[c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// `z = x`.
    None,
    /// Over the voxels of one channel of one sample (Ulyanov, Vedaldi and Lempitsky 2016).
    Instance,
    /// Over the voxels of one channel of the whole batch (Ioffe and Szegedy 2015). In training, running statistics
    /// `<name>.running_mean` and `<name>.running_var` (unbiased) move a tenth of the way to those of the batch, with
    /// the optimiser's step; in evaluation they take their place.
    Batch,
}

/// What keeps the square root away from 0.
const EPSILON: f64 = 1e-5;
/// The share of the newest batch in the running statistics.
const MOMENTUM: f64 = 0.1;

impl Norm {
    /// The tensors for `channels` channels.
    pub fn specs(self, name: &str, channels: usize) -> Vec<Spec> {
        let spec = |tensor: &str, value| Spec::per_channel(format!("{name}.{tensor}"), channels, Fill::Constant(value));
        let running = |tensor, value| Spec { trainable: false, ..spec(tensor, value) };
        match self {
            Self::None => Vec::new(),
            Self::Instance => vec![spec("weight", 1.0), spec("bias", 0.0)],
            Self::Batch => {
                let learnt = [spec("weight", 1.0), spec("bias", 0.0)];
                learnt.into_iter().chain([running("running_mean", 0.0), running("running_var", 1.0)]).collect()
            }
        }
    }

    /// `activation(z)`. Panics for [`Norm::None`], which has no pass of its own.
    pub fn forward<B: Backend>(
        self,
        parameters: &Parameters<B>,
        name: &str,
        x: &Tensor<B>,
        activation: Activation,
        mode: Mode,
    ) -> Tensor<B> {
        let get = |tensor: &str| parameters.get(&format!("{name}.{tensor}"));
        let (gamma, beta) = (get("weight"), get("bias"));
        match (self, mode) {
            (Self::None, _) => panic!("{name}: there is nothing to normalise"),
            (Self::Instance, _) => {
                let over = x.shape().with_spatial([1; 3]);
                normalise(x, gamma, beta, &Statistics::of(x, over), activation)
            }
            (Self::Batch, Mode::Train) => {
                let statistics = Statistics::of(x, gamma.shape());
                let observe = |tensor: &str, batch: &Tensor<B>, factor: f64| {
                    let moved = ops::map_over(gamma.shape(), &[MOMENTUM * factor], &[get(tensor), batch], |p| {
                        p.input(0) * (1.0 - MOMENTUM) + p.input(1) * p.scalar(0)
                    });
                    parameters.observe(&format!("{name}.{tensor}"), moved);
                };
                observe("running_mean", &statistics.mean, 1.0);
                observe("running_var", &statistics.variance, statistics.count / (statistics.count - 1.0).max(1.0));
                normalise(x, gamma, beta, &statistics, activation)
            }
            (Self::Batch, Mode::Evaluate) => {
                ops::map(&[x, get("running_mean"), get("running_var"), gamma, beta], |p| {
                    let scale = p.input(3) / (p.input(2) + EPSILON).sqrt();
                    activation.value((p.input(0) - p.input(1)) * scale + p.input(4))
                })
            }
        }
    }
}

impl Norm {
    /// Puts the layer, as it is in evaluation and without activation, behind a value; [`Norm::None`] adds nothing.
    pub fn describe(self, graph: &mut Graph, name: &str, x: Value) -> Value {
        let tensor = |tensor: &str| format!("{name}.{tensor}");
        let (weight, bias, epsilon) = (tensor("weight"), tensor("bias"), EPSILON);
        let layer = match self {
            Self::None => return x,
            Self::Instance => Layer::InstanceNorm { weight, bias, epsilon },
            Self::Batch => {
                let (mean, variance) = (tensor("running_mean"), tensor("running_var"));
                Layer::BatchNorm { weight, bias, mean, variance, epsilon }
            }
        };
        graph.add(name, layer, &[x])
    }
}

/// Mean and biased variance per group; neither is differentiated, [`normalise`] accounts for both.
struct Statistics<B: Backend> {
    mean: Tensor<B>,
    variance: Tensor<B>,
    /// Numbers per group.
    count: f64,
}

impl<B: Backend> Statistics<B> {
    /// Over the axes that are 1 in `over`. Two passes, so that a large mean does not swallow the variance.
    fn of(x: &Tensor<B>, over: Shape) -> Self {
        let count = (x.shape().len() / over.len()) as f64;
        let share = [1.0 / count];
        let [mean] = reduce(&[x], &share, over, &Program::new(|p| p.input(0) * p.scalar(0)));
        let squared = Program::new(|p| (p.input(0) - p.input(1)).square() * p.scalar(0));
        let [variance] = reduce(&[x, &mean], &share, over, &squared);
        Self { mean, variance, count }
    }
}

/// `y = activation(z)` with `z = s (x - mean) + beta`, `s = gamma r`, `r = 1 / sqrt(variance + epsilon)`: one pass.
///
/// Gradient, with `g` that of `z`, `M` numbers per group, `S = sum g` and `T = sum g (x - mean)` over a group:
/// `x: s (g - S / M - r^2 T / M (x - mean))`, `gamma: sum r T`, `beta: sum S`, both over the groups of a channel.
/// One reduction with two outputs and one pass; `z` is recomputed from `x`, so nothing of full size is stored.
fn normalise<B: Backend>(
    x: &Tensor<B>,
    gamma: &Tensor<B>,
    beta: &Tensor<B>,
    statistics: &Statistics<B>,
    activation: Activation,
) -> Tensor<B> {
    let (values, mean, shift) = (x.detach(), statistics.mean.clone(), beta.detach());
    let r = ops::map(&[&statistics.variance], |p| 1.0 / (p.input(0) + EPSILON).sqrt());
    let s = ops::map(&[&r, &gamma.detach()], |p| p.input(0) * p.input(1));
    let output = ops::map(&[&values, &mean, &s, &shift], |p| activation.value(affine(p)));
    let (share, channels) = (1.0 / statistics.count, gamma.shape());
    // The output is one cheap pass over `x`, which is kept anyway: the layers behind need not keep it too.
    let again = [&values, &mean, &s, &shift].map(Clone::clone);
    let recipe = move || ops::map(&again.each_ref(), |p| activation.value(affine(p)));
    let output = custom(&[x, gamma, beta], &output, move |gradient| {
        let sums = Program::with_outputs(|p| {
            let g = activation.gradient(affine(p), p.input(4));
            vec![g, g * (p.input(0) - p.input(1))]
        });
        let [sum, moment] = reduce(&[&values, &mean, &s, &shift, gradient], &[], s.shape(), &sums);
        let coefficients = ops::maps(s.shape(), &[share], &[&s, &r, &sum, &moment], |p| {
            let s = p.input(0) * p.scalar(0);
            vec![s * p.input(2), s * p.input(1).square() * p.input(3)]
        });
        let [constant, slope] = &coefficients[..] else { unreachable!("two outputs") };
        let to_x = ops::map(&[&values, &mean, &s, &shift, gradient, constant, slope], |p| {
            let g = activation.gradient(affine(p), p.input(4));
            p.input(2) * g - p.input(5) - p.input(6) * (p.input(0) - p.input(1))
        });
        let to_gamma = ops::sum(&[&r, &moment], channels, |p| p.input(0) * p.input(1));
        let to_beta = ops::sum(&[&sum], channels, |p| p.input(0));
        vec![Some(to_x), Some(to_gamma), Some(to_beta)]
    });
    output.with_recipe(recipe)
}

/// `z` of inputs `x, mean, s, beta`.
fn affine(p: &Builder) -> Expr<'_> {
    (p.input(0) - p.input(1)) * p.input(2) + p.input(3)
}

/// Sums of all outputs of a program in one pass over the first input's shape, without history.
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
