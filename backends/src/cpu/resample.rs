//! `resample` and its adjoint.
//!
//! If no axis depends on another, each axis has a table of the (at most two) voxels that each output voxel is mixed of,
//! and, for the adjoint, the transposed table. A row of the result is a weighted sum of rows, which is then mixed
//! along `w`. Other sampling walks voxel by voxel.

use segcal_core::{Border, Interpolation, Sampling, Shape};

use super::isa::wide;
use super::{Array, CHUNK, Cpu};

/// `y[n, c, o] = sum over v of weight(o, v) x[n, c, v]`.
pub(super) fn resample(cpu: &Cpu, (x, x_shape): Array<'_>, sampling: &Sampling, y: &mut [f32], out: Shape) {
    if x.is_empty() {
        y.fill(0.0);
    } else if let Some(axes) = tables(sampling, x_shape, out) {
        apply(cpu, &axes, (x, x_shape), y, out);
    } else {
        by_voxel(cpu, (x, x_shape), sampling, y, out);
    }
}

/// `x[n, c, v] = sum over o of weight(o, v) y[n, c, o]`.
pub(super) fn resample_adjoint(cpu: &Cpu, (y, y_shape): Array<'_>, sampling: &Sampling, x: &mut [f32], x_shape: Shape) {
    if y.is_empty() {
        x.fill(0.0);
    } else if let Some(axes) = tables(sampling, x_shape, y_shape) {
        let extents = x_shape.spatial();
        let transposed = std::array::from_fn(|axis| axes[axis].transposed(extents[axis]));
        apply(cpu, &transposed, (y, y_shape), x, x_shape);
    } else {
        scatter(cpu, (y, y_shape), sampling, x, x_shape);
    }
}

/// For each place of an axis of the result, the places it is mixed of, with their weights, in ascending order.
struct Table {
    /// Where the terms of each place begin, and the end of the last.
    starts: Vec<usize>,
    terms: Vec<(usize, f32)>,
    /// The extent of the axis that is mixed.
    source: usize,
    kind: Kind,
}

/// What mixing along an axis amounts to.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Every place is copied.
    Copy,
    /// Every place is repeated that many times.
    Repeat(usize),
    /// That many neighbours are summed.
    Sum(usize),
    /// Linear interpolation to twice the extent, at distances of a quarter and three quarters.
    Double,
    /// The adjoint of `Double`.
    Halve,
    /// At most [`FEW`] terms: lists of first terms of all places, of second terms, and so on, filled up with weight 0.
    Few(Vec<(Vec<u32>, Vec<f32>)>),
    /// Anything else.
    Many,
}

/// The most terms for which lists are worth their filling.
const FEW: usize = 4;

impl Table {
    fn new(rows: impl Iterator<Item = Vec<(usize, f32)>>, source: usize) -> Self {
        let (mut starts, mut terms) = (vec![0], Vec::new());
        for row in rows {
            terms.extend(row);
            starts.push(terms.len());
        }
        let mut table = Self { starts, terms, source, kind: Kind::Many };
        table.kind = table.find_kind();
        table
    }

    fn places(&self) -> usize {
        self.starts.len() - 1
    }

    fn terms(&self, place: usize) -> &[(usize, f32)] {
        &self.terms[self.starts[place]..self.starts[place + 1]]
    }

    fn find_kind(&self) -> Kind {
        let (places, source) = (self.places(), self.source);
        let ones = self.terms.iter().all(|&(_, weight)| weight == 1.0);
        let all = |fits: &dyn Fn(usize) -> bool| ones && (0..places).all(fits);
        let factor = if places >= source { places / source.max(1) } else { source / places.max(1) }.max(1);
        if places == source && all(&|place| self.is(place, place..place + 1)) {
            Kind::Copy
        } else if places == factor * source && all(&|place| self.is(place, place / factor..place / factor + 1)) {
            Kind::Repeat(factor)
        } else if source == factor * places && all(&|place| self.is(place, place * factor..(place + 1) * factor)) {
            Kind::Sum(factor)
        } else if places == 2 * source && (0..places).all(|place| self.terms(place) == doubled(place, source)) {
            Kind::Double
        } else if source == 2 * places && (0..places).all(|place| self.terms(place) == halved(place, places)) {
            Kind::Halve
        } else if (0..places).all(|place| self.terms(place).len() <= FEW) {
            Kind::Few(self.lists())
        } else {
            Kind::Many
        }
    }

