//! Phantoms: volumes whose true class posterior is known at every voxel.
//!
//! A phantom consists of nested and adjacent ellipsoids. Their surfaces are blurred to class fractions `f_k(x)`
//! (partial volume), from which everything is drawn in this order, voxel by voxel:
//!
//! 1. prior of the label: `pi_k(x) = (1 - e) f_k(x) + e / K`, with label noise `e`;
//! 2. label: `y(x) ~ pi(x)`;
//! 3. intensity: `I(x) ~ Normal(m_y(x), s)` with `m_k(x) = a mu_k + (1 - a) sum_j f_j(x) mu_j`, where `mu` are the
//!    tissues' intensities and `1 - a` is the fraction of the measured intensity that is due to partial volume.
//!
//! By Bayes' theorem, the posterior of the label given the intensity is exactly
//! `p_k(x) = pi_k(x) N(I(x); m_k(x), s) / sum_j pi_j(x) N(I(x); m_j(x), s)`. It is perfectly calibrated by
//! construction, so the expected calibration error of its volume decreases as one over the square root of the
//! number of voxels: the oracle for every calibration metric.

mod cohort;

use segcal_core::Rng;

pub use cohort::{Request, write};

/// The parameters that a phantom is drawn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Voxels along `[d, h, w]`.
    pub spatial: [usize; 3],
    /// Voxel size along `[d, h, w]` in mm.
    pub spacing_mm: [f64; 3],
    /// Width of the blurred surfaces in mm: the scale of the softmax over signed distances.
    pub blur_mm: f64,
    /// Label noise `e`: the fraction of labels that are drawn at random.
    pub label_noise: f64,
    /// Fraction `a` of a voxel's intensity that follows its own label.
    pub own_share: f64,
    /// Standard deviation `s` of the intensity; the tissue intensities are 1 apart.
    pub intensity_noise: f64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            spatial: [32, 48, 48],
            spacing_mm: [1.0; 3],
            blur_mm: 0.7,
            label_noise: 0.02,
            own_share: 0.5,
            intensity_noise: 0.35,
        }
    }
}

/// One volume with its label and its posterior, all in `[d, h, w]` order.
#[derive(Clone, Debug, PartialEq)]
pub struct Phantom {
    /// Intensities.
    pub image: Vec<f32>,
    /// Classes `0..CLASSES`.
    pub label: Vec<u8>,
    /// `[CLASSES, d, h, w]`: probability of each class given the intensity.
    pub posterior: Vec<f32>,
}

/// Background and two structures.
pub const CLASSES: usize = 3;

/// Names of the classes.
pub const CLASS_NAMES: [&str; CLASSES] = ["background", "body", "core"];

/// Mean intensity of each class.
const TISSUE: [f64; CLASSES] = [0.0, 1.0, 2.0];

/// Draws one phantom; the same recipe and generator give the same bits.
pub fn draw(recipe: &Recipe, rng: Rng) -> Phantom {
    let shapes = Shapes::draw(recipe, rng.stream(0));
    let (labels, noise) = (rng.stream(1), rng.stream(2));
    let [depth, height, width] = recipe.spatial;
    let voxels = depth * height * width;
    let mut phantom = Phantom {
        image: Vec::with_capacity(voxels),
        label: Vec::with_capacity(voxels),
        posterior: vec![0.0; CLASSES * voxels],
    };
    for voxel in 0..voxels {
        let index = [voxel / (height * width), voxel / width % height, voxel % width];
        let at = std::array::from_fn(|axis| (index[axis] as f64 + 0.5) * recipe.spacing_mm[axis]);
        let fractions = shapes.fractions(at, recipe.blur_mm);
        let prior = fractions.map(|f| (1.0 - recipe.label_noise) * f + recipe.label_noise / CLASSES as f64);
        let mixed: f64 = fractions.iter().zip(TISSUE).map(|(f, mu)| f * mu).sum();
        let means = TISSUE.map(|mu| recipe.own_share * mu + (1.0 - recipe.own_share) * mixed);
        let label = choose(&prior, labels.uniform(voxel as u64));
        let intensity = means[label] + recipe.intensity_noise * noise.normal(voxel as u64);
        // The posterior is computed from the intensity as stored.
        let intensity = intensity as f32;
        let posterior = bayes(&prior, &means, f64::from(intensity), recipe.intensity_noise);
        phantom.image.push(intensity);
        phantom.label.push(label as u8);
        for (class, p) in posterior.into_iter().enumerate() {
            phantom.posterior[class * voxels + voxel] = p as f32;
        }
    }
    phantom
}

