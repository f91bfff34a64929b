//! Dropout (Srivastava et al. 2014).

use segcal_core::{Backend, Tensor, axis, ops};

use crate::params::Parameters;

/// In training, each number becomes 0 with probability `rate` and is multiplied by `1 / (1 - rate)` otherwise.
///
/// What is dropped depends only on the source of random numbers that the parameters carry
/// ([`Parameters::with_dropout`]), the layer's name and the number's offset in the batch. A run resumed from a
/// checkpoint therefore drops the same numbers, on every backend. Without a source nothing is dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// Name of the layer.
    pub name: String,
    /// Probability that a number becomes 0.
    pub rate: f64,
}

impl Dropout {
    /// Applies dropout to `x`.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, x: &Tensor<B>) -> Tensor<B> {
        let dropout = parameters.dropout(&self.name).filter(|_| self.rate > 0.0);
        let Some((rng, first)) = dropout else { return x.clone() };
        let kept = (1.0 - self.rate).recip();
        let factor = |i: u64| if rng.uniform(i) < self.rate { 0.0 } else { kept };
        let (len, before) = (x.shape().len() as u64, (first * x.shape().with(axis::N, 1).len()) as u64);
        let mask: Vec<f64> = (before..before + len).map(factor).collect();
        let mask = Tensor::from_f64(x.backend(), x.shape(), &mask);
        ops::map(&[x, &mask], |p| p.input(0) * p.input(1))
    }
}