    /// The terms of all places side by side.
    fn lists(&self) -> Vec<(Vec<u32>, Vec<f32>)> {
        let count = (0..self.places()).map(|place| self.terms(place).len()).max().unwrap_or(0);
        let term = |place: usize, i: usize| self.terms(place).get(i).map_or((0, 0.0), |&(voxel, w)| (voxel as u32, w));
        (0..count).map(|i| (0..self.places()).map(|place| term(place, i)).unzip()).collect()
    }

    /// Whether the terms of a place are exactly these.
    fn is(&self, place: usize, voxels: std::ops::Range<usize>) -> bool {
        self.terms(place).iter().map(|&(voxel, _)| voxel).eq(voxels)
    }

    fn transposed(&self, extent: usize) -> Self {
        let mut rows = vec![Vec::new(); extent];
        for place in 0..self.places() {
            for &(voxel, weight) in self.terms(place) {
                rows[voxel].push((place, weight));
            }
        }
        Self::new(rows.into_iter(), self.places())
    }
}

/// The voxels of an axis of `extent` that place `place` of its linear doubling is mixed of.
fn doubled(place: usize, extent: usize) -> Vec<(usize, f32)> {
    let voxel = place / 2;
    match place % 2 {
        0 if voxel > 0 => vec![(voxel - 1, 0.25), (voxel, 0.75)],
        1 if voxel + 1 < extent => vec![(voxel, 0.75), (voxel + 1, 0.25)],
        _ => vec![(voxel, 1.0)],
    }
}

/// The places of the doubled axis that `voxel` is part of.
fn halved(voxel: usize, extent: usize) -> Vec<(usize, f32)> {
    let places = (2 * voxel).saturating_sub(1)..(2 * voxel + 3).min(2 * extent);
    let part = |place: usize| {
        doubled(place, extent).into_iter().find(|term| term.0 == voxel).map(|(_, weight)| (place, weight))
    };
    places.filter_map(part).collect()
}

/// The tables along `[d, h, w]`, if no axis depends on another.
fn tables(sampling: &Sampling, x_shape: Shape, y_shape: Shape) -> Option<[Table; 3]> {
    let axes = sampling.separable()?;
    Some(std::array::from_fn(|axis| {
        let ((scale, offset), extent) = (axes[axis], x_shape.spatial()[axis]);
        let rows = (0..y_shape.spatial()[axis]).map(|place| {
            let mixed = neighbours(sampling, scale * place as f64 + offset, extent);
            mixed
                .into_iter()
                .filter(|&(_, weight)| weight != 0.0)
                .map(|(voxel, weight)| (voxel, weight as f32))
                .collect()
        });
        Table::new(rows, extent)
    }))
}

/// The two voxels along one axis that a source coordinate is mixed of. What lies outside or does not count has weight 0.
#[inline(always)]
fn neighbours(sampling: &Sampling, coordinate: f64, extent: usize) -> [(usize, f64); 2] {
    let s = match sampling.border {
        Border::Clamp => coordinate.clamp(0.0, extent as f64 - 1.0),
        Border::Zero => coordinate,
    };
    let (first, weight) = match sampling.interpolation {
        Interpolation::Nearest => ((s + 0.5).floor(), 0.0),
        Interpolation::Linear => (s.floor(), s - s.floor()),
    };
    let limit = extent.min(i32::MAX as usize) as f64;
    let inside = |voxel: f64, weight: f64| {
        let counts = voxel >= 0.0 && voxel < limit;
        let (voxel, weight) = (if counts { voxel } else { 0.0 }, if counts { weight } else { 0.0 });
        // SAFETY: a number from 0 to below 2^31, and never NaN, which does not count.
        (unsafe { voxel.to_int_unchecked::<i32>() } as usize, weight)
    };
    [inside(first, 1.0 - weight), inside(first + 1.0, weight)]
}

/// Mixes along all three axes, row by row of the result.
fn apply(cpu: &Cpu, [along_d, along_h, along_w]: &[Table; 3], (x, x_shape): Array<'_>, y: &mut [f32], y_shape: Shape) {
    let ([x_d, x_h, x_w], [y_d, y_h, y_w]) = (x_shape.spatial(), y_shape.spatial());
    let rows = (CHUNK / 4).div_ceil(y_w.max(x_w));
    cpu.chunks(y, rows * y_w, |task, y| {
        let mut mixed = vec![0.0; x_w];
        for (i, y) in y.chunks_mut(y_w).enumerate() {
            let row = task * rows + i;
            let (plane, d, h) = (row / (y_h * y_d), row / y_h % y_d, row % y_h);
            let line = |d: usize, h: usize| &x[((plane * x_d + d) * x_h + h) * x_w..][..x_w];
            match (along_d.terms(d), along_h.terms(h)) {
                (&[(d, 1.0)], &[(h, 1.0)]) => mix_row(along_w, line(d, h), y),
                (terms_d, terms_h) => {
                    mixed.fill(0.0);
                    for &(d, weight_d) in terms_d {
                        for &(h, weight_h) in terms_h {
                            add_row(line(d, h), weight_d * weight_h, &mut mixed);
                        }
                    }
                    mix_row(along_w, &mixed, y);
                }
            }
        }
    });
}

