//! Resampling and its adjoint.
//!
//! Nearest is compared exactly, so its samplings keep their coordinates either exact in binary or away from the place
//! where the voxel changes.

use segcal_core::{Border, Interpolation, Sampling, Shape};

use super::rng;
use crate::suites::{Array, Case, Op};

/// Name, input, spatial extents of the output, per-axis scale and offset.
type Row = (&'static str, [usize; 5], [usize; 3], [f64; 3], [f64; 3]);

#[rustfmt::skip]
const SEPARABLE: &[Row] = &[
    ("identity", [2, 3, 2, 3, 4], [2, 3, 4], [1.0; 3], [0.0; 3]),
    ("double in 2-D", [2, 3, 1, 5, 6], [1, 10, 12], [1.0, 0.5, 0.5], [0.0, -0.25, -0.25]),
    ("double in 3-D", [1, 2, 3, 4, 5], [6, 8, 10], [0.5; 3], [-0.25; 3]),
    ("fourfold in 2-D", [1, 2, 1, 3, 5], [1, 12, 20], [1.0, 0.25, 0.25], [0.0, -0.375, -0.375]),
    ("half", [1, 3, 4, 6, 8], [2, 3, 4], [2.0; 3], [0.5; 3]),
    ("a third", [1, 1, 1, 9, 12], [1, 3, 4], [1.0, 3.0, 3.0], [0.0, 1.0, 1.0]),
    ("5 to 7 and 7 to 5", [1, 2, 1, 5, 7], [1, 7, 5], [1.0, 5.0 / 7.0, 7.0 / 5.0], [0.0, -1.0 / 7.0, 0.2]),
    ("one voxel to many", [1, 2, 1, 1, 1], [3, 4, 5], [1.0 / 3.0, 0.25, 0.2], [-1.0 / 3.0, -0.375, -0.4]),
    ("many voxels to one", [1, 2, 3, 4, 5], [1, 1, 1], [1.0; 3], [1.0, 1.25, 2.125]),
    ("edges repeated", [1, 2, 2, 3, 4], [6, 7, 8], [1.0; 3], [-2.0; 3]),
    ("mirrored", [1, 2, 3, 4, 5], [3, 4, 5], [-1.0; 3], [2.0, 3.0, 4.0]),
    ("far outside", [1, 1, 1, 3, 4], [1, 3, 4], [1.0; 3], [0.0, 100.0, -50.0]),
    ("partly outside", [1, 2, 3, 5, 6], [3, 5, 6], [1.0; 3], [0.75, -1.375, 2.125]),
    ("double, large", [1, 2, 1, 68, 69], [1, 136, 138], [1.0, 0.5, 0.5], [0.0, -0.25, -0.25]),
    ("70 channels", [1, 70, 1, 2, 3], [1, 4, 6], [1.0, 0.5, 0.5], [0.0, -0.25, -0.25]),
];

/// Rotations, shears and exchanged axes: name, input, spatial extents of the output, matrix.
type Affine = (&'static str, [usize; 5], [usize; 3], [[f64; 4]; 3]);

#[rustfmt::skip]
const AFFINE: &[Affine] = &[
    ("rotated in the plane", [1, 2, 1, 9, 11], [1, 9, 11],
        [[1.0, 0.0, 0.0, 0.0], [0.0, 0.96, -0.28, 1.61], [0.0, 0.28, 0.96, -0.93]]),
    ("sheared along d", [1, 1, 5, 6, 7], [5, 6, 7],
        [[1.0, 0.125, 0.0, -0.25], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]),
    ("axes exchanged", [2, 1, 3, 4, 5], [5, 3, 4],
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]),
    ("rotated, large", [1, 1, 1, 187, 190], [1, 187, 190],
        [[1.0, 0.0, 0.0, 0.0], [0.0, 0.96, -0.28, 1.61], [0.0, 0.28, 0.96, -0.93]]),
    ("general", [1, 2, 4, 6, 5], [5, 5, 6],
        [[0.81, 0.13, -0.07, 0.2137], [-0.11, 1.07, 0.09, -0.3337], [0.17, -0.05, 0.93, 0.4137]]),
    ("everything to one place", [1, 2, 3, 3, 3], [2, 2, 2],
        [[0.0, 0.0, 0.0, 1.25], [0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 1.75]]),
];

pub(super) fn cases() -> Vec<Case> {
    let separable = SEPARABLE.iter().map(|&(name, x, out, scale, offset)| {
        (name, x, out, Sampling::axes(scale, offset, Interpolation::Linear).matrix)
    });
    separable.chain(AFFINE.iter().copied()).flat_map(of_matrix).collect()
}

/// Both interpolations and both borders, forward and back.
fn of_matrix((name, x, out, matrix): Affine) -> Vec<Case> {
    let mut cases = Vec::new();
    for interpolation in [Interpolation::Nearest, Interpolation::Linear] {
        for border in [Border::Clamp, Border::Zero] {
            let sampling = Sampling { matrix, interpolation, border };
            let name = format!("{name}, {interpolation:?}, {border:?}");
            let x = Array::normal(Shape::from_dims(x), rng(&name));
            let y = Array::normal(x.shape.with_spatial(out), rng(&name).stream(1));
            let back = Op::ResampleAdjoint { sampling, out: x.shape };
            cases.push(Case::new(&name, Op::Resample { sampling, out: y.shape }, vec![x]));
            cases.push(Case::new(&name, back, vec![y]));
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In f32, coordinates below 256 are off by less than 1e-4: no voxel may change that near.
    #[test]
    fn nearest_cases_are_exact_in_binary_or_away_from_the_change() {
        for case in cases() {
            let (Op::Resample { sampling, out }, Some(_)) = (&case.op, case.name.find("Nearest")) else { continue };
            let exact = sampling.matrix.iter().flatten().all(|entry| (entry * 8.0).fract() == 0.0);
            for place in 0..out.voxels() {
                let [_, _, d, h, w] = out.with(0, 1).with(1, 1).coordinate(place);
                for [a_d, a_h, a_w, offset] in sampling.matrix {
                    let s = a_d * d as f64 + a_h * h as f64 + a_w * w as f64 + offset + 0.5;
                    let distance = (s - s.round()).abs();
                    assert!(exact || distance > 1e-3, "{}: {s} at {d} {h} {w}", case.name);
                }
            }
        }
    }
}
