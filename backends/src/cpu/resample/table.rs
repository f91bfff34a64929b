//! Interpolation weights along an axis, with shortcuts for common cases.

use segcal_core::{Border, Interpolation, Sampling, Shape};

/// For each position along an axis of the result, the source positions it is interpolated from, with their weights, in
/// ascending order.
pub(super) struct Table {
    /// Where the terms of each position begin, and the end of the last.
    starts: Vec<usize>,
    terms: Vec<(usize, f32)>,
    /// The extent of the source axis.
    source: usize,
    pub(super) kind: Kind,
}

/// The kind of interpolation along an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Every position is copied.
    Copy,
    /// Every position is repeated this many times.
    Repeat(usize),
    /// This many neighbours are summed.
    Sum(usize),
    /// Linear interpolation to twice the extent, at distances of a quarter and three quarters.
    Double,
    /// The adjoint of `Double`.
    Halve,
    /// At most [`FEW`] terms per position: a list of the first terms of all positions, one of the second terms, and so
    /// on, padded with weight 0.
    Few(Vec<(Vec<u32>, Vec<f32>)>),
    /// Anything else.
    Many,
}

/// Maximum number of terms for which padded lists pay off.
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

    pub(super) fn terms(&self, place: usize) -> &[(usize, f32)] {
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

    /// The first terms of all positions, the second terms, and so on.
    fn lists(&self) -> Vec<(Vec<u32>, Vec<f32>)> {
        let count = (0..self.places()).map(|place| self.terms(place).len()).max().unwrap_or(0);
        let term = |place: usize, i: usize| self.terms(place).get(i).map_or((0, 0.0), |&(voxel, w)| (voxel as u32, w));
        (0..count).map(|i| (0..self.places()).map(|place| term(place, i)).unzip()).collect()
    }

    /// Whether the terms of a position are exactly these.
    fn is(&self, place: usize, voxels: std::ops::Range<usize>) -> bool {
        self.terms(place).iter().map(|&(voxel, _)| voxel).eq(voxels)
    }

    pub(super) fn transposed(&self, extent: usize) -> Self {
        let mut rows = vec![Vec::new(); extent];
        for place in 0..self.places() {
            for &(voxel, weight) in self.terms(place) {
                rows[voxel].push((place, weight));
            }
        }
        Self::new(rows.into_iter(), self.places())
    }
}

/// The voxels of an axis of `extent` that position `place` of its linear doubling is interpolated from.
fn doubled(place: usize, extent: usize) -> Vec<(usize, f32)> {
    let voxel = place / 2;
    match place % 2 {
        0 if voxel > 0 => vec![(voxel - 1, 0.25), (voxel, 0.75)],
        1 if voxel + 1 < extent => vec![(voxel, 0.75), (voxel + 1, 0.25)],
        _ => vec![(voxel, 1.0)],
    }
}

/// The positions of the doubled axis that `voxel` contributes to.
fn halved(voxel: usize, extent: usize) -> Vec<(usize, f32)> {
    let places = (2 * voxel).saturating_sub(1)..(2 * voxel + 3).min(2 * extent);
    let part = |place: usize| {
        doubled(place, extent).into_iter().find(|term| term.0 == voxel).map(|(_, weight)| (place, weight))
    };
    places.filter_map(part).collect()
}

/// The tables along `[d, h, w]`, if no axis depends on another.
pub(super) fn tables(sampling: &Sampling, x_shape: Shape, y_shape: Shape) -> Option<[Table; 3]> {
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

/// The two voxels along one axis that a source coordinate is interpolated from. Voxels outside the grid, or that do not
/// contribute, have weight 0.
#[inline(always)]
pub(super) fn neighbours(sampling: &Sampling, coordinate: f64, extent: usize) -> [(usize, f64); 2] {
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
        // SAFETY: the number is in 0..2^31 and not NaN, since NaN does not count.
        (unsafe { voxel.to_int_unchecked::<i32>() } as usize, weight)
    };
    [inside(first, 1.0 - weight), inside(first + 1.0, weight)]
}
