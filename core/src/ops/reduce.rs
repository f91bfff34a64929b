//! Sums and maxima of pointwise programs.

use std::sync::Arc;

use super::common_shape;
use super::map::{Pointwise, map};
use crate::{Backend, Builder, Expr, Fold, Program, Shape, Tensor};

/// `y[o] = sum of f(inputs[i])` over all `i` of the inputs' common shape that agree with `o` on the axes where `out` is
/// not 1. Differentiable in each input.
pub fn sum<B: Backend>(inputs: &[&Tensor<B>], out: Shape, f: impl FnOnce(&Builder) -> Expr<'_>) -> Tensor<B> {
    let domain = common_shape("sum", inputs);
    let (pointwise, output) = fold("sum", Fold::Sum, inputs, domain, out, f);
    Pointwise::record(&pointwise, inputs, output, 0)
}

/// The sum over the inputs' common shape, as a scalar.
pub fn sum_all<B: Backend>(inputs: &[&Tensor<B>], f: impl FnOnce(&Builder) -> Expr<'_>) -> Tensor<B> {
    sum(inputs, Shape::SCALAR, f)
}

/// The mean over the inputs' common shape, as a scalar.
pub fn mean_all<B: Backend>(inputs: &[&Tensor<B>], f: impl FnOnce(&Builder) -> Expr<'_>) -> Tensor<B> {
    let share = 1.0 / common_shape("mean", inputs).len() as f64;
    sum_all(inputs, |builder| f(builder) * share)
}

/// `y[o] = max of x[i]` over the axes where `out` is 1. If several elements attain the maximum, each gets an equal
/// share of the gradient.
pub fn max<B: Backend>(x: &Tensor<B>, out: Shape) -> Tensor<B> {
    let (_, output) = fold("max", Fold::Max, &[x], x.shape(), out, |p| p.input(0));
    let (values, largest) = (x.detach(), output.clone());
    output.record(&[x], move |gradient| {
        let attained = sum(&[&values, &largest], out, |p| p.input(0).equals(p.input(1)));
        let share = map(&[&values, &largest, gradient, &attained], |p| {
            p.input(0).equals(p.input(1)).select(p.input(2) / p.input(3), 0.0)
        });
        vec![Some(share)]
    })
}

fn fold<B: Backend>(
    op: &str,
    kind: Fold,
    inputs: &[&Tensor<B>],
    domain: Shape,
    out: Shape,
    f: impl FnOnce(&Builder) -> Expr<'_>,
) -> (Arc<Pointwise<B>>, Tensor<B>) {
    assert!(out.broadcasts_to(domain), "{op}: {domain} cannot be reduced to {out}");
    let pointwise = Arc::new(Pointwise::new(op, Program::new(f), &[], inputs, domain));
    let backend = pointwise.backend();
    let mut buffers = backend.reduce(kind, &pointwise.program, &[], &pointwise.views(), domain, out);
    let output = Tensor::from_buffer(backend, out, buffers.pop().expect("one output"));
    (pointwise, output)
}
