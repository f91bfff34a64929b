//! Chunks of a class whose probabilities are all at or below the threshold; with many classes, nearly all chunks are.

use rayon::prelude::*;

use super::bins::TOLERANCE;
use crate::scan::{CHUNK, chunks};
use crate::volume::Probabilities;

/// For each class and chunk of [`CHUNK`] voxels, whether every value is a probability up to the threshold.
#[derive(Debug)]
pub(super) struct Quiet {
    stretches: usize,
    marks: Vec<bool>,
}

impl Quiet {
    pub(super) fn of(p: Probabilities<'_>, threshold: f32) -> Self {
        let stretches = p.voxels().div_ceil(CHUNK);
        let small = |value: &f32| (-TOLERANCE..=threshold).contains(value);
        let of_class = |k: usize| {
            // Without an early exit the loop vectorises.
            chunks(0..p.voxels()).map(move |at| p.class(k)[at].iter().fold(true, |all, value| all & small(value)))
        };
        Self { stretches, marks: (0..p.classes()).into_par_iter().flat_map_iter(of_class).collect() }
    }

    /// No quiet chunk, as if nothing were known.
    #[cfg(test)]
    pub(super) fn nowhere(p: Probabilities<'_>) -> Self {
        let stretches = p.voxels().div_ceil(CHUNK);
        Self { stretches, marks: vec![false; p.classes() * stretches] }
    }

    /// Whether the chunk of class `k` that contains a voxel is quiet.
    pub(super) fn holds(&self, k: usize, voxel: usize) -> bool {
        self.marks[k * self.stretches + voxel / CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::bins::THRESHOLD;

    #[test]
    fn one_loud_voxel_makes_its_stretch_loud() {
        for (value, quiet) in
            [(THRESHOLD, true), (0.0, true), (-1e-4, true), (0.002, false), (f32::NAN, false), (-0.5, false)]
        {
            let mut values = vec![1e-4; 2 * (CHUNK + 5)];
            values[CHUNK + 5 + CHUNK + 1] = value;
            let found = Quiet::of(Probabilities::new(&values, 2), THRESHOLD);
            let expected = [true, true, true, quiet];
            let marks = [(0, 0), (0, CHUNK), (1, CHUNK - 1), (1, CHUNK + 1)].map(|(k, voxel)| found.holds(k, voxel));
            assert_eq!(marks, expected, "{value}");
        }
    }
}