wide! {
    fn add_row(row: &[f32], weight: f32, sum: &mut [f32]) {
        for (sum, &value) in sum.iter_mut().zip(row) {
            *sum += weight * value;
        }
    }
}

/// Mixes along `w`.
fn mix_row(table: &Table, row: &[f32], y: &mut [f32]) {
    match &table.kind {
        Kind::Copy => y.copy_from_slice(row),
        Kind::Repeat(factor) => repeat_row(row, *factor, y),
        Kind::Sum(factor) => sum_row(row, *factor, y),
        Kind::Double => double_row(row, y),
        Kind::Halve => halve_row(row, y),
        Kind::Few(lists) => {
            y.fill(0.0);
            for (voxels, weights) in lists {
                add_term(row, voxels, weights, y);
            }
        }
        Kind::Many => {
            for (place, y) in y.iter_mut().enumerate() {
                *y = table.terms(place).iter().map(|&(voxel, weight)| weight * row[voxel]).sum();
            }
        }
    }
}

wide! {
    /// `sum[i] += weights[i] row[voxels[i]]`, where the weight is not 0.
    fn add_term(row: &[f32], voxels: &[u32], weights: &[f32], sum: &mut [f32]) {
        assert!(!row.is_empty());
        let last = row.len() - 1;
        for ((sum, &voxel), &weight) in sum.iter_mut().zip(voxels).zip(weights) {
            // SAFETY: the index is at most that of the last element.
            let value = unsafe { *row.get_unchecked((voxel as usize).min(last)) };
            *sum += if weight == 0.0 { 0.0 } else { weight * value };
        }
    }
}

wide! {
    fn double_row(row: &[f32], y: &mut [f32]) {
        let (last, end) = (row.len() - 1, y.len() - 1);
        (y[0], y[end]) = (row[0], row[last]);
        let pairs = y[1..end].as_chunks_mut::<2>().0;
        for ((pair, &a), &b) in pairs.iter_mut().zip(row).zip(&row[1..]) {
            *pair = [0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b];
        }
    }
}

wide! {
    fn halve_row(row: &[f32], y: &mut [f32]) {
        let (last, end) = (y.len() - 1, row.len() - 1);
        let pairs = row[1..end].as_chunks::<2>().0;
        y.fill(0.0);
        for ((y, left), right) in y[1.min(last)..last].iter_mut().zip(pairs).zip(pairs.iter().skip(1)) {
            *y = (0.75 * left[1] + 0.25 * left[0]) + (0.75 * right[0] + 0.25 * right[1]);
        }
        let beside = |pair: Option<&[f32; 2]>, near: usize| pair.map_or(0.0, |pair| 0.75 * pair[near] + 0.25 * pair[1 - near]);
        y[0] += row[0] + beside(pairs.first(), 0);
        y[last] += row[end] + beside(pairs.last(), 1);
    }
}

wide! {
    fn repeat_row(row: &[f32], factor: usize, y: &mut [f32]) {
        match factor {
            2 => y.as_chunks_mut::<2>().0.iter_mut().zip(row).for_each(|(y, &value)| *y = [value; 2]),
            4 => y.as_chunks_mut::<4>().0.iter_mut().zip(row).for_each(|(y, &value)| *y = [value; 4]),
            _ => y.chunks_mut(factor).zip(row).for_each(|(y, &value)| y.fill(value)),
        }
    }
}

wide! {
    fn sum_row(row: &[f32], factor: usize, y: &mut [f32]) {
        match factor {
            2 => row.as_chunks::<2>().0.iter().zip(y).for_each(|(&[a, b], y)| *y = a + b),
            4 => row.as_chunks::<4>().0.iter().zip(y).for_each(|(&[a, b, c, d], y)| *y = (a + b) + (c + d)),
            _ => row.chunks(factor).zip(y).for_each(|(values, y)| *y = values.iter().sum()),
        }
    }
}

