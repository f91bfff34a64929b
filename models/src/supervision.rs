//! Deep supervision: losses on logits of several resolutions.

use segcal_core::{Backend, Interpolation, Sampling, Tensor, ops};

/// Labels `[n, 1, d, h, w]` on a coarser grid of extents `spatial`, resampled as nnU-Net does for its coarser logits:
/// voxel `t` takes voxel `floor((t + 1/2) factor)`, the middle one ("nearest-exact"), rather than the first of each
/// tile.
pub fn labels_on_grid<B: Backend>(labels: &Tensor<B>, spatial: [usize; 3]) -> Tensor<B> {
    let fine = labels.shape().spatial();
    if fine == spatial {
        return labels.clone();
    }
    ops::resample(labels, &Sampling::resize(fine, spatial, Interpolation::Nearest), spatial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use segcal_core::{Reference, Shape};

    #[test]
    fn the_voxel_at_the_middle_is_taken() {
        let labels = Tensor::from_f64(&Reference, Shape::new(1, 1, 1, 1, 8), &[0., 1., 2., 3., 4., 5., 6., 7.]);
        assert_eq!(labels_on_grid(&labels, [1, 1, 4]).to_vec().unwrap(), [1.0, 3.0, 5.0, 7.0]);
        assert_eq!(labels_on_grid(&labels, [1, 1, 2]).to_vec().unwrap(), [2.0, 6.0]);
        assert_eq!(labels_on_grid(&labels, [1, 1, 8]).to_vec().unwrap(), labels.to_vec().unwrap());
    }
}
