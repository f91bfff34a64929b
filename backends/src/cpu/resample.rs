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
    kind: Kind,
}

/// What mixing along an axis amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Every place is copied.
    Copy,
    /// Every place is repeated that many times.
    Repeat(usize),
    /// That many neighbours are summed.
    Sum(usize),
    /// Anything else.
    General,
}

impl Table {
    fn new(rows: impl Iterator<Item = Vec<(usize, f32)>>, source: usize) -> Self {
        let (mut starts, mut terms) = (vec![0], Vec::new());
        for row in rows {
            terms.extend(row);
            starts.push(terms.len());
        }
        let mut table = Self { starts, terms, kind: Kind::General };
        table.kind = table.find_kind(source);
        table
    }

    fn places(&self) -> usize {
        self.starts.len() - 1
    }

    fn terms(&self, place: usize) -> &[(usize, f32)] {
        &self.terms[self.starts[place]..self.starts[place + 1]]
    }

    fn find_kind(&self, source: usize) -> Kind {
        let places = self.places();
        let ones = self.terms.iter().all(|&(_, weight)| weight == 1.0);
        let all = |fits: &dyn Fn(usize) -> bool| ones && (0..places).all(fits);
        let factor = if places >= source { places / source.max(1) } else { source / places.max(1) }.max(1);
        if places == source && all(&|place| self.is(place, place..place + 1)) {
            Kind::Copy
        } else if places == factor * source && all(&|place| self.is(place, place / factor..place / factor + 1)) {
            Kind::Repeat(factor)
        } else if source == factor * places && all(&|place| self.is(place, place * factor..(place + 1) * factor)) {
            Kind::Sum(factor)
        } else {
            Kind::General
        }
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
    let inside = |voxel: f64, weight: f64| {
        if (0.0..extent as f64).contains(&voxel) { (voxel as usize, weight) } else { (0, 0.0) }
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
                        terms_h.iter().for_each(|&(h, weight_h)| add_row(line(d, h), weight_d * weight_h, &mut mixed));
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
    match table.kind {
        Kind::Copy => y.copy_from_slice(row),
        Kind::Repeat(factor) => repeat_row(row, factor, y),
        Kind::Sum(factor) => sum_row(row, factor, y),
        Kind::General => {
            for (place, y) in y.iter_mut().enumerate() {
                *y = table.terms(place).iter().map(|&(voxel, weight)| weight * row[voxel]).sum();
            }
        }
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

/// The places in one channel of `x` that a voxel of `y` is mixed of, with their weights.
fn terms(sampling: &Sampling, [d, h, w]: [usize; 3], extents: [usize; 3]) -> impl Iterator<Item = (usize, f32)> {
    let source =
        sampling.matrix.map(|[a_d, a_h, a_w, offset]| a_d * d as f64 + a_h * h as f64 + a_w * w as f64 + offset);
    let mixed: [_; 3] = std::array::from_fn(|axis| neighbours(sampling, source[axis], extents[axis]));
    (0..8).filter_map(move |corner| {
        let picks: [(usize, f64); 3] = std::array::from_fn(|axis| mixed[axis][corner >> (2 - axis) & 1]);
        let weight = picks[0].1 * picks[1].1 * picks[2].1;
        let place = (picks[0].0 * extents[1] + picks[1].0) * extents[2] + picks[2].0;
        (weight != 0.0).then_some((place, weight as f32))
    })
}

/// Any matrix: voxel by voxel of the result.
fn by_voxel(cpu: &Cpu, (x, x_shape): Array<'_>, sampling: &Sampling, y: &mut [f32], out: Shape) {
    let [y_d, y_h, y_w] = out.spatial();
    cpu.chunks(y, y_w, |row, y| {
        let (plane, d, h) = (row / (y_h * y_d), row / y_h % y_d, row % y_h);
        let volume = &x[plane * x_shape.voxels()..][..x_shape.voxels()];
        for (w, y) in y.iter_mut().enumerate() {
            *y = terms(sampling, [d, h, w], x_shape.spatial()).map(|(place, weight)| weight * volume[place]).sum();
        }
    });
}

/// Any matrix, adjoint: each channel by itself, in the order of the voxels of `y`.
fn scatter(cpu: &Cpu, (y, y_shape): Array<'_>, sampling: &Sampling, x: &mut [f32], x_shape: Shape) {
    cpu.chunks(x, x_shape.voxels(), |plane, x| {
        x.fill(0.0);
        for (place, &value) in y[plane * y_shape.voxels()..][..y_shape.voxels()].iter().enumerate() {
            let [_, _, d, h, w] = y_shape.coordinate(place);
            for (voxel, weight) in terms(sampling, [d, h, w], x_shape.spatial()) {
                x[voxel] += weight * value;
            }
        }
    });
}