/// Voxels of a row that are located together.
const BLOCK: usize = 64;

/// The two voxels along one axis that each voxel of a block is mixed of; weight 0 for what does not count.
struct Mixed {
    voxels: [[u32; BLOCK]; 2],
    weights: [[f32; BLOCK]; 2],
}

impl Mixed {
    const NONE: Self = Self { voxels: [[0; BLOCK]; 2], weights: [[0.0; BLOCK]; 2] };
}

wide! {
    /// Locates [`BLOCK`] voxels from `[d, h, w]` on along one axis.
    fn locate(sampling: &Sampling, axis: usize, extent: usize, from: [usize; 3], mixed: &mut Mixed) {
        let [d, h, w] = from;
        let [a_d, a_h, a_w, offset] = sampling.matrix[axis];
        let row = a_d * d as f64 + a_h * h as f64;
        for i in 0..BLOCK {
            // The order of the reference, so that both round a nearest voxel alike.
            let source = row + a_w * (w + i) as f64 + offset;
            let both = neighbours(sampling, source, extent);
            for side in 0..2 {
                mixed.voxels[side][i] = both[side].0 as u32;
                mixed.weights[side][i] = both[side].1 as f32;
            }
        }
    }
}

/// Calls `visit` for each of the (at most eight) corners: the places in a channel, and the weights.
#[inline(always)]
fn for_each_corner(
    [along_d, along_h, along_w]: &[Mixed; 3],
    [_, h, w]: [usize; 3],
    sides: usize,
    mut visit: impl FnMut(usize, usize, f32),
) {
    for corner in 0..sides * sides * sides {
        let (side_d, side_h, side_w) = (corner / (sides * sides), corner / sides % sides, corner % sides);
        let voxels = [&along_d.voxels[side_d], &along_h.voxels[side_h], &along_w.voxels[side_w]];
        let weights = [&along_d.weights[side_d], &along_h.weights[side_h], &along_w.weights[side_w]];
        for i in 0..BLOCK {
            let place = (voxels[0][i] as usize * h + voxels[1][i] as usize) * w + voxels[2][i] as usize;
            visit(i, place, weights[0][i] * weights[1][i] * weights[2][i]);
        }
    }
}

/// How many voxels along an axis can count.
fn sides(interpolation: Interpolation) -> usize {
    match interpolation {
        Interpolation::Nearest => 1,
        Interpolation::Linear => 2,
    }
}

wide! {
    /// Mixes a block of voxels of one channel.
    fn mix_block(volume: &[f32], extents: [usize; 3], axes: &[Mixed; 3], sides: usize, sum: &mut [f32; BLOCK]) {
        assert!(!volume.is_empty());
        let last = volume.len() - 1;
        for_each_corner(axes, extents, sides, |i, place, weight| {
            // SAFETY: the index is at most that of the last element.
            let value = unsafe { *volume.get_unchecked(place.min(last)) };
            sum[i] += if weight == 0.0 { 0.0 } else { weight * value };
        });
    }
}

/// Calls `visit` for each block of a plane of `y`: its place, its length and what it is mixed of.
fn for_each_block(
    sampling: &Sampling,
    extents: [usize; 3],
    [y_h, y_w]: [usize; 2],
    rows: std::ops::Range<usize>,
    mut visit: impl FnMut(usize, usize, &[Mixed; 3]),
) {
    let mut axes = [Mixed::NONE; 3];
    for row in rows {
        for w in (0..y_w).step_by(BLOCK) {
            for (axis, mixed) in axes.iter_mut().enumerate() {
                locate(sampling, axis, extents[axis], [row / y_h, row % y_h, w], mixed);
            }
            visit(row * y_w + w, BLOCK.min(y_w - w), &axes);
        }
    }
}

/// Any matrix: block by block of the result.
fn by_voxel(cpu: &Cpu, (x, x_shape): Array<'_>, sampling: &Sampling, y: &mut [f32], out: Shape) {
    let [y_d, y_h, y_w] = out.spatial();
    let (extents, sides) = (x_shape.spatial(), sides(sampling.interpolation));
    cpu.chunks(y, y_w, |row, y| {
        let (plane, row) = (row / (y_h * y_d), row % (y_h * y_d));
        let volume = &x[plane * x_shape.voxels()..][..x_shape.voxels()];
        for_each_block(sampling, extents, [y_h, y_w], row..row + 1, |start, len, axes| {
            let mut sum = [0.0; BLOCK];
            mix_block(volume, extents, axes, sides, &mut sum);
            y[start % y_w..][..len].copy_from_slice(&sum[..len]);
        });
    });
}

