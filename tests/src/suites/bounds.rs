//! How far each output of a case may lie from that of the reference, derived from the documented accuracy.
//!
//! With `u` the largest relative error of one rounding:
//!
//! | method | bound |
//! |---|---|
//! | transfer, slice, max_pool, rank_filter, take | exact |
//! | resample and its adjoint, nearest | exact; the adjoint as a sum |
//! | conv, conv_transpose, conv_weight, place, max_unpool, bincount | a sum of `m` terms: `m u` times the sum of their magnitudes; exact if all numbers are whole |
//! | the same, of 3x3 kernels in tiles | `m / 9 + 60` times `u` times the largest such sum within three places along h and w |
//! | map | the errors of the opcodes, carried through the program |
//! | reduce, sum | the sum of the terms' own errors, `m` times the accumulator's `u` times the sum of their magnitudes, and one rounding |
//! | reduce, max | the largest error of a term |
//! | resample, linear | `16 u` (three interpolations of at most five roundings) and three coordinate errors, times the largest magnitude |
//! | resample_adjoint, linear | `m` terms as above, each weight with an error of `4 u` and three coordinate errors |
//! | distance | `8 u` times the distance (squares, two sums, root and spacings) |

use segcal_core::{
    Border, Fold, Geometry, Index, Interpolation, NO_DISTANCE, Program, Reference, Sampling, Shape, axis,
};

use super::precision::{Accuracy, Bounded, ErrorAnalysis};
use super::{Array, Case, Op};

/// Sums of whole numbers up to here are exact in f32.
const LARGEST_WHOLE: f64 = (1u64 << 24) as f64;

/// One bound for each number of each output; `expected` is what the reference gave. Infinite where the accuracy leaves
/// a comparison open.
pub(crate) fn bounds(case: &Case, accuracy: &Accuracy, expected: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let arrays = &case.arrays;
    match &case.op {
        Op::Transfer | Op::Slice { .. } | Op::MaxPool { .. } | Op::RankFilter { .. } | Op::Take => exact(expected),
        Op::Conv { geometry, out } => {
            let w = arrays[1].shape;
            convolution(case, accuracy, *out, w.c() * w.voxels(), tiled(geometry, w))
        }
        Op::ConvTranspose { geometry, out } => {
            let w = arrays[1].shape;
            convolution(case, accuracy, *out, w.n() / geometry.groups * w.voxels(), tiled(geometry, w))
        }
        Op::ConvWeight { geometry, out } => {
            let y = arrays[1].shape;
            convolution(case, accuracy, *out, y.n() * y.voxels(), tiled(geometry, *out))
        }
        Op::Place { .. } => sums(case, accuracy, &(0..arrays.len()).collect::<Vec<_>>()),
        Op::MaxUnpool { .. } => sums(case, accuracy, &[0]),
        Op::Bincount { .. } => sums(case, accuracy, &(1..arrays.len()).collect::<Vec<_>>()),
        Op::Map { program, scalars, out } => map_errors(program, scalars, arrays, *out, accuracy),
        Op::Reduce { fold, program, scalars, domain, out } => {
            reduce_errors(*fold, program, scalars, arrays, (*domain, *out), accuracy)
        }
        Op::Resample { sampling, .. } if sampling.interpolation == Interpolation::Nearest => exact(expected),
        Op::ResampleAdjoint { sampling, .. } if sampling.interpolation == Interpolation::Nearest => {
            sums(case, accuracy, &[0])
        }
        Op::Resample { .. } => {
            let bound = (16.0 * accuracy.unit + 3.0 * accuracy.coordinate) * largest(&arrays[0]);
            vec![vec![bound; expected[0].len()]]
        }
        Op::ResampleAdjoint { sampling, out } => vec![resample_adjoint(case, sampling, *out, accuracy)],
        Op::Distance { .. } => {
            let bound = |&distance: &f64| if distance == NO_DISTANCE { 0.0 } else { 8.0 * accuracy.unit * distance };
            vec![expected[0].iter().map(bound).collect()]
        }
    }
}

fn exact(expected: &[Vec<f64>]) -> Vec<Vec<f64>> {
    expected.iter().map(|output| vec![0.0; output.len()]).collect()
}

fn largest(array: &Array) -> f64 {
    array.data.iter().fold(0.0, |max, value| value.abs().max(max))
}

/// The case on the reference with the arrays at `positions` replaced.
fn with(case: &Case, positions: &[usize], f: impl Fn(f64) -> f64) -> Vec<Vec<f64>> {
    let mut changed = case.clone();
    for &position in positions {
        changed.arrays[position] = changed.arrays[position].map(&f);
    }
    changed.run(&Reference)
}

/// Bounds of sums of products of the numbers of the arrays at `values`.
fn sums(case: &Case, accuracy: &Accuracy, values: &[usize]) -> Vec<Vec<f64>> {
    let whole = values.iter().all(|&position| is_whole(&case.arrays[position]));
    let magnitudes = with(case, values, f64::abs);
    let counts = with(case, values, |_| 1.0);
    let bound = |(&magnitude, &count): (&f64, &f64)| sum_error(count, magnitude, whole, accuracy);
    magnitudes
        .iter()
        .zip(&counts)
        .map(|(magnitudes, counts)| magnitudes.iter().zip(counts).map(bound).collect())
        .collect()
}

/// Whether a convolution may be computed in tiles.
fn tiled(geometry: &Geometry, w: Shape) -> bool {
    let plain = geometry.stride == [1; 3] && geometry.dilation == [1; 3] && geometry.groups == 1;
    plain && w.spatial()[1..] == [3, 3]
}

