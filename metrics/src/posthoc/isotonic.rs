//! Isotonic regression, one class against the rest, by pooling adjacent violators.
//!
//! Source: Zadrozny and Elkan 2002; the pooling is from Ayer et al. 1955.

use std::collections::BTreeMap;

use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Samples, to_shares};
use crate::volume::{log_sum_exp, map_voxels};

/// Largest number of distinct probabilities per class in a fit; beyond that, neighbours are merged.
const KEPT: usize = 1 << 20;

/// An increasing function: linear between its knots, constant outside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepFunction {
    /// Ascending probabilities.
    x: Vec<f64>,
    /// Frequencies at these probabilities, non-decreasing.
    y: Vec<f64>,
}

/// An increasing function of the probability of each class; the results are divided by their sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Isotonic {
    /// The function of each class.
    pub classes: Vec<StepFunction>,
    /// Number of voxels in the fit.
    pub voxels: u64,
}

/// Voxels and hits per probability, in bounded memory. Keys are f32 bit patterns with `open` low bits cleared; `open`
/// is 0, and the fit exact, until there are more than [`KEPT`] distinct values. The result does not depend on the order
/// of the voxels: the final `open` is the smallest that leaves at most [`KEPT`] values.
#[derive(Default)]
struct Tally {
    open: u32,
    counts: BTreeMap<u32, (u64, u64)>,
}

impl Tally {
    fn add(&mut self, p: f32, hit: bool) {
        let entry = self.counts.entry(p.to_bits() >> self.open << self.open).or_default();
        entry.0 += 1;
        entry.1 += u64::from(hit);
        while self.counts.len() > KEPT {
            self.open += 1;
            let mut coarse = BTreeMap::<u32, (u64, u64)>::new();
            for (key, (count, hits)) in std::mem::take(&mut self.counts) {
                let entry = coarse.entry(key >> self.open << self.open).or_default();
                entry.0 += count;
                entry.1 += hits;
            }
            self.counts = coarse;
        }
    }

    fn function(&self) -> StepFunction {
        // A merged cell is represented by its midpoint.
        let middle = |key: u32| f64::from(f32::from_bits(key | ((1_u32 << self.open) >> 1)));
        let groups: Vec<(f64, f64, f64)> =
            self.counts.iter().map(|(&key, &(count, hits))| (middle(key), count as f64, hits as f64)).collect();
        StepFunction::fit(&groups)
    }
}

/// A run of groups with the same fitted value.
#[derive(Clone, Copy)]
struct Block {
    first: f64,
    last: f64,
    count: f64,
    hits: f64,
}

impl StepFunction {
    /// Fits the increasing function with the least squared error to groups of `(x, count, hits)` in ascending order of
    /// `x`: the frequency `hits / count` where that increases, else the frequency of the pooled neighbours. Knots are
    /// the first and the last `x` of each pool.
    pub fn fit(groups: &[(f64, f64, f64)]) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        for &(x, count, hits) in groups {
            let mut block = Block { first: x, last: x, count, hits };
            while let Some(&before) = blocks.last() {
                if before.hits * block.count < block.hits * before.count {
                    break;
                }
                block = Block {
                    first: before.first,
                    count: before.count + block.count,
                    hits: before.hits + block.hits,
                    ..block
                };
                blocks.pop();
            }
            blocks.push(block);
        }
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for block in blocks {
            let ends = if block.first < block.last { vec![block.first, block.last] } else { vec![block.first] };
            y.extend(ends.iter().map(|_| block.hits / block.count));
            x.extend(ends);
        }
        Self { x, y }
    }

    /// The positions of the knots, and the values there.
    pub fn knots(&self) -> (&[f64], &[f64]) {
        (&self.x, &self.y)
    }

    /// The value at `p`; `p` itself if nothing was fitted.
    pub fn at(&self, p: f64) -> f64 {
        let next = self.x.partition_point(|&x| x < p);
        match (next.checked_sub(1), self.x.get(next)) {
            (None, None) => p,
            (None, Some(_)) => self.y[0],
            (Some(last), None) => self.y[last],
            (Some(before), Some(&x)) => {
                let part = (p - self.x[before]) / (x - self.x[before]);
                self.y[before] + part * (self.y[next] - self.y[before])
            }
        }
    }
}

