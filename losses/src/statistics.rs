//! Statistics of a pixel's logits that the losses share, computed once.

use segcal_core::{Backend, Fold, Program, Tensor, axis, ops};

/// Statistics of each pixel's logits, `[n, 1, d, h, w]`, without history.
#[derive(Clone)]
pub(crate) struct Statistics<B: Backend> {
    pub(crate) largest: Tensor<B>,
    pub(crate) log_sum_exp: Tensor<B>,
    pub(crate) log_true: Tensor<B>,
}

impl<B: Backend> Statistics<B> {
    /// Computes them in two passes over the logits.
    pub(crate) fn new(logits: &Tensor<B>, labels: &Tensor<B>) -> Self {
        let (backend, domain, pixels) = (logits.backend(), logits.shape(), labels.shape());
        let largest = ops::max(logits, pixels);
        let program = Program::with_outputs(|p| {
            let logit = p.input(0);
            vec![(logit - p.input(1)).exp(), p.input(2).equals(p.coord(axis::C)).select(logit, 0.0)]
        });
        let views = [logits.view(), largest.view(), labels.view()];
        let buffers = backend.reduce(Fold::Sum, &program, &[], &views, domain, pixels);
        let mut sums = buffers.into_iter().map(|buffer| Tensor::from_buffer(backend, pixels, buffer));
        let (powers, of_label) = (sums.next().expect("two outputs"), sums.next().expect("two outputs"));
        let logarithms = ops::maps(pixels, &[], &[&largest, &powers, &of_label], |p| {
            let log_sum_exp = p.input(0) + p.input(1).ln();
            vec![log_sum_exp, p.input(2) - log_sum_exp]
        });
        let Ok([log_sum_exp, log_true]) = <[_; 2]>::try_from(logarithms) else { unreachable!("two outputs") };
        Self { largest, log_sum_exp, log_true }
    }
}
