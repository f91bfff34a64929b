//! `distance`: the squared distance is a minimum of sums over the axes, so each axis can be minimised in turn.

use super::{Array, for_each_voxel};
use crate::{NO_DISTANCE, Shape};

/// Distance from each voxel to the nearest marked voxel of its volume.
pub(super) fn distance((mask, shape): Array<'_>, spacing: [f64; 3]) -> Vec<f64> {
    let mut squared: Vec<f64> = mask.iter().map(|&value| if value == 0.0 { f64::INFINITY } else { 0.0 }).collect();
    for volume in squared.chunks_mut(shape.voxels().max(1)) {
        for axis in 0..3 {
            minimise_along(volume, shape.spatial(), axis, spacing[axis]);
        }
    }
    squared.into_iter().map(|square| if square.is_finite() { square.sqrt() } else { NO_DISTANCE }).collect()
}

/// `f[i] = min over j of f[j] + (spacing (i - j))^2` along one axis.
fn minimise_along(volume: &mut [f64], extents: [usize; 3], axis: usize, spacing: f64) {
    let [d, h, w] = extents;
    let box_shape = Shape::new(1, 1, d, h, w);
    let (stride, extent) = (box_shape.strides()[2 + axis], extents[axis]);
    let mut lines = extents;
    lines[axis] = 1;
    for_each_voxel(lines, |[d, h, w]| {
        let start = box_shape.offset([0, 0, d, h, w]);
        let line: Vec<f64> = (0..extent).map(|i| volume[start + i * stride]).collect();
        for i in 0..extent {
            let squares = (0..extent).map(|j| line[j] + (spacing * i.abs_diff(j) as f64).powi(2));
            volume[start + i * stride] = squares.fold(f64::INFINITY, f64::min);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_four_five() {
        let shape = Shape::new(1, 1, 1, 5, 4);
        let mut mask = vec![0.0; 20];
        mask[0] = 1.0;
        let distances = distance((&mask, shape), [1.0; 3]);
        assert_eq!(distances[0], 0.0);
        assert_eq!(distances[3], 3.0);
        assert_eq!(distances[shape.offset([0, 0, 0, 4, 3])], 5.0);
    }

    #[test]
    fn spacing_weighs_the_axes() {
        let shape = Shape::new(1, 1, 2, 1, 3);
        let distances = distance((&[0.0, 0.0, 1.0, 0.0, 0.0, 0.0], shape), [3.0, 1.0, 2.0]);
        assert_eq!(distances, [4.0, 2.0, 0.0, 5.0, f64::sqrt(13.0), 3.0]);
    }

    #[test]
    fn volumes_do_not_see_each_other_and_an_empty_one_has_no_distance() {
        let shape = Shape::new(2, 1, 1, 1, 2);
        assert_eq!(distance((&[0.0, -2.0, 0.0, 0.0], shape), [1.0; 3]), [1.0, 0.0, NO_DISTANCE, NO_DISTANCE]);
    }

    /// Compares with the minimum distance to all marked voxels.
    #[test]
    fn agrees_with_all_pairs() {
        let (shape, spacing) = (Shape::new(1, 1, 4, 5, 6), [1.5, 0.7, 1.1]);
        let mask: Vec<f64> = (0..shape.len()).map(|i| f64::from(u8::from(i * 37 % 23 == 5))).collect();
        let fast = distance((&mask, shape), spacing);
        for (place, &found) in fast.iter().enumerate() {
            let to = |other: usize| {
                let (a, b) = (shape.coordinate(place), shape.coordinate(other));
                (0..3)
                    .map(|axis| (spacing[axis] * a[2 + axis].abs_diff(b[2 + axis]) as f64).powi(2))
                    .sum::<f64>()
                    .sqrt()
            };
            let marked = (0..shape.len()).filter(|&other| mask[other] != 0.0);
            let nearest = marked.map(to).fold(f64::INFINITY, f64::min);
            assert!((found - nearest).abs() <= 4.0 * f64::EPSILON * nearest, "{place}: {found} {nearest}");
        }
    }
}