/// The class whose share of `[0, 1)` contains `u`.
fn choose(shares: &[f64; CLASSES], u: f64) -> usize {
    let mut below = 0.0;
    for (class, share) in shares.iter().enumerate() {
        below += share;
        if u < below {
            return class;
        }
    }
    CLASSES - 1
}

/// Posterior of the class for an intensity with a normal likelihood, computed with logarithms so that nothing
/// underflows.
fn bayes(prior: &[f64; CLASSES], means: &[f64; CLASSES], intensity: f64, sigma: f64) -> [f64; CLASSES] {
    let score: [f64; CLASSES] = std::array::from_fn(|k| prior[k].ln() - 0.5 * ((intensity - means[k]) / sigma).powi(2));
    softmax(score)
}

fn softmax(score: [f64; CLASSES]) -> [f64; CLASSES] {
    let largest = score.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = score.map(|s| (s - largest).exp());
    let total: f64 = weight.iter().sum();
    weight.map(|w| w / total)
}

/// An ellipsoid; lengths are in mm.
struct Ellipsoid {
    centre: [f64; 3],
    radii: [f64; 3],
}

impl Ellipsoid {
    /// A signed distance to the surface, exact on it and to first order near it; negative inside.
    fn signed_distance(&self, at: [f64; 3]) -> f64 {
        let scaled: [f64; 3] = std::array::from_fn(|axis| (at[axis] - self.centre[axis]) / self.radii[axis]);
        let norm = scaled.iter().map(|s| s * s).sum::<f64>().sqrt();
        let slope = (0..3).map(|axis| (scaled[axis] / self.radii[axis]).powi(2)).sum::<f64>().sqrt();
        if slope == 0.0 {
            -self.radii.iter().copied().fold(f64::INFINITY, f64::min)
        } else {
            (norm - 1.0) * norm / slope
        }
    }
}

/// The body and the core, which may touch the body's surface.
struct Shapes {
    body: Ellipsoid,
    core: Ellipsoid,
}

impl Shapes {
    fn draw(recipe: &Recipe, rng: Rng) -> Self {
        let extent: [f64; 3] = std::array::from_fn(|axis| recipe.spatial[axis] as f64 * recipe.spacing_mm[axis]);
        let number = |counter, low, high| rng.range(counter, low, high);
        let axes = [0u64, 1, 2];
        let centre: [f64; 3] = axes.map(|axis| extent[axis as usize] * number(axis, 0.42, 0.58));
        let radii: [f64; 3] = axes.map(|axis| extent[axis as usize] * number(3 + axis, 0.2, 0.34));
        let core_centre = axes.map(|axis| centre[axis as usize] + radii[axis as usize] * number(6 + axis, -0.35, 0.35));
        let core_radii = axes.map(|axis| radii[axis as usize] * number(9 + axis, 0.35, 0.6));
        Self { body: Ellipsoid { centre, radii }, core: Ellipsoid { centre: core_centre, radii: core_radii } }
    }

    /// Fractions of background, body and core at a point: a softmax of its depth in each.
    fn fractions(&self, at: [f64; 3], blur_mm: f64) -> [f64; CLASSES] {
        let (body, core) = (self.body.signed_distance(at), self.core.signed_distance(at));
        let depth = [body.min(core), -body.max(-core), -core];
        softmax(depth.map(|d| (d / blur_mm).clamp(-700.0, 700.0)))
    }
}

#[cfg(test)]
mod tests {
    use segcal_metrics::calibration::{Calibration, Region};
    use segcal_metrics::volume::Probabilities;

    use super::*;

    #[test]
    fn the_same_source_gives_the_same_bits() {
        let recipe = Recipe { spatial: [6, 7, 8], ..Recipe::default() };
        assert_eq!(draw(&recipe, Rng::new(1)), draw(&recipe, Rng::new(1)));
        assert_ne!(draw(&recipe, Rng::new(1)), draw(&recipe, Rng::new(2)));
    }

