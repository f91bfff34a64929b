//! Passes over class scores, one chunk of a volume at a time and class by class, in memory order.

use std::ops::Range;

use crate::volume::Probabilities;

/// Voxels per chunk; its working memory fits into the L1 cache.
pub(crate) const CHUNK: usize = 1 << 11;

/// Splits a range of voxels at the multiples of [`CHUNK`].
pub(crate) fn chunks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let numbers = range.start / CHUNK..range.end.div_ceil(CHUNK);
    let chunk = move |number: usize| (number * CHUNK).max(range.start)..((number + 1) * CHUNK).min(range.end);
    numbers.map(chunk).filter(|at| !at.is_empty())
}

/// Computes the sums over the classes for the voxels `at`.
pub(crate) fn sums(scores: Probabilities<'_>, at: &Range<usize>, sums: &mut Vec<f64>) {
    sums.clear();
    sums.resize(at.len(), 0.0);
    for k in 0..scores.classes() {
        add(sums, &scores.class(k)[at.clone()]);
    }
}

fn add(sums: &mut [f64], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += f64::from(value));
}

/// Per-voxel statistics of a chunk of scores.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) sums: Vec<f64>,
    pub(crate) low: Vec<f32>,
    pub(crate) high: Vec<f32>,
    /// Whether every value of the voxel is exactly 0 or 1.
    pub(crate) saturated: Vec<bool>,
}

impl Scan {
    /// Reads the voxels `at`; `whole` stays true as long as every value is a whole number.
    pub(crate) fn read(&mut self, scores: Probabilities<'_>, at: &Range<usize>, whole: &mut bool) {
        let Self { sums, low, high, saturated } = self;
        let voxels = at.len();
        sums.clear();
        sums.resize(voxels, 0.0);
        low.clear();
        low.resize(voxels, f32::INFINITY);
        high.clear();
        high.resize(voxels, f32::NEG_INFINITY);
        saturated.clear();
        saturated.resize(voxels, true);
        for k in 0..scores.classes() {
            let values = &scores.class(k)[at.clone()];
            *whole = *whole && values.iter().all(|value| value.fract() == 0.0);
            // Separate loops vectorise, and the values are in the cache.
            add(sums, values);
            low.iter_mut().zip(values).for_each(|(low, &value)| *low = if value < *low { value } else { *low });
            high.iter_mut().zip(values).for_each(|(high, &value)| *high = if value > *high { value } else { *high });
            saturated.iter_mut().zip(values).for_each(|(saturated, &value)| *saturated &= value == 0.0 || value == 1.0);
        }
    }

    /// Sums of exponentials for those voxels of `at` that satisfy `wanted`, in order.
    pub(crate) fn exponentials(
        &self,
        scores: Probabilities<'_>,
        at: &Range<usize>,
        wanted: impl Fn(&Self, usize) -> bool,
    ) -> Vec<f64> {
        let wanted: Vec<usize> = (0..at.len()).filter(|&voxel| wanted(self, voxel)).collect();
        let mut sums = vec![0.0; wanted.len()];
        if !wanted.is_empty() {
            for k in 0..scores.classes() {
                let values = &scores.class(k)[at.clone()];
                sums.iter_mut().zip(&wanted).for_each(|(sum, &voxel)| *sum += f64::from(values[voxel]).exp());
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_after_class_is_voxel_after_voxel() {
        let rng = segcal_core::Rng::new(2);
        let (classes, voxels) = (7, 40);
        let special = [0.0, 1.0, -0.0, 3.0, f32::NAN, f32::INFINITY, -2.5];
        let value = |i: u64| if rng.uniform(i) < 0.5 { special[i as usize * 5 % 7] } else { rng.normal(i) as f32 };
        let values: Vec<f32> = (0..(classes * voxels) as u64).map(value).collect();
        let scores = Probabilities::new(&values, classes);
        let (at, mut scan, mut whole) = (3..37, Scan::default(), true);
        scan.read(scores, &at, &mut whole);
        assert!(!whole, "a fraction is among them");
        let mut again = Vec::new();
        sums(scores, &at, &mut again);
        let exps = scan.exponentials(scores, &at, |it, i| it.sums[i].is_finite());
        let mut exps = exps.into_iter();
        for (i, voxel) in at.enumerate() {
            let own: Vec<f32> = (0..classes).map(|k| values[k * voxels + voxel]).collect();
            let sum: f64 = own.iter().fold(0.0, |sum, &value| sum + f64::from(value));
            assert_eq!((scan.sums[i].to_bits(), again[i].to_bits()), (sum.to_bits(), sum.to_bits()));
            assert_eq!(scan.saturated[i], own.iter().all(|&value| value == 0.0 || value == 1.0));
            if sum.is_finite() {
                assert_eq!(scan.low[i], own.iter().copied().fold(f32::INFINITY, f32::min));
                assert_eq!(scan.high[i], own.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                assert_eq!(exps.next(), Some(own.iter().fold(0.0, |sum, &value| sum + f64::from(value).exp())));
            }
        }
        assert_eq!(exps.next(), None);
        let (mut whole, whole_values) = (true, [2.0, 0.0, -7.0, 1e9]);
        scan.read(Probabilities::new(&whole_values, 2), &(0..2), &mut whole);
        assert!(whole);
    }

    #[test]
    fn chunks_end_at_multiples() {
        let found: Vec<_> = chunks(CHUNK - 3..3 * CHUNK + 1).collect();
        assert_eq!(found, [CHUNK - 3..CHUNK, CHUNK..2 * CHUNK, 2 * CHUNK..3 * CHUNK, 3 * CHUNK..3 * CHUNK + 1]);
        assert_eq!((chunks(5..5).count(), chunks(0..0).count()), (0, 0));
    }
}
