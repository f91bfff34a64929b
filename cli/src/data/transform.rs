//! From volumes to what a network is given, and back: intensities to [0, 1], slices, padding and cropping, patches.
//!
//! Arrays are `[c, d, h, w]`; an `axis` is 0, 1 or 2 for d, h or w. All functions are pure.

use ndarray::{Array4, ArrayRef, Axis, Ix4, Slice, s};
use segcal_core::{Error, Result};

/// Maps each channel to [0, 1] by itself: `(x - low) / (high - low)`, clamped. Without `percentiles`, `low` and `high`
/// are the extremes; with them, the values below which that share (0 to 100) of the voxels lies, interpolated linearly
/// between neighbours in rank. A constant channel becomes 0.
///
/// # Errors
/// A value is NaN or infinite, or the percentiles are not `0 <= low < high <= 100`.
pub fn normalise(data: &mut Array4<f32>, percentiles: Option<(f64, f64)>) -> Result<()> {
    let (low, high) = percentiles.unwrap_or((0.0, 100.0));
    if !(0.0 <= low && low < high && high <= 100.0) {
        return Err(Error::new(format!("the percentiles {low} and {high} are not in order within 0..100")));
    }
    if let Some(((c, d, h, w), x)) = data.indexed_iter().find(|(_, x)| !x.is_finite()) {
        return Err(Error::new(format!("voxel ({w}, {h}, {d}) of channel {c} is {x}")).help("mend or mask the image"));
    }
    for mut channel in data.axis_iter_mut(Axis(0)) {
        let (low, high) = if percentiles.is_some() {
            let mut values: Vec<f32> = channel.iter().copied().collect();
            (percentile(&mut values, low), percentile(&mut values, high))
        } else {
            channel.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)))
        };
        // In f64, where the difference of any two f32 is finite.
        let scale = if high > low { 1.0 / (f64::from(high) - f64::from(low)) } else { 0.0 };
        channel.mapv_inplace(|x| ((f64::from(x) - f64::from(low)) * scale).clamp(0.0, 1.0) as f32);
    }
    Ok(())
}

/// The value at rank `share / 100 * (n - 1)`, in expected linear time.
fn percentile(values: &mut [f32], share: f64) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let rank = share / 100.0 * (values.len() - 1) as f64;
    let (_, &mut below, above) = values.select_nth_unstable_by(rank as usize, f32::total_cmp);
    let next = above.iter().copied().min_by(f32::total_cmp).unwrap_or(below);
    (f64::from(below) + (f64::from(next) - f64::from(below)) * rank.fract()) as f32
}

/// One slice across `axis`, `[c, 1, h, w]`: the two other axes keep their order.
pub fn slice<T: Copy>(data: &ArrayRef<T, Ix4>, axis: usize, index: usize) -> Array4<T> {
    let plane = data.index_axis(Axis(1 + axis), index).insert_axis(Axis(1));
    plane.as_standard_layout().into_owned()
}

/// Puts a slice `[c, 1, h, w]` back to where [`slice()`] took it from.
pub fn set_slice<T: Copy>(data: &mut ArrayRef<T, Ix4>, axis: usize, index: usize, plane: &ArrayRef<T, Ix4>) {
    data.index_axis_mut(Axis(1 + axis), index).assign(&plane.index_axis(Axis(1), 0));
}

/// The slices across `axis` from first to last.
pub fn slices<T: Copy>(data: &ArrayRef<T, Ix4>, axis: usize) -> impl Iterator<Item = Array4<T>> {
    (0..data.len_of(Axis(1 + axis))).map(move |index| slice(data, axis, index))
}

/// Pads or crops the spatial axes to other extents, evenly on both sides (the odd voxel at the end).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    from: [usize; 3],
    to: [usize; 3],
}

impl Fit {
    /// From these extents `[d, h, w]` to those.
    pub const fn new(from: [usize; 3], to: [usize; 3]) -> Self {
        Self { from, to }
    }

    /// Padding up to the next multiple along each axis.
    pub fn to_multiple(from: [usize; 3], multiple: [usize; 3]) -> Self {
        Self { from, to: std::array::from_fn(|axis| from[axis].next_multiple_of(multiple[axis])) }
    }

