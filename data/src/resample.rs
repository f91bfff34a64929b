//! Resampling of volumes to a different number of voxels over the same space, by the rules of nnU-Net.
//!
//! If an axis of `n` voxels is resampled to `m`, new voxel `i` is at position `(i + 1/2) n/m - 1/2` among the old ones;
//! border values are repeated outside. Images are interpolated by cubic splines and scores linearly; a label is the one
//! with the largest sum of linear weights. If voxels are much longer along one axis than along the others (see
//! [`coarse_axis`]), each plane across that axis is resampled separately, and then the nearest plane is taken.

/// Ratio of voxel sizes above which the longest axis is resampled separately.
const ANISOTROPIC: f64 = 3.0;
/// How often border voxels are repeated before the spline coefficients are computed; what is assumed beyond them
/// changes the result by less than 1e-6.
const REPEATED: usize = 12;
/// Sums of weights that differ by less than this are considered equal.
const TIE: f64 = 1e-9;

/// The number of voxels of size `wanted` over the same space: `extent * spacing / wanted` along each axis, rounded
/// (halves to even), at least 1. A `wanted` of 0 leaves an axis unchanged.
pub fn size(extent: [usize; 3], spacing: [f64; 3], wanted: [f64; 3]) -> [usize; 3] {
    std::array::from_fn(|axis| match wanted[axis] {
        0.0 => extent[axis],
        wanted => ((extent[axis] as f64 * spacing[axis] / wanted).round_ties_even() as usize).max(1),
    })
}

/// The axis that is resampled separately: the axis with the largest old spacing if that is more than three times the
/// smallest, otherwise the same for the new spacing; `None` if two axes share the largest spacing.
pub fn coarse_axis(old: [f64; 3], new: [f64; 3]) -> Option<usize> {
    let longest = |spacing: [f64; 3]| spacing.into_iter().fold(0.0, f64::max);
    let shortest = |spacing: [f64; 3]| spacing.into_iter().fold(f64::INFINITY, f64::min);
    let anisotropic = |spacing: &[f64; 3]| longest(*spacing) / shortest(*spacing) > ANISOTROPIC;
    let spacing = [old, new].into_iter().find(anisotropic)?;
    let mut axes = (0..3).filter(|&axis| spacing[axis] == longest(spacing));
    axes.next().filter(|_| axes.next().is_none())
}

/// A linear map of the numbers along one axis: each new number is a weighted sum of a few old ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    taps: Vec<(usize, f32)>,
    width: usize,
}

impl Line {
    /// Creates a map whose outputs have `width` taps each; a tap is an input index and its weight.
    pub fn new(width: usize, taps: Vec<(usize, f32)>) -> Self {
        assert!(width > 0 && taps.len().is_multiple_of(width), "each output needs `width` taps");
        Self { taps, width }
    }

    /// Nearest-neighbour interpolation of `from` values.
    pub fn nearest(from: usize, to: usize) -> Self {
        Self::new(1, (0..to).map(|place| (nearest(from, to, place), 1.0)).collect())
    }

    /// Linear interpolation between `from` values.
    pub fn linear(from: usize, to: usize) -> Self {
        let two = |place| between(from, to, place).map(|(at, weight)| (at, weight as f32));
        Self::new(2, (0..to).flat_map(two).collect())
    }

