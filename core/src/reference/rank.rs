//! `rank_filter`, by sorting each window.

use super::{Array, for_each_place, for_each_voxel};
use crate::{Rank, Shape};

/// The value of the given rank in each window that fits.
pub(super) fn rank_filter((x, x_shape): Array<'_>, size: [usize; 3], rank: Rank, out: Shape) -> Vec<f64> {
    let mut y = Vec::with_capacity(out.len());
    let mut values = Vec::new();
    for_each_place(out, |[n, c, d, h, w]| {
        values.clear();
        for_each_voxel(size, |[id, ih, iw]| values.push(x[x_shape.offset([n, c, d + id, h + ih, w + iw])]));
        values.sort_by(f64::total_cmp);
        y.push(match rank {
            Rank::Nth(k) => values[k],
            Rank::Mode => mode(&values),
        });
    });
    y
}

/// The most frequent of the sorted values; the smallest of them on a tie.
fn mode(sorted: &[f64]) -> f64 {
    let (mut best, mut best_count) = (sorted[0], 0);
    for run in sorted.chunk_by(|a, b| a == b) {
        if run.len() > best_count {
            (best, best_count) = (run[0], run.len());
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimum_median_and_maximum() {
        let shape = Shape::new(1, 1, 1, 1, 5);
        let x = [3.0, 1.0, 4.0, 1.0, 5.0];
        let ranked = |k| rank_filter((&x, shape), [1, 1, 3], Rank::Nth(k), Shape::new(1, 1, 1, 1, 3));
        assert_eq!(ranked(0), [1.0, 1.0, 1.0]);
        assert_eq!(ranked(1), [3.0, 1.0, 4.0]);
        assert_eq!(ranked(2), [4.0, 4.0, 5.0]);
    }

    #[test]
    fn the_mode_of_a_tie_is_the_smallest() {
        assert_eq!(mode(&[1.0, 2.0, 2.0, 5.0, 5.0]), 2.0);
        let x = [7.0, 7.0, 2.0, 3.0, 3.0, 3.0, 7.0, 2.0];
        let shape = Shape::new(1, 1, 2, 2, 2);
        assert_eq!(rank_filter((&x, shape), [2, 2, 2], Rank::Mode, Shape::SCALAR), [3.0]);
        assert_eq!(rank_filter((&x, shape), [1, 2, 2], Rank::Mode, Shape::new(1, 1, 2, 1, 1)), [7.0, 3.0]);
    }
}
