//! The convolution family, closed under adjoint.

use crate::{Backend, Geometry, Shape, Tensor};

/// Cross-correlation of `x = [n, in, d, h, w]` with `weight = [out, in / groups, kd, kh, kw]`; see [`Backend::conv`]
/// for the formula. Differentiable in both.
pub fn conv<B: Backend>(x: &Tensor<B>, weight: &Tensor<B>, geometry: &Geometry) -> Tensor<B> {
    let (x_shape, w_shape, geometry) = (x.shape(), weight.shape(), *geometry);
    let out = geometry.output(x_shape, w_shape);
    let out = out.unwrap_or_else(|| panic!("conv: {x_shape} does not fit weight {w_shape}, {geometry:?}"));
    let output = Tensor::from_buffer(x.backend(), out, x.backend().conv(x.view(), weight.view(), &geometry, out));
    let (values, kernel, wants_x) = (weight.is_tracked().then(|| x.saved()), weight.detach(), x.is_tracked());
    output.record(&[x, weight], move |gradient| {
        // The saved values are released before the other gradient, which has the same size, is computed.
        let to_weight = values.map(|values| conv_weight(&values.numbers(), gradient, &geometry, w_shape));
        let to_x = wants_x.then(|| conv_transpose(gradient, &kernel, &geometry, x_shape));
        vec![to_x, to_weight]
    })
}

/// The adjoint of [`conv`] with respect to its input, as a layer. Maps `y = [n, out, ...]` to `x_shape`, with
/// `weight = [out, in / groups, kd, kh, kw]`. Differentiable in both.
///
/// (PyTorch's `ConvTranspose` stores the same weight but names its axes from the up-sampling side:
/// `[in, out / groups, ...]`.)
pub fn conv_transpose<B: Backend>(y: &Tensor<B>, weight: &Tensor<B>, geometry: &Geometry, x_shape: Shape) -> Tensor<B> {
    let (y_shape, w_shape, geometry) = (y.shape(), weight.shape(), *geometry);
    assert_eq!(geometry.output(x_shape, w_shape), Some(y_shape), "conv_transpose: {w_shape}, {geometry:?}, {x_shape}");
    let buffer = y.backend().conv_transpose(y.view(), weight.view(), &geometry, x_shape);
    let output = Tensor::from_buffer(y.backend(), x_shape, buffer);
    let (values, kernel, wants_y) = (weight.is_tracked().then(|| y.saved()), weight.detach(), y.is_tracked());
    output.record(&[y, weight], move |gradient| {
        let to_weight = values.map(|values| conv_weight(gradient, &values.numbers(), &geometry, w_shape));
        let to_y = wants_y.then(|| conv(gradient, &kernel, &geometry));
        vec![to_y, to_weight]
    })
}

/// The adjoint of [`conv`] with respect to its weight. Only gradients use it, so it records no gradient itself.
fn conv_weight<B: Backend>(x: &Tensor<B>, y: &Tensor<B>, geometry: &Geometry, w_shape: Shape) -> Tensor<B> {
    let buffer = x.backend().conv_weight(x.view(), y.view(), geometry, w_shape);
    Tensor::from_buffer(x.backend(), w_shape, buffer)
}
