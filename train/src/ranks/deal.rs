//! Which rank computes which part of a batch.

use std::ops::Range;

use super::tree::{Node, Tree};

/// A batch split into parts with a fixed number of samples (the last may be smaller); each rank gets consecutive parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deal {
    /// Number of samples in the batch.
    pub samples: usize,
    /// Number of samples in a part.
    pub each: usize,
    /// This rank.
    pub rank: usize,
    /// Number of ranks.
    pub size: usize,
}

impl Deal {
    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.samples.div_ceil(self.each)
    }

    /// Whether there is only one part and one rank.
    pub fn is_whole(&self) -> bool {
        self.parts() == 1 && self.size == 1
    }

    /// The parts of a rank. A rank may have none if there are fewer parts than ranks.
    pub fn of(&self, rank: usize) -> Range<usize> {
        let first = |rank: usize| rank * self.parts() / self.size;
        first(rank)..first(rank + 1)
    }

    /// The parts computed on this rank. A rank without a part computes the last one as well, so that it has the same
    /// kinds of results as the others, but sends none of them.
    pub fn own(&self) -> Range<usize> {
        let own = self.of(self.rank);
        if own.is_empty() { self.parts() - 1..self.parts() } else { own }
    }

    /// Whether the results of this rank are sent to the others.
    pub fn counts(&self) -> bool {
        !self.of(self.rank).is_empty()
    }

    /// The samples of a part.
    pub fn samples_of(&self, part: usize) -> Range<usize> {
        part * self.each..self.samples.min((part + 1) * self.each)
    }

    /// The samples of a rank.
    pub fn samples_of_rank(&self, rank: usize) -> Range<usize> {
        let parts = self.of(rank);
        self.samples.min(parts.start * self.each)..self.samples.min(parts.end * self.each)
    }

    /// The sums that a rank can compute from its own parts.
    pub fn nodes(&self, rank: usize) -> Vec<Node<()>> {
        let mut tree = Tree::default();
        self.of(rank).for_each(|start| tree.push(Node { start, size: 1, sum: () }, |(), ()| ()));
        tree.into_nodes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_dealt_once_in_order() {
        for (samples, each, size) in [(16, 1, 3), (5, 2, 2), (1, 1, 4), (7, 3, 4), (4, 4, 1)] {
            let deal = |rank| Deal { samples, each, rank, size };
            let dealt = (0..size).flat_map(|rank| deal(rank).samples_of_rank(rank));
            assert!(dealt.eq(0..samples), "{samples} {each} {size}");
            let parts = (0..size).flat_map(|rank| deal(rank).of(rank)).flat_map(|part| deal(0).samples_of(part));
            assert!(parts.eq(0..samples));
            assert!((0..size).all(|rank| !deal(rank).own().is_empty()));
        }
    }
}
