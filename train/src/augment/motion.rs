//! Rotation, scaling and elastic deformation, in one resampling of the case.

use segcal_core::Rng;
use segcal_data::resample::spline;

use crate::block::Block;
use crate::prepared::Prepared;
use crate::settings::{Elastic, Operators};

/// Maps voxels of a block to positions in the case: relative to the block's centre, first deformed, then scaled and
/// rotated.
pub(super) struct Motion {
    matrix: [[f64; 3]; 3],
    field: Option<Field>,
}

const STILL: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

impl Motion {
    /// Draws one; `None` if nothing moves.
    pub(super) fn draw(operators: &Operators, extent: [usize; 3], rng: Rng) -> Option<Self> {
        let [rotation, scaling, elastic] = [0, 1, 2].map(|stream| rng.stream(stream));
        let happens = |rng: Rng, p: f64| rng.uniform(0) < p;
        let mut axes: Vec<usize> = operators.axes.iter().map(|axis| axis.index()).collect();
        axes.sort_unstable();
        let mut matrix = STILL;
        if happens(scaling, operators.scaling.p) {
            let factor = super::between(scaling, operators.scaling.range);
            axes.iter().for_each(|&axis| matrix[axis][axis] = factor);
        }
        if happens(rotation, operators.rotation.p) {
            let planes = axes.iter().enumerate().flat_map(|(n, &a)| axes[n + 1..].iter().map(move |&b| (a, b)));
            for ((a, b), plane) in planes.zip(0..) {
                let angle = super::between(rotation.stream(plane), operators.rotation.range).to_radians();
                matrix = turned(matrix, a, b, angle);
            }
        }
        let deformed = happens(elastic, operators.elastic.p);
        let field = deformed.then(|| Field::draw(&operators.elastic, &axes, extent, elastic));
        (matrix != STILL || field.is_some()).then_some(Self { matrix, field })
    }

    /// Image and label of a block, channel by channel: the image interpolated linearly, with 0 outside the case, the
    /// label from the nearest voxel.
    pub(super) fn cut(&self, case: &Prepared, block: &Block) -> (Vec<f32>, Vec<f32>) {
        let (extent, whole) = (block.size, case.image.grid.extent);
        let (voxels, volume) = (extent.iter().product::<usize>(), whole.iter().product::<usize>());
        let (values, labels) = (case.image.values(), case.label.values());
        let mut image = vec![0.0; voxels * case.image.channels()];
        let mut label = Vec::with_capacity(voxels);
        for place in 0..voxels {
            let at = [place / (extent[1] * extent[2]), place / extent[2] % extent[1], place % extent[2]];
            let from = self.source(at, extent);
            let from = std::array::from_fn(|axis| from[axis] + block.start[axis] as f64);
            label.push(nearest(from, whole).map_or(0.0, |at| labels[at] as f32));
            let (corners, count) = corners(from, whole);
            for channel in 0..case.image.channels() {
                let values = &values[channel * volume..];
                let sum: f64 = corners[..count].iter().map(|&(at, weight)| f64::from(values[at]) * weight).sum();
                image[channel * voxels + place] = sum as f32;
            }
        }
        (image, label)
    }

    /// The position that a voxel of a block is taken from, relative to the block's first voxel.
    pub(super) fn source(&self, at: [usize; 3], extent: [usize; 3]) -> [f64; 3] {
        let moved = self.field.as_ref().map_or([0.0; 3], |field| field.displacement(at));
        let middle = extent.map(|voxels| (voxels as f64 - 1.0) / 2.0);
        let about: [f64; 3] = std::array::from_fn(|axis| at[axis] as f64 - middle[axis] + moved[axis]);
        std::array::from_fn(|row| (0..3).map(|k| self.matrix[row][k] * about[k]).sum::<f64>() + middle[row])
    }
}