    /// Number of outputs.
    pub fn len(&self) -> usize {
        self.taps.len() / self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// The taps of one output.
    pub fn taps(&self, place: usize) -> &[(usize, f32)] {
        &self.taps[place * self.width..][..self.width]
    }

    /// Applies the map along an axis of one channel, `[d, h, w]`.
    pub fn along(&self, axis: usize, values: &[f32], extent: [usize; 3]) -> Vec<f32> {
        let inner: usize = extent[axis + 1..].iter().product();
        let mut mapped = vec![0.0; values.len() / extent[axis].max(1) * self.len()];
        let slabs = values.chunks_exact((inner * extent[axis]).max(1));
        for (slab, mapped) in slabs.zip(mapped.chunks_exact_mut((inner * self.len()).max(1))) {
            for (place, row) in mapped.chunks_exact_mut(inner).enumerate() {
                for &(at, weight) in self.taps(place) {
                    row.iter_mut().zip(&slab[at * inner..]).for_each(|(to, from)| *to += weight * from);
                }
            }
        }
        mapped
    }
}

/// The position of a new voxel among the old ones.
fn position(from: usize, to: usize, place: usize) -> f64 {
    (place as f64 + 0.5) * from as f64 / to as f64 - 0.5
}

fn nearest(from: usize, to: usize, place: usize) -> usize {
    ((position(from, to, place) + 0.5).floor().max(0.0) as usize).min(from - 1)
}

/// The two old voxels around a new one, with their weights.
fn between(from: usize, to: usize, place: usize) -> [(usize, f64); 2] {
    let at = position(from, to, place).clamp(0.0, (from - 1) as f64);
    let share = at.fract();
    [(at as usize, 1.0 - share), ((at as usize + 1).min(from - 1), share)]
}

/// The maps of scores along the three axes: linear, or nearest along the coarse one.
pub fn lines(from: [usize; 3], to: [usize; 3], coarse: Option<usize>) -> [Line; 3] {
    std::array::from_fn(|axis| {
        if Some(axis) == coarse { Line::nearest(from[axis], to[axis]) } else { Line::linear(from[axis], to[axis]) }
    })
}

/// Resamples one channel of an image, `[d, h, w]`, by cubic splines, clipped to the range of the original image (or of
/// each original plane, if there is a coarse axis).
pub fn image(values: &[f32], from: [usize; 3], to: [usize; 3], coarse: Option<usize>) -> Vec<f32> {
    let (mut values, mut extent) = (values.to_vec(), from);
    let limits = ranges(&values, extent, coarse);
    for axis in (0..3).filter(|&axis| Some(axis) != coarse && from[axis] != to[axis]) {
        values = cubic(&values, extent, axis, to[axis]);
        extent[axis] = to[axis];
    }
    if extent != from {
        clip(&mut values, extent, coarse, &limits);
    }
    match coarse {
        Some(axis) if from[axis] != to[axis] => Line::nearest(from[axis], to[axis]).along(axis, &values, extent),
        _ => values,
    }
}

/// The index, along an axis, of the plane that contains an offset; 0 without an axis.
fn plane(place: usize, extent: [usize; 3], axis: Option<usize>) -> usize {
    axis.map_or(0, |axis| place / extent[axis + 1..].iter().product::<usize>() % extent[axis])
}

/// Minimum and maximum of each plane across an axis, or of all values without one.
fn ranges(values: &[f32], extent: [usize; 3], axis: Option<usize>) -> Vec<(f32, f32)> {
    let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); axis.map_or(1, |axis| extent[axis])];
    for (place, &value) in values.iter().enumerate() {
        let (low, high) = &mut ranges[plane(place, extent, axis)];
        (*low, *high) = (low.min(value), high.max(value));
    }
    ranges
}

fn clip(values: &mut [f32], extent: [usize; 3], axis: Option<usize>, ranges: &[(f32, f32)]) {
    for (place, value) in values.iter_mut().enumerate() {
        let (low, high) = ranges[plane(place, extent, axis)];
        *value = value.clamp(low, high);
    }
}

/// Evaluates the interpolating cubic spline along an axis at `to` positions.
fn cubic(values: &[f32], extent: [usize; 3], axis: usize, to: usize) -> Vec<f32> {
    let from = extent[axis];
    let inner: usize = extent[axis + 1..].iter().product();
    let outer: usize = extent[..axis].iter().product();
    let places: Vec<(usize, [f64; 4])> = (0..to).map(|place| weights(from, to, place)).collect();
    let mut resampled = vec![0.0; outer * to * inner];
    let mut line = vec![0.0; from + 2 * REPEATED];
    for first in (0..outer).flat_map(|outer| (0..inner).map(move |inner| (outer, inner))) {
        let (outer, column) = first;
        for (place, number) in line.iter_mut().enumerate() {
            let at = place.saturating_sub(REPEATED).min(from - 1);
            *number = f64::from(values[(outer * from + at) * inner + column]);
        }
        coefficients(&mut line);
        for (place, (at, weights)) in places.iter().enumerate() {
            let sum: f64 = weights.iter().zip(&line[*at..]).map(|(weight, number)| weight * number).sum();
            resampled[(outer * to + place) * inner + column] = sum as f32;
        }
    }
    resampled
}

/// The index, in the extended line, of the first of the four coefficients that determine a new value, and their
/// weights.
fn weights(from: usize, to: usize, place: usize) -> (usize, [f64; 4]) {
    let reach = REPEATED as f64 - 1.0;
    let at = position(from, to, place).clamp(-reach, from as f64 - 1.0 + reach);
    // At the last position the fourth weight is 0, and its coefficient may be past the end.
    ((at.floor() + REPEATED as f64) as usize - 1, spline(at - at.floor()))
}