impl Isotonic {
    /// Fits each class on the probabilities (softmax, rounded to f32) and labels of the samples, in one pass.
    ///
    /// The fit is exact for up to 2^20 distinct probabilities per class. Beyond that, as few neighbouring f32 values as
    /// necessary are merged, represented by the midpoint of their cell.
    ///
    /// # Errors
    /// There are no samples, or a sample cannot be read.
    #[expect(clippy::cast_possible_truncation, reason = "as the probabilities that the map is applied to")]
    pub fn fit(samples: &mut dyn Samples) -> Result<Self> {
        let classes = samples.classes();
        let mut tallies: Vec<Tally> = (0..classes).map(|_| Tally::default()).collect();
        let mut voxels = 0;
        let mut scores = vec![0.0; classes];
        samples.visit(&mut |chunk| {
            for (voxel, &label) in chunk.labels().iter().enumerate() {
                chunk.read(voxel, &mut scores);
                log_sum_exp(&mut scores);
                for (k, (tally, &p)) in tallies.iter_mut().zip(&scores).enumerate() {
                    tally.add(p as f32, k == usize::from(label));
                }
            }
            voxels += chunk.labels().len() as u64;
        })?;
        if voxels == 0 {
            return Err(Error::new("there are no voxels to fit on").help("choose another region or other cases"));
        }
        Ok(Self { classes: tallies.iter().map(Tally::function).collect(), voxels })
    }

    /// Turns logits `[k, d, h, w]` into calibrated probabilities, in place. A voxel for which every class's function is
    /// 0 gets equal probabilities.
    ///
    /// # Panics
    /// The number of logits is not a multiple of the number of classes.
    pub fn apply(&self, logits: &mut [f32]) {
        map_voxels(logits, self.classes.len(), |scores| {
            log_sum_exp(scores);
            for (score, function) in scores.iter_mut().zip(&self.classes) {
                *score = function.at(*score);
            }
            to_shares(scores);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pools_by_hand() {
        let f = StepFunction::fit(&[(0.1, 1.0, 0.0), (0.2, 1.0, 1.0), (0.3, 1.0, 0.0), (0.6, 2.0, 2.0)]);
        assert_eq!(
            (f.x.as_slice(), f.y.as_slice()),
            ([0.1, 0.2, 0.3, 0.6].as_slice(), [0.0, 0.5, 0.5, 1.0].as_slice())
        );
        assert_eq!((f.at(0.0), f.at(0.25), f.at(0.9)), (0.0, 0.5, 1.0));
        assert!((f.at(0.45) - 0.75).abs() < 1e-15);
    }

    #[test]
    fn joining_neighbours_does_not_depend_on_the_order() {
        let tally = |order: &mut dyn Iterator<Item = u32>| {
            let mut tally = Tally::default();
            order.for_each(|i| tally.add(f32::from_bits(0x3f00_0000 + i), i % 3 == 0));
            (tally.open, tally.counts)
        };
        let count = KEPT as u32 + 2;
        let (open, counts) = tally(&mut (0..count));
        assert_eq!((open, counts.len()), (1, KEPT / 2 + 1));
        assert_eq!(tally(&mut (0..count).rev()), (open, counts));
    }

    /// Least squares under the constraint by the min-max formula: `max over a <= i of min over b >= i of mean(a..=b)`.
    fn brute(groups: &[(f64, f64, f64)]) -> Vec<f64> {
        let mean = |a: usize, b: usize| {
            let (count, hits) = groups[a..=b].iter().fold((0.0, 0.0), |(n, h), g| (n + g.1, h + g.2));
            hits / count
        };
        let smallest = |a: usize, i: usize| (i..groups.len()).map(|b| mean(a, b)).fold(f64::INFINITY, f64::min);
        (0..groups.len()).map(|i| (0..=i).map(|a| smallest(a, i)).fold(f64::NEG_INFINITY, f64::max)).collect()
    }

    proptest! {
        #[test]
        fn pooling_equals_brute_force_and_increases(counts in prop::collection::vec((1..5_u32, 0..5_u32), 1..12)) {
            let group = |(i, &(count, hits)): (usize, &(u32, u32))| {
                (i as f64, f64::from(count), f64::from(hits.min(count)))
            };
            let groups: Vec<(f64, f64, f64)> = counts.iter().enumerate().map(group).collect();
            let f = StepFunction::fit(&groups);
            prop_assert!(f.y.windows(2).all(|pair| pair[0] <= pair[1]), "{f:?}");
            for (group, expected) in groups.iter().zip(brute(&groups)) {
                prop_assert!((f.at(group.0) - expected).abs() < 1e-12, "{f:?} at {}: {expected}", group.0);
            }
        }
    }
}
