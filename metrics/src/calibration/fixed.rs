//! Exact sums of rounded numbers.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number of units in 1.
const SCALE: f64 = (1_u64 << 40) as f64;

/// A number whose last binary place is 2^-40: adding it to a small non-negative number rounds the sum to whole units.
const MAGIC: f64 = 4096.0;

/// `x` in units of 2^-40, rounded to nearest, for `0 <= x < 4096`.
#[inline]
pub(crate) fn units(x: f64) -> u64 {
    // The sum is in [2^12, 2^13), where doubles are 2^-40 apart. As the exponents are equal, the bit patterns differ by
    // the number of units. These are two additions, so loops over them vectorise.
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits())
}

/// A sum in units of 2^-40. Addition is exact, so the order does not matter; 2^88 addends of 1 fit.
///
/// It is serialised as a decimal string, because many JSON readers round large integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedSum(u128);

impl FixedSum {
    /// Adds a number of units.
    #[inline]
    pub(crate) fn add_units(&mut self, units: u64) {
        self.0 += u128::from(units);
    }

    /// Adds the same number of units `times` times.
    pub(crate) fn add_repeated(&mut self, units: u64, times: u64) {
        self.0 += u128::from(units) * u128::from(times);
    }

    /// Creates a sum from a number of units.
    pub(super) const fn of_units(units: u128) -> Self {
        Self(units)
    }

    /// The number of units.
    pub(super) const fn units(self) -> u128 {
        self.0
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0 += other.0;
    }

    /// The value of the sum, rounded to a double.
    pub fn value(self) -> f64 {
        self.0 as f64 / SCALE
    }

    /// The sum divided by a count; NaN for a count of 0.
    pub fn mean(self, count: u64) -> f64 {
        self.value() / count as f64
    }
}

impl Serialize for FixedSum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FixedSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| serde::de::Error::custom(format!("'{text}' is not a whole number")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_round_to_nearest() {
        let unit = SCALE.recip();
        assert_eq!((units(0.0), units(1.0)), (0, 1 << 40));
        assert_eq!((units(0.4 * unit), units(0.6 * unit)), (0, 1));
        assert_eq!(units(88.0), 88 << 40);
    }

    #[test]
    fn a_probability_of_two_to_the_minus_17_or_more_is_exact() {
        for bits in (0x3700_0000..=0x3f80_0000_u32).step_by(997) {
            let p = f64::from(f32::from_bits(bits));
            assert_eq!(units(p) as f64 / SCALE, p, "{bits:#x}");
        }
    }

    #[test]
    fn text_round_trip() {
        let sum = FixedSum(1 << 100);
        let text = serde_json::to_string(&sum).expect("serialises");
        assert_eq!(text, "\"1267650600228229401496703205376\"");
        assert_eq!(serde_json::from_str::<FixedSum>(&text).expect("parses"), sum);
        assert!(serde_json::from_str::<FixedSum>("\"-1\"").is_err());
    }
}