/// The cubic B-spline weights of four coefficients at a fraction `t` of the way (0 to 1) from the second to the third.
pub fn spline(t: f64) -> [f64; 4] {
    let s = 1.0 - t;
    let inner = |t: f64| (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0;
    [s.powi(3) / 6.0, inner(t), inner(s), t.powi(3) / 6.0]
}

/// Replaces values by the coefficients of the cubic B-spline that passes through them, mirrored at the ends (Unser
/// 1999).
fn coefficients(line: &mut [f64]) {
    let pole = 3.0_f64.sqrt() - 2.0;
    let last = line.len() - 1;
    line.iter_mut().for_each(|number| *number *= 6.0);
    // Higher powers of the pole are negligible in 64 bits.
    let mut sum = line[0];
    let mut power = pole;
    for &number in &line[1..=last.min(30)] {
        sum += power * number;
        power *= pole;
    }
    line[0] = sum;
    for place in 1..=last {
        line[place] += pole * line[place - 1];
    }
    line[last] = pole / (pole * pole - 1.0) * (line[last] + pole * line[last - 1]);
    for place in (0..last).rev() {
        line[place] = pole * (line[place + 1] - line[place]);
    }
}

/// Resamples a label map, `[d, h, w]`: each new voxel gets the label whose voxels have the largest sum of linear
/// weights. On a tie it gets the label of the nearest voxel if that is among the tied ones, otherwise the smallest.
pub fn labels(values: &[i32], from: [usize; 3], to: [usize; 3], coarse: Option<usize>) -> Vec<i32> {
    let two = |axis: usize, place: usize| match coarse {
        Some(coarse) if coarse == axis => [(nearest(from[axis], to[axis], place), 1.0), (0, 0.0)],
        _ => between(from[axis], to[axis], place),
    };
    let axis = |axis: usize| -> Vec<_> { (0..to[axis]).map(|place| two(axis, place)).collect() };
    let [depth, height, width] = [axis(0), axis(1), axis(2)];
    let mut resampled = Vec::with_capacity(to.iter().product());
    for (d, ds) in depth.iter().enumerate() {
        for (h, hs) in height.iter().enumerate() {
            for (w, ws) in width.iter().enumerate() {
                let label = |[d, h, w]: [usize; 3]| values[(d * from[1] + h) * from[2] + w];
                let at = [[0, d], [1, h], [2, w]].map(|[axis, place]| nearest(from[axis], to[axis], place));
                resampled.push(heaviest([ds, hs, ws], label, label(at)));
            }
        }
    }
    resampled
}

/// The label with the largest sum of weights among the eight corners.
fn heaviest(axes: [&[(usize, f64); 2]; 3], label: impl Fn([usize; 3]) -> i32, nearest: i32) -> i32 {
    let mut sums = [(0, 0.0); 8];
    let mut found = 0;
    for corner in 0..8 {
        let [d, h, w] = std::array::from_fn(|axis| axes[axis][corner >> axis & 1]);
        let weight = d.1 * h.1 * w.1;
        if weight > 0.0 {
            let label = label([d.0, h.0, w.0]);
            let known = sums[..found].iter().position(|(known, _)| *known == label);
            let slot = known.unwrap_or(found);
            found = found.max(slot + 1);
            sums[slot] = (label, sums[slot].1 + weight);
        }
    }
    let sums = &sums[..found];
    let largest = sums.iter().fold(0.0, |largest, (_, sum)| f64::max(largest, *sum));
    let tied = || sums.iter().filter(|(_, sum)| *sum > largest - TIE).map(|(label, _)| *label);
    if tied().any(|label| label == nearest) { nearest } else { tied().min().unwrap_or(nearest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_halves_to_even_and_zero_keeps_an_axis() {
        assert_eq!(size([5, 7, 9], [1.0, 1.0, 2.0], [2.0, 2.0, 0.0]), [2, 4, 9]);
        assert_eq!(size([1, 1, 1], [1.0; 3], [9.0; 3]), [1; 3]);
    }

    #[test]
    fn the_coarse_axis_is_above_three_times_the_finest() {
        assert_eq!(coarse_axis([3.0, 1.0, 1.0], [1.0; 3]), None);
        assert_eq!(coarse_axis([3.1, 1.0, 1.0], [1.0; 3]), Some(0));
        assert_eq!(coarse_axis([1.0; 3], [1.0, 1.0, 4.0]), Some(2));
        assert_eq!(coarse_axis([4.0, 1.0, 4.0], [1.0; 3]), None);
    }

    /// Splines of order 3 reproduce cubic polynomials away from the border; linear maps reproduce ramps.
    #[test]
    fn polynomials_are_met() {
        let polynomial = |x: f64| 2.0 - x + 0.05 * x * x + 0.001 * x * x * x;
        let values: Vec<f32> = (0..40).map(|x| polynomial(f64::from(x)) as f32).collect();
        let resampled = cubic(&values, [1, 1, 40], 2, 64);
        for place in 24..40 {
            let at = position(40, 64, place);
            assert!((f64::from(resampled[place]) - polynomial(at)).abs() < 1e-4, "{place}");
        }
        let ramp: Vec<f32> = (0..12).map(|x| (x / 2) as f32).collect();
        assert_eq!(Line::linear(6, 6).along(1, &ramp, [1, 6, 2]), ramp);
        assert_eq!(Line::linear(2, 4).along(1, &[0.0, 1.0], [1, 2, 1]), [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(Line::nearest(3, 1).along(0, &[0.0, 1.0, 2.0], [3, 1, 1]), [1.0]);
    }

    #[test]
    fn labels_of_equal_weight_are_those_of_the_nearest_voxel() {
        // Half way: the nearest voxel is the second.
        assert_eq!(labels(&[5, 2], [1, 1, 2], [1, 1, 1], None), [2]);
        // Three of four corners outweigh the nearest.
        assert_eq!(labels(&[1, 1, 1, 7], [1, 2, 2], [1, 1, 1], None), [1]);
        assert_eq!(labels(&[1, 2, 3], [3, 1, 1], [1, 1, 1], Some(0)), [2]);
    }
}
