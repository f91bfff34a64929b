//! Pointwise programs on tensors.

use std::sync::Arc;

use super::common_shape;
use crate::{Backend, Builder, Expr, Fold, Program, Shape, Tensor, View};

/// `y[i] = f(inputs[i])` over the common shape of the inputs. Differentiable in each input.
///
/// The whole expression takes one pass over memory, and its gradient takes another.
///
/// ```
/// use segcal_core::{Reference, Shape, Tensor, ops};
/// let x = Tensor::new(&Reference, Shape::new(1, 1, 1, 1, 2), vec![-1.0, 2.0]);
/// let relu = ops::map(&[&x], |p| p.input(0).max(0.0));
/// assert_eq!(relu.to_vec()?, vec![0.0, 2.0]);
/// # Ok::<(), segcal_core::Error>(())
/// ```
pub fn map<B: Backend>(inputs: &[&Tensor<B>], f: impl FnOnce(&Builder) -> Expr<'_>) -> Tensor<B> {
    map_over(common_shape("map", inputs), &[], inputs, f)
}

/// Like [`map`], over an explicit domain, which may be larger than the common shape of the inputs, and with runtime
/// scalars (which are not differentiated).
pub fn map_over<B: Backend>(
    domain: Shape,
    scalars: &[f64],
    inputs: &[&Tensor<B>],
    f: impl FnOnce(&Builder) -> Expr<'_>,
) -> Tensor<B> {
    maps(domain, scalars, inputs, |builder| vec![f(builder)]).pop().expect("one output")
}

/// Like [`map_over`], with several outputs computed in one pass.
pub fn maps<B: Backend>(
    domain: Shape,
    scalars: &[f64],
    inputs: &[&Tensor<B>],
    f: impl FnOnce(&Builder) -> Vec<Expr<'_>>,
) -> Vec<Tensor<B>> {
    let pointwise = Arc::new(Pointwise::new("map", Program::with_outputs(f), scalars, inputs, domain));
    let buffers = pointwise.backend().map(&pointwise.program, scalars, &pointwise.views(), domain);
    let outputs = buffers.into_iter().enumerate();
    outputs
        .map(|(number, buffer)| {
            let output = Tensor::from_buffer(pointwise.backend(), domain, buffer);
            Pointwise::record(&pointwise, inputs, output, number)
        })
        .collect()
}

/// The sum of tensors of the same shape; the tensor itself if there is only one.
pub fn sum_of<B: Backend>(terms: &[Tensor<B>]) -> Tensor<B> {
    if let [only] = terms {
        return only.clone();
    }
    let inputs: Vec<&Tensor<B>> = terms.iter().collect();
    map(&inputs, |p| (1..inputs.len()).fold(p.input(0), |sum, number| sum + p.input(number)))
}

/// A program with everything it was applied to, kept by `map` and `reduce` for their gradient.
pub(super) struct Pointwise<B: Backend> {
    pub(super) program: Program,
    scalars: Vec<f64>,
    inputs: Vec<Tensor<B>>,
    tracked: Vec<bool>,
    domain: Shape,
}

impl<B: Backend> Pointwise<B> {
    pub(super) fn new(op: &str, program: Program, scalars: &[f64], inputs: &[&Tensor<B>], domain: Shape) -> Self {
        assert!(!inputs.is_empty(), "{op}: at least one input is needed; use Tensor::full");
        assert!(program.inputs() <= inputs.len(), "{op}: the program reads more inputs than were given");
        assert!(program.scalars() <= scalars.len(), "{op}: the program reads more scalars than were given");
        for input in inputs {
            let shape = input.shape();
            assert!(shape.broadcasts_to(domain), "{op}: an input of shape {shape} cannot be broadcast to {domain}");
        }
        let tracked = inputs.iter().map(|input| input.is_tracked()).collect();
        let inputs = inputs.iter().map(|input| input.detach()).collect();
        Self { program, scalars: scalars.to_vec(), inputs, tracked, domain }
    }

    pub(super) fn backend(&self) -> &B {
        self.inputs[0].backend()
    }

    pub(super) fn views(&self) -> Vec<View<'_, B>> {
        self.inputs.iter().map(Tensor::view).collect()
    }

    /// Records that `output` is output `number` of the program applied to `inputs`.
    pub(super) fn record(this: &Arc<Self>, inputs: &[&Tensor<B>], output: Tensor<B>, number: usize) -> Tensor<B> {
        let this = this.clone();
        output.record(inputs, move |gradient| this.vjp(number, gradient))
    }

    /// Computes the gradients of the tracked inputs, given a gradient of output `number`. That gradient is broadcast to
    /// the domain, so that the same code serves `map` and reduction by sum.
    ///
    /// Inputs with the shape of the domain share one map; inputs that were broadcast share one reduction per shape.
    fn vjp(&self, number: usize, gradient: &Tensor<B>) -> Vec<Option<Tensor<B>>> {
        let output = self.program.select(&[number]);
        let wanted: Vec<usize> = (0..output.inputs()).filter(|&input| self.tracked[input]).collect();
        let program = output.vjp(&wanted);
        let mut views: Vec<View<'_, B>> = self.views()[..output.inputs()].to_vec();
        views.push(gradient.view());
        let mut gradients = vec![None; self.inputs.len()];
        for (shape, members) in by_shape(&wanted, &self.inputs) {
            let part = program.select(&members);
            let backend = self.backend();
            let buffers = if shape == self.domain {
                backend.map(&part, &self.scalars, &views, shape)
            } else {
                backend.reduce(Fold::Sum, &part, &self.scalars, &views, self.domain, shape)
            };
            for (member, buffer) in members.into_iter().zip(buffers) {
                gradients[wanted[member]] = Some(Tensor::from_buffer(backend, shape, buffer));
            }
        }
        gradients
    }
}

/// Groups the positions in `wanted` by the shape of the input they refer to, in order of first appearance.
fn by_shape<B: Backend>(wanted: &[usize], inputs: &[Tensor<B>]) -> Vec<(Shape, Vec<usize>)> {
    let mut groups: Vec<(Shape, Vec<usize>)> = Vec::new();
    for (position, &input) in wanted.iter().enumerate() {
        let shape = inputs[input].shape();
        match groups.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, members)) => members.push(position),
            None => groups.push((shape, vec![position])),
        }
    }
    groups
}
