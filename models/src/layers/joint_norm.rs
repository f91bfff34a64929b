//! Batch normalisation of a batch that passes through the network in parts.

use std::sync::{Arc, Mutex};

use segcal_core::{Backend, Shape, Tensor, axis, custom};

use super::norm::{Pass, Statistics};
use super::{Activation, NormLayer};
use crate::params::Parameters;
use crate::parts::{Together, sums};

/// The gradient of a part's output, and its two sums per channel.
struct Found<B: Backend> {
    gradient: Tensor<B>,
    sums: [Tensor<B>; 2],
}

/// The gradients of the parts' outputs, in the order of the parts; `None` until computed.
type Shared<B> = Arc<Mutex<Vec<Option<Found<B>>>>>;

/// `activation(z)` of each part computed here, with mean and variance over the whole batch; see [`NormLayer`]. The
/// running statistics are recorded in the first part.
///
/// The gradient of a part's input depends on the gradients of all outputs. All inputs therefore feed one scalar that
/// every output reads, so the backward pass reaches the scalar after all outputs.
pub(super) fn forward<B: Backend>(
    layer: &NormLayer,
    leaves: &[Parameters<B>],
    together: &Arc<dyn Together>,
    x: &[Tensor<B>],
    activation: Activation,
) -> Vec<Tensor<B>> {
    let statistics = statistics(x, &**together, layer.epsilon);
    layer.observe(&leaves[0], &statistics);
    let maps: Vec<[Tensor<B>; 2]> = leaves.iter().map(|leaves| layer.affine_map(leaves, x[0].backend())).collect();
    let passes = x.iter().zip(&maps).map(|(x, [gamma, beta])| Pass::new(x, [gamma, beta], &statistics, activation));
    let passes: Vec<Pass<B>> = passes.collect();
    let shared: Shared<B> = Arc::new(Mutex::new(x.iter().map(|_| None).collect()));
    let knot = knot(x, passes.clone(), together.clone(), shared.clone());
    let parts = passes.into_iter().zip(&maps).enumerate();
    parts.map(|(number, (pass, [gamma, beta]))| output(number, pass, [&knot, gamma, beta], shared.clone())).collect()
}

fn statistics<B: Backend>(x: &[Tensor<B>], together: &dyn Together, epsilon: f64) -> Statistics<B> {
    let over = Shape::SCALAR.with(axis::C, x[0].shape().c());
    let count = (together.samples() * x[0].shape().voxels()) as f64;
    let means: Vec<_> = x.iter().map(|x| [Statistics::share_of_mean(x, over, count)]).collect();
    let [mean] = sums(together, &means);
    let variances: Vec<_> = x.iter().map(|x| [Statistics::share_of_variance(x, &mean, count)]).collect();
    let [variance] = sums(together, &variances);
    Statistics::new(mean, variance, count, epsilon)
}

/// The scalar that all inputs feed. Its own gradient is unused; when the backward pass reaches it, the gradients of all
/// outputs are known and those of the inputs can be computed.
fn knot<B: Backend>(
    x: &[Tensor<B>],
    passes: Vec<Pass<B>>,
    together: Arc<dyn Together>,
    shared: Shared<B>,
) -> Tensor<B> {
    let scalar = Tensor::zeros(x[0].backend(), Shape::SCALAR);
    custom(&x.iter().collect::<Vec<_>>(), &scalar, move |_| {
        let found = std::mem::take(&mut *shared.lock().expect("no panic while a gradient is noted"));
        let found: Vec<Found<B>> = found.into_iter().map(|found| found.expect("every part has a gradient")).collect();
        let own: Vec<[Tensor<B>; 2]> = found.iter().map(|found| found.sums.clone()).collect();
        let all = sums(&*together, &own);
        passes.iter().zip(found).map(|(pass, found)| Some(pass.to_x(&found.gradient, &all))).collect()
    })
}

fn output<B: Backend>(number: usize, pass: Pass<B>, inputs: [&Tensor<B>; 3], shared: Shared<B>) -> Tensor<B> {
    let (output, again) = (pass.output(), pass.clone());
    let output = custom(&inputs, &output, move |gradient| {
        let sums = pass.sums(gradient);
        let [to_gamma, to_beta] = pass.to_affine_map(&sums);
        let nothing = Tensor::zeros(gradient.backend(), Shape::SCALAR);
        let found = Found { gradient: gradient.clone(), sums };
        shared.lock().expect("no panic while a gradient is noted")[number] = Some(found);
        vec![Some(nothing), Some(to_gamma), Some(to_beta)]
    });
    output.with_recipe(move || again.output())
}
