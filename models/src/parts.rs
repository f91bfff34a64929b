//! A batch that passes through a network in parts, side by side, layer by layer.
//!
//! Each part has its own leaves, so its gradients are separate and can be added in an order that does not depend on
//! which process computes which part. Layers that mix the samples of a batch combine their sums through [`Together`].

use std::sync::Arc;

use segcal_core::{Backend, Shape, Tensor, axis, ops};

use crate::params::Parameters;

/// Combines the results of all parts of a batch, including those that other processes compute.
pub trait Together: Send + Sync {
    /// Returns the rows of all parts in order, given those of the parts computed here. All rows have the same length.
    fn rows(&self, own: Vec<Vec<f64>>) -> Vec<Vec<f64>>;

    /// Number of samples in the whole batch.
    fn samples(&self) -> usize;
}

/// The parts of a batch that this process computes.
pub struct Parts<'a, B: Backend> {
    leaves: &'a [Parameters<B>],
    together: Option<Arc<dyn Together>>,
}

impl<'a, B: Backend> Parts<'a, B> {
    /// The whole batch as a single part.
    pub fn whole(parameters: &'a Parameters<B>) -> Self {
        Self { leaves: std::slice::from_ref(parameters), together: None }
    }

    /// Parts with their own leaves. Panics if `leaves` is empty.
    pub fn of(leaves: &'a [Parameters<B>], together: Arc<dyn Together>) -> Self {
        assert!(!leaves.is_empty(), "parts: leaves must not be empty");
        Self { leaves, together: Some(together) }
    }

    /// The tensors of each part.
    pub fn leaves(&self) -> &'a [Parameters<B>] {
        self.leaves
    }

    /// What combines sums over parts; `None` if the whole batch is a single part.
    pub(crate) fn together(&self) -> Option<&Arc<dyn Together>> {
        self.together.as_ref()
    }
}

/// Sums `[1, c, 1, 1, 1]` tensors over all parts, in the order of the parts. Each part computed here contributes
/// `COUNT` tensors.
///
/// The numbers go through the host. If the device cannot be read they are NaN; the next read from it returns the error.
pub(crate) fn sums<B: Backend, const COUNT: usize>(
    together: &dyn Together,
    own: &[[Tensor<B>; COUNT]],
) -> [Tensor<B>; COUNT] {
    let (backend, shape) = (own[0][0].backend().clone(), own[0][0].shape());
    let numbers = |tensor: &Tensor<B>| tensor.to_f64().unwrap_or_else(|_| vec![f64::NAN; tensor.shape().len()]);
    let rows = together.rows(own.iter().map(|found| found.iter().flat_map(numbers).collect()).collect());
    let all = Tensor::from_f64(&backend, Shape::new(rows.len(), COUNT * shape.len(), 1, 1, 1), &rows.concat());
    let sum = ops::sum(&[&all], all.shape().with(axis::N, 1), |p| p.input(0));
    std::array::from_fn(|number| ops::slice(&sum, [0, number * shape.len(), 0, 0, 0], shape))
}