    #[test]
    fn the_posterior_sums_to_one_and_every_class_occurs() {
        let phantom = draw(&Recipe::default(), Rng::new(5));
        let voxels = phantom.label.len();
        for voxel in 0..voxels {
            let sum: f32 = (0..CLASSES).map(|class| phantom.posterior[class * voxels + voxel]).sum();
            assert!((sum - 1.0).abs() < 3.0 * f32::EPSILON, "{sum}");
        }
        for class in 0..CLASSES {
            assert!(phantom.label.iter().filter(|&&label| usize::from(label) == class).count() > voxels / 100);
        }
    }

    /// Mean of (posterior - indicator) is zero within five standard errors, overall and where the posterior is
    /// undecided: calibration, checked without any metric.
    #[test]
    fn labels_occur_as_often_as_the_posterior_says() {
        let phantom = draw(&Recipe { spatial: [40, 64, 64], ..Recipe::default() }, Rng::new(9));
        let voxels = phantom.label.len();
        for class in 0..CLASSES {
            for (low, high) in [(0.0, 1.1), (0.3, 0.7)] {
                let (mut excess, mut variance) = (0.0, 0.0);
                for voxel in 0..voxels {
                    let p = f64::from(phantom.posterior[class * voxels + voxel]);
                    if p >= low && p < high {
                        excess += p - f64::from(u8::from(usize::from(phantom.label[voxel]) == class));
                        variance += p * (1.0 - p);
                    }
                }
                assert!(excess.abs() < 5.0 * variance.sqrt(), "class {class}: {excess} against {}", variance.sqrt());
            }
        }
    }

    /// The oracle: by chance, a bin of calibrated voxels with confidences `c` has an expected gap of
    /// `sqrt(2 / pi sum c (1 - c))` voxels, so ECE falls like one over the square root of their number. Each of 16
    /// draws has at least 8 bins that count, which leaves the mean a relative error of
    /// `0.76 / sqrt(128) = 6.7 %`; five of these are allowed.
    #[test]
    fn the_calibration_error_of_the_posterior_is_that_of_chance() {
        for spatial in [[8, 12, 12], [16, 24, 24], [32, 48, 48]] {
            let (mut measured, mut expected) = (0.0, 0.0);
            for seed in 0..16 {
                let phantom = draw(&Recipe { spatial, ..Recipe::default() }, Rng::new(seed));
                let labels: Vec<u16> = phantom.label.iter().map(|&label| u16::from(label)).collect();
                let mut state = Calibration::new(CLASSES, 15);
                state.add(Probabilities::new(&phantom.posterior, CLASSES), &labels, None).unwrap();
                measured += state.region(Region::All).ece();
                expected += chance(&phantom.posterior, labels.len());
            }
            let ratio = measured / expected;
            assert!((ratio - 1.0).abs() < 5.0 * 0.067, "{spatial:?}: {ratio}");
        }
    }

    /// The expected ECE of calibrated probabilities.
    fn chance(posterior: &[f32], voxels: usize) -> f64 {
        let mut variance = [0.0; 15];
        for voxel in 0..voxels {
            let top = (0..CLASSES).map(|class| f64::from(posterior[class * voxels + voxel])).fold(0.0, f64::max);
            let bin = ((15.0 * top).ceil() as usize).clamp(1, 15) - 1;
            variance[bin] += top * (1.0 - top);
        }
        variance.iter().map(|v| (2.0 / std::f64::consts::PI * v).sqrt()).sum::<f64>() / voxels as f64
    }

    #[test]
    fn distance_of_a_sphere_is_exact_on_its_surface_and_linear_near_it() {
        let sphere = Ellipsoid { centre: [0.0; 3], radii: [2.0; 3] };
        assert_eq!(sphere.signed_distance([2.0, 0.0, 0.0]), 0.0);
        assert!((sphere.signed_distance([0.0, 2.1, 0.0]) - 0.1).abs() < 0.01);
        assert!(sphere.signed_distance([0.0; 3]) < -1.9);
    }
}