    /// The extents after [`Fit::apply`].
    pub const fn to(&self) -> [usize; 3] {
        self.to
    }

    /// Pads with `fill` and crops.
    pub fn apply<T: Copy>(&self, data: &ArrayRef<T, Ix4>, fill: T) -> Array4<T> {
        copy_fitted(data, self.from, self.to, fill)
    }

    /// Crops what was padded and pads with `fill` what was cropped: the exact inverse of [`Fit::apply`] wherever
    /// nothing was cropped.
    pub fn undo<T: Copy>(&self, data: &ArrayRef<T, Ix4>, fill: T) -> Array4<T> {
        copy_fitted(data, self.to, self.from, fill)
    }
}

fn copy_fitted<T: Copy>(data: &ArrayRef<T, Ix4>, from: [usize; 3], to: [usize; 3], fill: T) -> Array4<T> {
    let (channels, d, h, w) = data.dim();
    assert_eq!([d, h, w], from, "the array has the extents that are fitted");
    let mut out = Array4::from_elem((channels, to[0], to[1], to[2]), fill);
    let mut source = data.view();
    let mut target = out.view_mut();
    for axis in 0..3 {
        let common = from[axis].min(to[axis]);
        // Half of what is too much, the same way round in both directions, so that one undoes the other.
        let (skip, pad) = ((from[axis] - common) / 2, (to[axis] - common) / 2);
        source.slice_axis_inplace(Axis(1 + axis), Slice::from(skip..skip + common));
        target.slice_axis_inplace(Axis(1 + axis), Slice::from(pad..pad + common));
    }
    target.assign(&source);
    out
}

/// The block of extents `size` that starts at `start`, which may lie partly or wholly outside; there it is `fill`.
pub fn patch<T: Copy>(data: &ArrayRef<T, Ix4>, start: [isize; 3], size: [usize; 3], fill: T) -> Array4<T> {
    let (channels, d, h, w) = data.dim();
    let mut out = Array4::from_elem((channels, size[0], size[1], size[2]), fill);
    let inside: [(isize, isize); 3] = std::array::from_fn(|axis| {
        let extent = [d, h, w][axis] as isize;
        (start[axis].max(0), (start[axis] + size[axis] as isize).min(extent))
    });
    if inside.iter().all(|(from, to)| from < to) {
        let [a, b, c] = inside.map(|(from, to)| from..to);
        let [i, j, k]: [_; 3] = std::array::from_fn(|axis| {
            let (from, to) = inside[axis];
            from - start[axis]..to - start[axis]
        });
        out.slice_mut(s![.., i, j, k]).assign(&data.slice(s![.., a, b, c]));
    }
    out
}

