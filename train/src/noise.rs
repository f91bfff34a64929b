//! Gaussian noise on images, to test the robustness of a network.

use segcal_core::{Error, Result, Rng};

/// Stream of the noise among the random numbers of a seed.
const NOISE: u64 = 0x006e_6f69_7365;

/// Independent normal random numbers, one added to each value of a prepared image, whose values are in `[0, 1]`; the
/// sum is not clipped. Counter-based: they depend only on the seed, the standard deviation, the name of the case and
/// the position of the voxel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Standard deviation; 0 changes nothing.
    pub sigma: f64,
    /// Seed.
    pub seed: u64,
}

impl Noise {
    /// Refuses an invalid standard deviation.
    ///
    /// # Errors
    /// `sigma` is negative or not finite.
    pub fn check(&self) -> Result<()> {
        if self.sigma >= 0.0 && self.sigma.is_finite() {
            return Ok(());
        }
        let error = Error::new(format!("{} is not 0 or a positive number", self.sigma)).at("noise");
        Err(error.help("images are scaled to [0, 1]: 0.05 is strong noise"))
    }

    /// Adds the noise of a case.
    pub fn add_to(&self, case: &str, image: &mut [f32]) {
        if self.sigma == 0.0 {
            return;
        }
        let rng = Rng::new(self.seed).stream(NOISE).stream(self.sigma.to_bits());
        let rng = case.bytes().fold(rng, |rng, byte| rng.stream(u64::from(byte)));
        for (voxel, value) in image.iter_mut().enumerate() {
            *value += (self.sigma * rng.normal(voxel as u64)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance within five standard errors; different for each seed, level and case.
    #[test]
    fn noise_is_gaussian_and_depends_on_seed_level_and_case_alone() {
        let count = 20_000;
        let noise = |seed: u64, sigma: f64, case: &str| {
            let mut image = vec![0.5_f32; count];
            Noise { sigma, seed }.add_to(case, &mut image);
            image
        };
        let first = noise(1, 0.25, "case");
        assert_eq!(first, noise(1, 0.25, "case"));
        for other in [noise(2, 0.25, "case"), noise(1, 0.125, "case"), noise(1, 0.25, "cases")] {
            assert_ne!(first, other);
        }
        assert_eq!(noise(1, 0.0, "case"), vec![0.5; count]);
        let (n, added) = (count as f64, first.iter().map(|&x| f64::from(x) - 0.5));
        let (sum, squares) = added.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        assert!((sum / n).abs() < 5.0 * 0.25 / n.sqrt());
        assert!((squares / n - 0.0625).abs() < 5.0 * 0.0625 * (2.0 / n).sqrt());
        assert!(Noise { sigma: -0.1, seed: 0 }.check().is_err() && Noise { sigma: f64::NAN, seed: 0 }.check().is_err());
    }
}
