//! Class-wise temperatures and vector scaling (Guo et al. 2017): `softmax(w * l + b)` with diagonal `w`.

use segcal_core::Result;
use serde::{Deserialize, Serialize};

use super::Samples;
use super::newton::{Fit, Objective, Sums, minimise};
use super::temperature::add_softmax;
use crate::volume::map_voxels;

/// The range of scales in which the optimum is searched: temperatures of 0.01 to 100.
const SCALES: [f64; 2] = [0.01, 100.0];

/// The range of biases in which the optimum is searched: a factor of `e^100` in the odds.
const BIASES: [f64; 2] = [-100.0, 100.0];

/// One temperature per class: `softmax(l_k / T_k)`. The result depends on the offset of the logits, so pass them
/// exactly as the network outputs them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassTemperature {
    /// The divisor of each class's logit.
    pub temperatures: Vec<f64>,
    /// The result of the fit.
    pub fit: Fit,
}

/// A positive scale and a bias per class: `softmax(w_k l_k + b_k)`. The first bias is 0, because a common bias has no
/// effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorScaling {
    /// Factor of each class's logit.
    pub scale: Vec<f64>,
    /// Addend of each class's logit.
    pub bias: Vec<f64>,
    /// The result of the fit.
    pub fit: Fit,
}

/// The scales of all classes, followed, if there are more parameters, by the biases of all classes except the first.
struct Affine {
    classes: usize,
    parameters: usize,
}

impl Affine {
    fn biases<'t>(&self, theta: &'t [f64]) -> &'t [f64] {
        &theta[self.classes..]
    }
}

impl Objective for Affine {
    fn parameters(&self) -> usize {
        self.parameters
    }

    fn feasible(&self, theta: &[f64]) -> bool {
        theta[..self.classes].iter().all(|&scale| scale > 0.0)
    }

    fn bounds(&self, parameter: usize) -> [f64; 2] {
        if parameter < self.classes { SCALES } else { BIASES }
    }

    fn add(&self, theta: &[f64], logits: &mut [f64], label: usize, sums: &mut Sums) {
        let features: Vec<f64> = logits.iter().copied().chain(self.biases(theta).iter().map(|_| 1.0)).collect();
        let class: Vec<usize> = (0..self.classes).chain(1..=self.biases(theta).len()).collect();
        affine(&theta[..self.classes], self.biases(theta), logits);
        add_softmax(logits, label, &class, &features, sums);
    }
}

/// `scale_k l_k + bias_k`, where the first bias is 0 and not in the list.
fn affine(scale: &[f64], bias: &[f64], logits: &mut [f64]) {
    logits.iter_mut().zip(scale).for_each(|(logit, scale)| *logit *= scale);
    logits.iter_mut().skip(1).zip(bias).for_each(|(logit, bias)| *logit += bias);
}

impl ClassTemperature {
    /// Fits the temperatures that minimise the mean negative log-likelihood, by Newton's method (the loss is convex in
    /// `1 / T_k`).
    ///
    /// # Errors
    /// There are no samples, or a sample cannot be read.
    pub fn fit(samples: &mut dyn Samples) -> Result<Self> {
        let classes = samples.classes();
        let objective = Affine { classes, parameters: classes };
        let (inverse, fit) = minimise(&objective, vec![1.0; classes], samples)?;
        Ok(Self { temperatures: inverse.iter().map(|inverse| inverse.recip()).collect(), fit })
    }

    /// Divides the logits `[k, d, h, w]` of each class by its temperature, in place.
    ///
    /// # Panics
    /// The number of logits is not a multiple of the number of classes.
    pub fn apply(&self, logits: &mut [f32]) {
        let scale: Vec<f64> = self.temperatures.iter().map(|temperature| temperature.recip()).collect();
        map_voxels(logits, scale.len(), |logits| affine(&scale, &[], logits));
    }
}

impl VectorScaling {
    /// Fits the scales and biases that minimise the mean negative log-likelihood, by Newton's method (the loss is
    /// convex).
    ///
    /// # Errors
    /// There are no samples, or a sample cannot be read.
    pub fn fit(samples: &mut dyn Samples) -> Result<Self> {
        let classes = samples.classes();
        let objective = Affine { classes, parameters: 2 * classes - 1 };
        let start = [vec![1.0; classes], vec![0.0; classes - 1]].concat();
        let (theta, fit) = minimise(&objective, start, samples)?;
        let bias = std::iter::once(0.0).chain(objective.biases(&theta).iter().copied()).collect();
        Ok(Self { scale: theta[..classes].to_vec(), bias, fit })
    }

    /// Scales and shifts the logits `[k, d, h, w]` of each class, in place.
    ///
    /// # Panics
    /// The number of logits is not a multiple of the number of classes.
    pub fn apply(&self, logits: &mut [f32]) {
        map_voxels(logits, self.scale.len(), |logits| affine(&self.scale, &self.bias[1..], logits));
    }
}