/// Starts of tiles of extents `size` that cover `extent`, at most `step` apart, evenly spread, the last ones flush
/// with the end. Along an axis that is no longer than a tile there is one, at 0.
pub fn tiles(extent: [usize; 3], size: [usize; 3], step: [usize; 3]) -> Vec<[usize; 3]> {
    let starts: [Vec<usize>; 3] = std::array::from_fn(|axis| {
        let room = extent[axis].saturating_sub(size[axis]);
        let gaps = room.div_ceil(step[axis].max(1));
        (0..=gaps).map(|index| index * room / gaps.max(1)).collect()
    });
    let [along_d, along_h, along_w] = &starts;
    let mut all = Vec::with_capacity(along_d.len() * along_h.len() * along_w.len());
    for &d in along_d {
        for &h in along_h {
            all.extend(along_w.iter().map(|&w| [d, h, w]));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(shape: (usize, usize, usize, usize)) -> Array4<i32> {
        let mut next = 0;
        Array4::from_shape_simple_fn(shape, || {
            next += 1;
            next
        })
    }

    #[test]
    fn each_channel_is_normalised_by_itself() {
        let values = vec![-4.0, 0.0, 4.0, 10.0, 10.0, 10.0, 1e38, -1e38, 0.0];
        let mut data = Array4::from_shape_vec((3, 1, 1, 3), values).unwrap();
        normalise(&mut data, None).unwrap();
        let expected = [0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5];
        assert_eq!(data.into_raw_vec_and_offset().0, expected);
    }

    #[test]
    fn percentiles_are_those_of_linear_interpolation() {
        let values: Vec<f32> = (0..=100).map(|x| ((x * 37) % 101) as f32).collect();
        for (share, expected) in [(0.0, 0.0), (0.5, 0.5), (25.0, 25.0), (99.25, 99.25), (100.0, 100.0)] {
            assert_eq!(percentile(&mut values.clone(), share), expected);
        }
        let mut data = Array4::from_shape_vec((1, 1, 1, 101), values.clone()).unwrap();
        normalise(&mut data, Some((10.0, 90.0))).unwrap();
        for (x, y) in values.iter().zip(&data) {
            assert!((y - ((x - 10.0) / 80.0).clamp(0.0, 1.0)).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let mut data = Array4::zeros((2, 3, 4, 5));
        data[[1, 2, 3, 4]] = f32::NAN;
        let message = normalise(&mut data, None).unwrap_err().to_string();
        assert!(message.contains("(4, 3, 2) of channel 1"), "{message}");
        assert!(normalise(&mut Array4::zeros((1, 1, 1, 1)), Some((50.0, 50.0))).is_err());
    }

    #[test]
    fn slices_put_back_give_the_volume() {
        let data = counted((2, 3, 4, 5));
        for axis in 0..3 {
            let mut back = Array4::zeros(data.raw_dim());
            let mut count = 0;
            for (index, plane) in slices(&data, axis).enumerate() {
                assert_eq!(plane.dim().1, 1);
                assert!(plane.is_standard_layout());
                set_slice(&mut back, axis, index, &plane);
                count += 1;
            }
            assert_eq!(count, [3, 4, 5][axis]);
            assert_eq!(back, data);
        }
        assert_eq!(slice(&data, 1, 2)[[1, 0, 2, 3]], data[[1, 2, 2, 3]]);
    }

    #[test]
    fn padding_is_undone_exactly_and_cropping_keeps_the_middle() {
        for from in 1..6 {
            for to in 1..8 {
                let data = counted((2, from, 3, from));
                let fit = Fit::new([from, 3, from], [to, 4, to]);
                let fitted = fit.apply(&data, -1);
                let back = fit.undo(&fitted, -2);
                assert_eq!(fitted.dim(), (2, to, 4, to));
                for (value, original) in back.iter().zip(&data) {
                    assert!(value == original || (to < from && *value == -2), "{from} -> {to}");
                }
                let kept = fitted.iter().filter(|&&x| x > 0).count();
                assert_eq!(kept, 2 * 3 * from.min(to) * from.min(to));
            }
        }
        assert_eq!(Fit::to_multiple([1, 31, 64], [1, 16, 16]).to(), [1, 32, 64]);
    }

    #[test]
    fn patches_reach_beyond_the_edge() {
        let data = counted((1, 3, 4, 5));
        for d in -3..4_isize {
            for w in -4..7_isize {
                let block = patch(&data, [d, 1, w], [2, 2, 3], 0);
                for ((_, i, j, k), &value) in block.indexed_iter() {
                    let at = [d + i as isize, 1 + j as isize, w + k as isize];
                    let inside = at.iter().zip([3, 4, 5]).all(|(&x, extent)| (0..extent).contains(&x));
                    let expected = if inside { data[[0, at[0] as usize, at[1] as usize, at[2] as usize]] } else { 0 };
                    assert_eq!(value, expected);
                }
            }
        }
    }

    #[test]
    fn tiles_cover_everything_and_stay_inside() {
        for extent in 1..30 {
            for (size, step) in [(8, 4), (8, 8), (1, 1), (5, 3)] {
                let starts = tiles([1, extent, 2], [1, size, 2], [1, step, 1]);
                let mut covered = vec![false; extent];
                for [d, h, w] in starts {
                    assert_eq!((d, w), (0, 0));
                    assert!(h + size <= extent || h == 0);
                    covered.iter_mut().skip(h).take(size).for_each(|place| *place = true);
                }
                assert!(covered.iter().all(|&place| place), "{extent} {size} {step}");
            }
        }
    }
}
