//! Counter-based random numbers: the same bits everywhere, whatever the order of the calls.
//!
//! A number is a hash of (seed, stream, counter), so it does not depend on earlier calls, on threads or on the machine,
//! and a resumed run continues exactly. The hash is the finaliser of `SplitMix64` (Steele, Lea, Flood 2014), applied
//! twice with the words mixed in between.

/// A source of random numbers. It is `Copy`: two copies return the same numbers.
///
/// ```
/// use segcal_core::Rng;
/// let rng = Rng::new(7).stream(3);
/// assert_eq!(rng.uniform(0), rng.uniform(0));
/// assert_ne!(rng.uniform(0), rng.uniform(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng {
    key: u64,
}

impl Rng {
    /// Creates the source for a seed.
    pub const fn new(seed: u64) -> Self {
        Self { key: mix(seed ^ 0x9e37_79b9_7f4a_7c15) }
    }

    /// Returns an independent source, for example for a purpose, an epoch or a case.
    #[must_use]
    pub const fn stream(self, number: u64) -> Self {
        Self { key: mix(self.key ^ mix(number.wrapping_add(0xd1b5_4a32_d192_ed03))) }
    }

    /// 64 random bits.
    pub const fn bits(self, counter: u64) -> u64 {
        mix(self.key ^ mix(counter))
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-53.
    pub fn uniform(self, counter: u64) -> f64 {
        (self.bits(counter) >> 11) as f64 * (-53f64).exp2()
    }

    /// Uniform in `[low, high)`.
    pub fn range(self, counter: u64, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform(counter)
    }

    /// Uniform among `0..count`; panics if `count` is 0. (Multiply-shift; the bias is below `count` 2^-64.)
    #[inline]
    pub fn below(self, counter: u64, count: usize) -> usize {
        assert!(count > 0, "below: the range is empty");
        ((u128::from(self.bits(counter)) * count as u128) >> 64) as usize
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(self, counter: u64) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform(2 * counter)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform(2 * counter + 1)).cos()
    }

    /// A random order of `0..count` (Fisher and Yates).
    pub fn permutation(self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last as u64, last + 1));
        }
        order
    }
}

const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean is within five standard errors: 1/sqrt(12 n) for uniform, 1/sqrt(n) for normal numbers.
    #[test]
    fn moments() {
        let (rng, n) = (Rng::new(1), 100_000);
        let mean = |f: &dyn Fn(u64) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        assert!((mean(&|i| rng.uniform(i)) - 0.5).abs() < 5.0 / (12.0 * n as f64).sqrt());
        assert!(mean(&|i| rng.normal(i)).abs() < 5.0 / (n as f64).sqrt());
        assert!((mean(&|i| rng.normal(i).powi(2)) - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt());
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = Rng::new(3).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    /// Stored runs depend on these numbers. They were computed by a second implementation, in Python.
    #[test]
    fn the_numbers_do_not_change() {
        let bits = |rng: Rng| [0, 1, u64::MAX].map(|counter| rng.bits(counter));
        assert_eq!(bits(Rng::new(0)), [0xb57a_554f_8c37_2f91, 0xa4f5_3d32_66ae_449e, 0x828b_c9fa_82d8_21ba]);
        assert_eq!(bits(Rng::new(1)), [0x436a_f2c3_2f6e_814a, 0x0636_89c3_2cd6_9f28, 0xd30b_ea23_a363_ab9e]);
        let rng = Rng::new(7).stream(3);
        assert_eq!(bits(rng), [0x9c05_a707_a988_f071, 0xe1e9_698f_f3b4_4b42, 0x69cb_c14c_6d9d_d259]);
        let last = Rng::new(u64::MAX).stream(u64::MAX);
        assert_eq!(bits(last), [0x18be_b58e_ecc9_6f56, 0x8ce7_5cbe_42cb_ed75, 0xbc80_466b_98db_1314]);
    }

    /// Values derived from the bits, computed by the same second implementation.
    #[test]
    fn the_distributions_do_not_change() {
        let rng = Rng::new(7).stream(3);
        assert_eq!([rng.uniform(0), rng.uniform(1)], [0.6094612497049956, 0.8824678398556937]);
        // The logarithm and the cosine are the platform's: the last bits may differ.
        for (counter, expected) in [1.0140675815339035, 0.9314168255517148].into_iter().enumerate() {
            assert!((rng.normal(counter as u64) - expected).abs() < 1e-14);
        }
        assert_eq!(std::array::from_fn(|i| rng.below(i as u64, 10)), [6, 8, 6, 8, 0, 2, 8, 6]);
        assert_eq!(rng.permutation(8), [7, 5, 2, 3, 0, 1, 6, 4]);
    }
}
