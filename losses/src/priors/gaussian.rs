//! Gaussian prior: the labels of the patch averaged with the weights `exp(-r^2 / (2 sigma^2))`, `r` in pixels.
//!
//! Sums to one at every pixel. Pixels outside the image repeat the nearest one. Both hold in both conventions.
//!
//! - `authors`: the Gaussian is normalised, its centre is then set to the sum of the neighbours' weights, and the
//!   result is normalised again. For a patch of 3 the centre has weight 1/2 for every sigma. For larger patches the
//!   code reads the centre's weight at index 1 of each axis instead of the middle; this is reproduced (patch 5, sigma
//!   1: centre 0.529).
//! - `paper`: the normalised Gaussian (NACL, supplement, Eq. 2); `sigma -> 0` is the one-hot label.
//!
//! Source: Islam and Glocker 2021; NACL (Murugesan et al. 2023), Eq. 1, and supplement, Eq. 2.

use segcal_core::{Backend, Index, Result, Shape, Tensor, axis};

use super::patch::{Outside, PATCH, filter_labels, patch_extents, squared_radius};
use crate::{LabelPrior, Param, Range, Settings, Spec};

/// Labels of the patch averaged with Gaussian weights.
#[derive(Clone, Debug)]
pub struct Gaussian {
    patch: usize,
    sigma: f64,
    plain: bool,
}

impl LabelPrior for Gaussian {
    const SPEC: Spec = Spec {
        name: "gaussian",
        title: "Labels of the patch mixed with a Gaussian",
        source: "NACL (Murugesan et al. 2023), supplement, Eq. 2; Islam and Glocker 2021",
        image: false,
        views: 1,
        params: &[&[
            PATCH,
            Param::new("sigma", "1", Range::Above(0.0, 1e6), "standard deviation of the Gaussian, in pixels")
                .reported("tried 0.5 1 2; reported 2 for svls (NACL, CRaC)"),
        ]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { patch: settings.whole("patch"), sigma: settings.number("sigma"), plain: settings.is_paper() })
    }

    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, _: Option<&Tensor<B>>) -> Tensor<B> {
        let extents = patch_extents(self.patch, labels.shape());
        filter_labels(labels, classes, extents, &self.kernel(extents), Outside::Nearest)
    }
}

impl Gaussian {
    /// The weights of a patch of these extents; they sum to one.
    pub fn kernel(&self, extents: [usize; 3]) -> Vec<f64> {
        normalised(&self.weights(extents))
    }

    /// Computes the prior in float32, tap by tap, as the public code blurs labels; an f32 backend does so anyway, up to
    /// the order of the additions. With an f64 backend the labels move to the host; there the difference, up to 3e-7,
    /// is visible.
    pub(crate) fn single<B: Backend>(&self, labels: &Tensor<B>, classes: usize) -> Tensor<B> {
        let shape = labels.shape();
        if self.plain || size_of::<B::Elem>() == size_of::<f32>() {
            return self.value(labels, classes, None);
        }
        let extents = patch_extents(self.patch, shape);
        let patch = Shape::new(1, 1, extents[0], extents[1], extents[2]);
        let weights: Vec<f32> = self.weights(extents).iter().map(|&weight| weight as f32).collect();
        let (total, values) = (sum_in_lanes(&weights), labels.to_f64().expect("labels come back from the device"));
        // The label that a tap reads: pixels outside the image repeat the nearest one.
        let seen = |at: Index, tap: usize| {
            let offset = patch.coordinate(tap);
            let near = |axis: usize| match axis {
                0 | 1 => at[axis],
                _ => (at[axis] + offset[axis]).saturating_sub(extents[axis - 2] / 2).min(shape.dims()[axis] - 1),
            };
            values[shape.offset(std::array::from_fn(near))]
        };
        let domain = shape.with(axis::C, classes);
        let blurred = (0..domain.len()).map(|place| {
            let at = domain.coordinate(place);
            let pixel = [at[0], 0, at[2], at[3], at[4]];
            let taps = (0..patch.len()).filter(|&tap| seen(pixel, tap) == at[axis::C] as f64);
            f64::from(taps.fold(0.0, |sum, tap| sum + weights[tap]) / total)
        });
        Tensor::from_f64(labels.backend(), domain, &blurred.collect::<Vec<_>>())
    }

    /// The weights of a patch before division by their sum.
    fn weights(&self, extents: [usize; 3]) -> Vec<f64> {
        let mut weights = kernel(extents, self.sigma);
        if self.plain || weights.len() == 1 {
            return weights;
        }
        let middle = weights.len() / 2;
        let read = extents.iter().fold(0, |offset, &extent| offset * extent + 1.min(extent - 1));
        let others = 1.0 - weights[read] + 1e-16;
        weights[middle] = others;
        weights.iter().map(|weight| weight / others).collect()
    }
}

/// The normalised Gaussian of a patch.
pub(super) fn kernel(extents: [usize; 3], sigma: f64) -> Vec<f64> {
    normalised(&squared_radius(extents).map(|r2| (-r2 / (2.0 * sigma * sigma)).exp()).collect::<Vec<_>>())
}

/// The sum in the order of the authors' library on a processor with 8 lanes: the remainder, then lane by lane.
fn sum_in_lanes(values: &[f32]) -> f32 {
    let (groups, rest) = values.as_chunks::<8>();
    let lanes: [f32; 8] = std::array::from_fn(|lane| groups.iter().map(|group| group[lane]).sum());
    rest.iter().chain(&lanes).sum()
}

fn normalised(weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}