/// The matrix, followed by a rotation from axis `a` to axis `b`.
fn turned(matrix: [[f64; 3]; 3], a: usize, b: usize, angle: f64) -> [[f64; 3]; 3] {
    let (sin, cos) = angle.sin_cos();
    let mut turned = matrix;
    for column in 0..3 {
        turned[a][column] = cos * matrix[a][column] - sin * matrix[b][column];
        turned[b][column] = sin * matrix[a][column] + cos * matrix[b][column];
    }
    turned
}

/// The voxel that contains a position, if it is in the volume.
fn nearest(from: [f64; 3], extent: [usize; 3]) -> Option<usize> {
    let at = from.map(|x| (x + 0.5).floor());
    let inside = (0..3).all(|axis| at[axis] >= 0.0 && at[axis] < extent[axis] as f64);
    let [d, h, w] = at.map(|x| x as usize);
    inside.then(|| (d * extent[1] + h) * extent[2] + w)
}

/// The voxels around a position that are in the volume and have weight, with their weights, and their number.
fn corners(from: [f64; 3], extent: [usize; 3]) -> ([(usize, f64); 8], usize) {
    let (mut corners, mut count) = ([(0, 0.0); 8], 0);
    let low = from.map(f64::floor);
    let two: [[(f64, f64); 2]; 3] = std::array::from_fn(|axis| {
        let share = from[axis] - low[axis];
        [(low[axis], 1.0 - share), (low[axis] + 1.0, share)]
    });
    let inside = |axis: usize, (at, weight): (f64, f64)| {
        (weight > 0.0 && at >= 0.0 && at < extent[axis] as f64).then_some((at as usize, weight))
    };
    for (d, depth) in two[0].iter().filter_map(|&one| inside(0, one)) {
        for (h, height) in two[1].iter().filter_map(|&one| inside(1, one)) {
            for (w, width) in two[2].iter().filter_map(|&one| inside(2, one)) {
                corners[count] = ((d * extent[1] + h) * extent[2] + w, depth * height * width);
                count += 1;
            }
        }
    }
    (corners, count)
}

/// Displacements between control points, by cubic B-splines; constant along the axes that are not deformed.
struct Field {
    points: Vec<[f64; 3]>,
    /// Control points along each axis.
    count: [usize; 3],
    spacing: f64,
}

impl Field {
    fn draw(elastic: &Elastic, axes: &[usize], extent: [usize; 3], rng: Rng) -> Self {
        let sigma = super::between(rng, elastic.range);
        let along = |axis: usize| (extent[axis] as f64 / elastic.spacing).ceil() as usize + 3;
        let count = std::array::from_fn(|axis| if axes.contains(&axis) { along(axis) } else { 1 });
        let component = |point: usize, axis: usize| {
            if axes.contains(&axis) { sigma * rng.stream(axis as u64).normal(point as u64) } else { 0.0 }
        };
        let points = (0..count.iter().product()).map(|point| std::array::from_fn(|axis| component(point, axis)));
        Self { points: points.collect(), count, spacing: elastic.spacing }
    }

    fn displacement(&self, at: [usize; 3]) -> [f64; 3] {
        let taps: [Vec<(usize, f64)>; 3] = std::array::from_fn(|axis| self.taps(axis, at[axis]));
        let mut sum = [0.0; 3];
        for &(d, depth) in &taps[0] {
            for &(h, height) in &taps[1] {
                for &(w, width) in &taps[2] {
                    let point = self.points[(d * self.count[1] + h) * self.count[2] + w];
                    (0..3).for_each(|axis| sum[axis] += depth * height * width * point[axis]);
                }
            }
        }
        sum
    }

    /// The control points along an axis that affect a position, with their weights.
    fn taps(&self, axis: usize, at: usize) -> Vec<(usize, f64)> {
        if self.count[axis] == 1 {
            return vec![(0, 1.0)];
        }
        let at = at as f64 / self.spacing;
        spline(at.fract()).into_iter().zip(at as usize..).map(|(weight, point)| (point, weight)).collect()
    }
}
