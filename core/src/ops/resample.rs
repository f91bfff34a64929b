//! Resampling: up-sampling layers, warps, edge padding.

use crate::{Backend, Interpolation, Sampling, Tensor};

/// `y[o] = x at sampling.matrix [o, 1]`, over an output grid of size `spatial = [d, h, w]`; see [`Sampling`].
/// Differentiable.
pub fn resample<B: Backend>(x: &Tensor<B>, sampling: &Sampling, spatial: [usize; 3]) -> Tensor<B> {
    let (x_shape, sampling) = (x.shape(), *sampling);
    assert!(x_shape.voxels() > 0, "resample: the input of shape {x_shape} is empty");
    let out = x_shape.with_spatial(spatial);
    let output = Tensor::from_buffer(x.backend(), out, x.backend().resample(x.view(), &sampling, out));
    let output = output.record(&[x], move |gradient| {
        let buffer = gradient.backend().resample_adjoint(gradient.view(), &sampling, x_shape);
        vec![Some(Tensor::from_buffer(gradient.backend(), x_shape, buffer))]
    });
    // A recipe saves memory only if the input is smaller than the output.
    if !output.is_tracked() || out.len() <= x_shape.len() {
        return output;
    }
    let kept = x.saved();
    output.with_recipe(move || resample(&kept.numbers(), &sampling, spatial))
}

/// Enlarges the spatial axes by integer factors, with voxel centres at half-integers. Differentiable.
pub fn upsample<B: Backend>(x: &Tensor<B>, factors: [usize; 3], interpolation: Interpolation) -> Tensor<B> {
    let input = x.shape().spatial();
    let output = std::array::from_fn(|axis| input[axis] * factors[axis]);
    resample(x, &Sampling::resize(input, output, interpolation), output)
}

/// Pads both sides by `margin = [d, h, w]` repetitions of the edge voxels. Differentiable.
pub fn replicate_pad<B: Backend>(x: &Tensor<B>, margin: [usize; 3]) -> Tensor<B> {
    let spatial = x.shape().spatial();
    let shift = Sampling::axes([1.0; 3], margin.map(|m| -(m as f64)), Interpolation::Nearest);
    resample(x, &shift, std::array::from_fn(|axis| spatial[axis] + 2 * margin[axis]))
}
