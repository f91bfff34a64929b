//! Maximum pooling.

use crate::{Backend, Shape, Tensor, Window};

/// The maximum of each window; the gradient goes to the first element that attains it.
///
/// For its gradient it keeps only `x`, which networks keep anyway, and not the maxima or their indices: one pass over
/// `x` recomputes both.
pub fn max_pool<B: Backend>(x: &Tensor<B>, window: &Window) -> Tensor<B> {
    let (x_shape, window) = (x.shape(), *window);
    let out = window.output(x_shape).unwrap_or_else(|| panic!("max_pool: {x_shape} is smaller than {window:?}"));
    let [output, _] = pooled(x, &window, out);
    if !x.is_tracked() {
        return output;
    }
    let [for_places, for_maxima] = [x.saved(), x.saved()];
    let output = output.record(&[x], move |gradient| {
        let [_, places] = pooled(&for_places.numbers(), &window, out);
        let buffer = gradient.backend().max_unpool(gradient.view(), places.view(), &window, x_shape);
        vec![Some(Tensor::from_buffer(gradient.backend(), x_shape, buffer))]
    });
    output.with_recipe(move || {
        let [maxima, _] = pooled(&for_maxima.numbers(), &window, out);
        maxima
    })
}

/// The maxima and their indices within the windows, without history.
fn pooled<B: Backend>(x: &Tensor<B>, window: &Window, out: Shape) -> [Tensor<B>; 2] {
    let (maxima, places) = x.backend().max_pool(x.view(), window, out);
    [maxima, places].map(|buffer| Tensor::from_buffer(x.backend(), out, buffer))
}
