//! Maximum pooling.

use crate::{Backend, Tensor, Window};

/// The maximum of each window; the gradient goes to the first place that attains it.
pub fn max_pool<B: Backend>(x: &Tensor<B>, window: &Window) -> Tensor<B> {
    let (x_shape, window) = (x.shape(), *window);
    let out = window.output(x_shape).unwrap_or_else(|| panic!("max_pool: {x_shape} is smaller than {window:?}"));
    let (values, index) = x.backend().max_pool(x.view(), &window, out);
    let output = Tensor::from_buffer(x.backend(), out, values);
    let index = Tensor::from_buffer(x.backend(), out, index);
    output.record(&[x], move |gradient| {
        let buffer = gradient.backend().max_unpool(gradient.view(), index.view(), &window, x_shape);
        vec![Some(Tensor::from_buffer(gradient.backend(), x_shape, buffer))]
    })
}
