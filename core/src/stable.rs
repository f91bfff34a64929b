//! Numerically stable forms of functions that would overflow or cancel if written naively.

use crate::grad::custom;
use crate::ops;
use crate::{Backend, Expr, Tensor, axis};

/// `max over c of x[n, c, ...]` and `log sum over c of exp x[n, c, ...]`, both of shape `[n, 1, d, h, w]` and without
/// history; finite for every finite input.
pub fn max_and_log_sum_exp<B: Backend>(x: &Tensor<B>) -> (Tensor<B>, Tensor<B>) {
    let (values, out) = (x.detach(), x.shape().with(axis::C, 1));
    let largest = ops::max(&values, out);
    let total = ops::sum(&[&values, &largest], out, |p| (p.input(0) - p.input(1)).exp());
    let log_sum_exp = ops::map(&[&largest, &total], |p| p.input(0) + p.input(1).ln());
    (largest, log_sum_exp)
}

/// `log sum over c of exp x[n, c, ...]`, shape `[n, 1, d, h, w]`. Differentiable; finite for every finite input.
pub fn log_sum_exp<B: Backend>(x: &Tensor<B>) -> Tensor<B> {
    let values = x.detach();
    let (_, output) = max_and_log_sum_exp(&values);
    let saved = output.clone();
    custom(&[x], &output, move |gradient| {
        let softmax_times = ops::map(&[&values, &saved, gradient], |p| (p.input(0) - p.input(1)).exp() * p.input(2));
        vec![Some(softmax_times)]
    })
}

/// `log softmax over c`: `x - log_sum_exp(x)`, in the shape of `x`. Differentiable.
pub fn log_softmax<B: Backend>(x: &Tensor<B>) -> Tensor<B> {
    let lse = log_sum_exp(x);
    ops::map(&[x, &lse], |p| p.input(0) - p.input(1))
}

/// Softmax over c, in the shape of `x`. Differentiable: `dx = s (g - sum over c of s g)`.
pub fn softmax<B: Backend>(x: &Tensor<B>) -> Tensor<B> {
    let values = x.detach();
    let (_, log_sum_exp) = max_and_log_sum_exp(&values);
    let output = ops::map(&[&values, &log_sum_exp], |p| (p.input(0) - p.input(1)).exp());
    let saved = output.clone();
    custom(&[x], &output, move |gradient| {
        let mean = ops::sum(&[&saved, gradient], log_sum_exp.shape(), |p| p.input(0) * p.input(1));
        vec![Some(ops::map(&[&saved, gradient, &mean], |p| p.input(0) * (p.input(1) - p.input(2))))]
    })
}

/// `1 / (1 + e^-x)`, as an expression; no overflow for any x.
#[must_use]
pub fn sigmoid(x: Expr<'_>) -> Expr<'_> {
    0.5 * (1.0 + (x * 0.5).tanh())
}

/// `log(1 + e^x)`, as an expression; no overflow for any x.
#[must_use]
pub fn softplus(x: Expr<'_>) -> Expr<'_> {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `log sigmoid(x) = -softplus(-x)`, as an expression.
#[must_use]
pub fn log_sigmoid(x: Expr<'_>) -> Expr<'_> {
    -softplus(-x)
}

/// `x log y` with `0 log 0 = 0`, as an expression.
#[must_use]
pub fn xlogy<'b>(x: Expr<'b>, y: Expr<'b>) -> Expr<'b> {
    let none = x.equals(0.0);
    none.select(0.0, x * none.select(1.0, y).ln())
}