/// Bounds of one of the convolution triple, whose numbers are sums of at most `terms` products.
fn convolution(case: &Case, accuracy: &Accuracy, out: Shape, terms: usize, tiled: bool) -> Vec<Vec<f64>> {
    let magnitudes = with(case, &[0, 1], f64::abs).swap_remove(0);
    let whole = case.arrays.iter().all(is_whole);
    let bounds = if tiled && accuracy.tiles {
        tile_errors(&magnitudes, out, (terms as f64 / 9.0 + 60.0) * accuracy.unit)
    } else {
        magnitudes.iter().map(|&magnitude| sum_error(terms as f64, magnitude, whole, accuracy)).collect()
    };
    vec![bounds]
}

/// `relative` times the largest number within three places along h and w: the rounding of a tile's transforms is that
/// of its largest outputs.
fn tile_errors(magnitudes: &[f64], out: Shape, relative: f64) -> Vec<f64> {
    let along_h = largest_near(magnitudes, out, axis::H);
    largest_near(&along_h, out, axis::W).iter().map(|largest| relative * largest).collect()
}

/// The largest number within three places along an axis.
fn largest_near(numbers: &[f64], shape: Shape, axis: usize) -> Vec<f64> {
    let (extent, stride) = (shape.dims()[axis], shape.strides()[axis]);
    let near = |place: usize| {
        let at = place / stride % extent;
        let line = place - at * stride;
        let places = at.saturating_sub(3)..(at + 4).min(extent);
        places.map(|other| numbers[line + other * stride]).fold(0.0, f64::max)
    };
    (0..shape.len()).map(near).collect()
}

fn is_whole(array: &Array) -> bool {
    array.data.iter().all(|value| value.fract() == 0.0)
}

fn sum_error(terms: f64, magnitude: f64, whole: bool, accuracy: &Accuracy) -> f64 {
    if whole && magnitude < LARGEST_WHOLE { 0.0 } else { terms * accuracy.unit * magnitude }
}

/// Reads the arrays by broadcasting at each place of the domain and follows the errors of the program.
fn analyse(
    program: &Program,
    scalars: &[f64],
    arrays: &[Array],
    domain: Shape,
    accuracy: &Accuracy,
    mut visit: impl FnMut(Index, usize, Bounded),
) {
    let strides: Vec<Index> = arrays.iter().map(|array| array.shape.broadcast_strides()).collect();
    let mut analysis = ErrorAnalysis::new(program, scalars, accuracy);
    let mut inputs = vec![0.0; arrays.len()];
    for place in 0..domain.len() {
        let at = domain.coordinate(place);
        for ((input, array), strides) in inputs.iter_mut().zip(arrays).zip(&strides) {
            *input = array.data[(0..5).map(|axis| strides[axis] * at[axis]).sum::<usize>()];
        }
        for (number, bounded) in analysis.at(&inputs, at).enumerate() {
            visit(at, number, bounded);
        }
    }
}

fn map_errors(program: &Program, scalars: &[f64], arrays: &[Array], out: Shape, accuracy: &Accuracy) -> Vec<Vec<f64>> {
    let mut bounds = vec![Vec::with_capacity(out.len()); program.outputs().len()];
    analyse(program, scalars, arrays, out, accuracy, |_, number, bounded| bounds[number].push(bounded.error));
    bounds
}

/// What is known of one sum or maximum so far.
#[derive(Clone, Copy, Default)]
struct Folded {
    error: f64,
    largest_error: f64,
    magnitude: f64,
    count: f64,
    fractions: bool,
}

fn reduce_errors(
    fold: Fold,
    program: &Program,
    scalars: &[f64],
    arrays: &[Array],
    (domain, out): (Shape, Shape),
    accuracy: &Accuracy,
) -> Vec<Vec<f64>> {
    let strides = out.broadcast_strides();
    let mut folded = vec![vec![Folded::default(); out.len()]; program.outputs().len()];
    analyse(program, scalars, arrays, domain, accuracy, |at, number, Bounded { value, error }| {
        let so_far = &mut folded[number][(0..5).map(|axis| strides[axis] * at[axis]).sum::<usize>()];
        so_far.error += error;
        so_far.largest_error = so_far.largest_error.max(error);
        so_far.magnitude += value.abs();
        so_far.count += 1.0;
        so_far.fractions |= value.fract() != 0.0;
    });
    let bound = |folded: &Folded| match fold {
        Fold::Max => folded.largest_error,
        Fold::Sum if folded.error == 0.0 && !folded.fractions && folded.magnitude < LARGEST_WHOLE => 0.0,
        Fold::Sum => folded.error + (folded.count * accuracy.accumulator + accuracy.unit) * folded.magnitude,
    };
    folded.iter().map(|output| output.iter().map(bound).collect()).collect()
}

/// The number of outputs that reach one voxel is at most the sum of their weights over its 27 neighbours, because the
/// weights of an output add up to 1.
fn resample_adjoint(case: &Case, sampling: &Sampling, out: Shape, accuracy: &Accuracy) -> Vec<f64> {
    let clamped = Sampling { border: Border::Clamp, ..*sampling };
    let ones = case.arrays[0].map(|_| 1.0);
    let weights = Case::new("ones", Op::ResampleAdjoint { sampling: clamped, out }, vec![ones]).run(&Reference);
    let reach = 27.0 * weights[0].iter().copied().fold(0.0, f64::max);
    let of_weights = reach * (4.0 * accuracy.unit + 3.0 * accuracy.coordinate) * largest(&case.arrays[0]);
    let magnitudes = with(case, &[0], f64::abs);
    magnitudes[0].iter().map(|magnitude| of_weights + (reach + 3.0) * accuracy.unit * magnitude).collect()
}
