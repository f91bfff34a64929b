//! A batch that goes through a network in parts, side by side, layer by layer.
//!
//! Each part has leaves of its own, so that its gradients come by themselves and can be added in an order that does not
//! depend on who computes which part. What looks across the samples of a batch brings its sums together by [`Together`].

use std::sync::Arc;

use segcal_core::{Backend, Shape, Tensor, axis, ops};

use crate::params::Parameters;

/// Brings together what the parts of a batch have found; those that other processes compute among them.
pub trait Together: Send + Sync {
    /// The rows of all parts in their order, made of the rows of the parts here, in theirs. All rows are equally long.
    fn rows(&self, own: Vec<Vec<f64>>) -> Vec<Vec<f64>>;

    /// Samples of the whole batch.
    fn samples(&self) -> usize;
}

/// The parts of a batch that are computed here.
pub struct Parts<'a, B: Backend> {
    leaves: &'a [Parameters<B>],
    together: Option<Arc<dyn Together>>,
}

impl<'a, B: Backend> Parts<'a, B> {
    /// The whole batch at once.
    pub fn whole(parameters: &'a Parameters<B>) -> Self {
        Self { leaves: std::slice::from_ref(parameters), together: None }
    }

    /// Parts with leaves of their own. Panics if there is none.
    pub fn of(leaves: &'a [Parameters<B>], together: Arc<dyn Together>) -> Self {
        assert!(!leaves.is_empty(), "parts: there is none");
        Self { leaves, together: Some(together) }
    }

    /// The tensors of each part.
    pub fn leaves(&self) -> &'a [Parameters<B>] {
        self.leaves
    }

    /// What brings sums together, unless the whole batch is here at once.
    pub(crate) fn together(&self) -> Option<&Arc<dyn Together>> {
        self.together.as_ref()
    }
}

/// Sums over all parts of `[1, c, 1, 1, 1]` tensors, of which each part here has found `COUNT`: in the order of the parts.
///
/// The numbers come by way of the host. Where the device cannot be read they are NaN: it says so itself at the next reading.
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
