//! Operations on label maps and masks; none of them is differentiable.

use super::map_over;
use crate::{Backend, Rank, Tensor, Window, axis};

/// One-hot encodes class numbers `[n, 1, d, h, w]`: one channel of 0 or 1 per class, `[n, classes, d, h, w]`. A label
/// outside `0..classes` (such as the ignore label) is 0 in every channel.
pub fn one_hot<B: Backend>(labels: &Tensor<B>, classes: usize) -> Tensor<B> {
    assert_eq!(labels.shape().c(), 1, "one_hot: labels have one channel");
    let domain = labels.shape().with(axis::C, classes);
    map_over(domain, &[], &[&labels.detach()], |p| p.input(0).equals(p.coord(axis::C)))
}

/// The value of the given rank in each window of size `[d, h, w]` that fits inside `x` (stride 1, no padding).
pub fn rank_filter<B: Backend>(x: &Tensor<B>, size: [usize; 3], rank: Rank) -> Tensor<B> {
    let out = Window::sliding(size).output(x.shape());
    let out = out.unwrap_or_else(|| panic!("rank_filter: {} is smaller than {size:?}", x.shape()));
    Tensor::from_buffer(x.backend(), out, x.backend().rank_filter(x.view(), size, rank, out))
}

/// Exact Euclidean distance to the nearest voxel that is not 0, in the unit of `spacing = [d, h, w]`; see
/// [`Backend::distance`].
pub fn distance<B: Backend>(mask: &Tensor<B>, spacing: [f64; 3]) -> Tensor<B> {
    Tensor::from_buffer(mask.backend(), mask.shape(), mask.backend().distance(mask.view(), spacing))
}
