//! Weighted counts per bin, and table look-up, their adjoint.

use crate::{Backend, Shape, Tensor};

/// `y[b] = sum of weights[i] over all i with bins[i] = b`, of shape `[1, 1, 1, 1, count]`; bins outside `0..count` are
/// ignored. Differentiable in the weights.
pub fn bincount<B: Backend>(bins: &Tensor<B>, weights: &Tensor<B>, count: usize) -> Tensor<B> {
    assert_eq!(bins.shape(), weights.shape(), "bincount: bins and weights differ in shape");
    let backend = bins.backend();
    let mut buffers = backend.bincount(bins.view(), &[weights.view()], count);
    let output = Tensor::from_buffer(backend, Shape::SCALAR.with(4, count), buffers.pop().expect("one output"));
    let bins = bins.detach();
    output.record(&[weights], move |gradient| vec![Some(take(gradient, &bins))])
}

/// `y[i] = table[index[i]]` for a table `[1, 1, 1, 1, count]`, 0 where the index is outside the table. Differentiable
/// in the table.
pub fn take<B: Backend>(table: &Tensor<B>, index: &Tensor<B>) -> Tensor<B> {
    let count = table.shape().len();
    assert_eq!(table.shape(), Shape::SCALAR.with(4, count), "take: the table must be [1, 1, 1, 1, count]");
    let buffer = table.backend().take(table.view(), index.view());
    let output = Tensor::from_buffer(table.backend(), index.shape(), buffer);
    let index = index.detach();
    output.record(&[table], move |gradient| vec![Some(bincount(&index, gradient, count))])
}