/// Any matrix, adjoint: each channel by itself, in the order of the blocks of `y`.
fn scatter(cpu: &Cpu, (y, y_shape): Array<'_>, sampling: &Sampling, x: &mut [f32], x_shape: Shape) {
    let [y_d, y_h, y_w] = y_shape.spatial();
    let (extents, sides) = (x_shape.spatial(), sides(sampling.interpolation));
    cpu.chunks(x, x_shape.voxels(), |plane, x| {
        let values = &y[plane * y_shape.voxels()..][..y_shape.voxels()];
        x.fill(0.0);
        for_each_block(sampling, extents, [y_h, y_w], 0..y_d * y_h, |start, len, axes| {
            let mut block = [0.0; BLOCK];
            block[..len].copy_from_slice(&values[start..start + len]);
            for_each_corner(axes, extents, sides, |i, place, weight| {
                if weight != 0.0 && i < len {
                    x[place] += weight * block[i];
                }
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use segcal_core::Backend;

    use super::*;

    fn row(extent: usize) -> Shape {
        Shape::new(1, 1, 1, 1, extent)
    }

    #[test]
    fn doubling_mixes_three_to_one() {
        let cpu = Cpu::default();
        let up = Sampling::resize([1, 1, 2], [1, 1, 4], Interpolation::Linear);
        let (x, y) = (cpu.upload(vec![0.0, 4.0]), cpu.upload(vec![1.0, 10.0, 100.0, 1000.0]));
        assert_eq!(cpu.resample((&x, row(2)), &up, row(4)).to_vec(), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(cpu.resample_adjoint((&y, row(4)), &up, row(2)).to_vec(), [33.5, 1077.5]);
    }

    #[test]
    fn nearest_doubling_repeats_and_its_adjoint_sums() {
        let cpu = Cpu::default();
        let up = Sampling::resize([1, 1, 2], [1, 2, 4], Interpolation::Nearest);
        let (small, large) = (Shape::new(1, 1, 1, 1, 2), Shape::new(1, 1, 1, 2, 4));
        let y = cpu.resample((&cpu.upload(vec![1.0, 2.0]), small), &up, large);
        assert_eq!(y.to_vec(), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(cpu.resample_adjoint((&y, large), &up, small).to_vec(), [4.0, 8.0]);
    }

    #[test]
    fn common_tables_take_the_short_ways() {
        let kinds = |from, to, interpolation| {
            let (from, to) = ([1, 1, from], [1, 1, to]);
            let axes = tables(&Sampling::resize(from, to, interpolation), row(from[2]), row(to[2])).unwrap();
            (axes[2].transposed(from[2]).kind, axes[0].kind == Kind::Copy)
        };
        assert_eq!(kinds(8, 16, Interpolation::Nearest), (Kind::Sum(2), true));
        assert_eq!(kinds(8, 8, Interpolation::Linear), (Kind::Copy, true));
        assert_eq!(kinds(8, 16, Interpolation::Linear), (Kind::Halve, true));
        assert!(matches!(kinds(8, 12, Interpolation::Linear), (Kind::Few(_), true)));
        assert_eq!(kinds(2, 80, Interpolation::Linear).0, Kind::Many);
    }

    /// What has no weight may be NaN.
    #[test]
    fn neighbours_without_weight_do_not_count() {
        let cpu = Cpu::default();
        let x = cpu.upload(vec![1.0, f32::NAN, 3.0]);
        let mut identity = Sampling::resize([1, 1, 3], [1, 1, 3], Interpolation::Linear);
        let straight = cpu.resample((&x, row(3)), &identity, row(3)).to_vec();
        identity.matrix[1][2] = 1e-9;
        let turned = cpu.resample((&x, row(3)), &identity, row(3)).to_vec();
        for y in [straight, turned] {
            assert!(y[0] == 1.0 && y[1].is_nan() && y[2] == 3.0, "{y:?}");
        }
    }

    #[test]
    fn a_matrix_can_exchange_axes() {
        let cpu = Cpu::default();
        let transpose = Sampling {
            matrix: [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
            interpolation: Interpolation::Linear,
            border: Border::Zero,
        };
        let x = cpu.upload(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let y = cpu.resample((&x, Shape::new(1, 1, 1, 2, 3)), &transpose, Shape::new(1, 1, 1, 3, 2));
        assert_eq!(y.to_vec(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
