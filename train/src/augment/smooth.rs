//! Changes to one channel of a sample that combine neighbouring voxels: maps along its axes, one after the other.

use segcal_data::resample::Line;

/// Gaussian blur with a standard deviation, in voxels, for each axis; beyond the border the channel is mirrored.
pub(super) fn blur(channel: &mut [f32], extent: [usize; 3], sigma: impl Fn(u64) -> f64) {
    for axis in (0..3).filter(|&axis| extent[axis] > 1) {
        let sigma = sigma(axis as u64);
        if sigma > 0.0 {
            let blurred = gaussian(extent[axis], sigma).along(axis, channel, extent);
            channel.copy_from_slice(&blurred);
        }
    }
}

/// The kernel extends to about twice the standard deviation: `2 sigma + 1/4`, rounded down.
fn gaussian(extent: usize, sigma: f64) -> Line {
    let radius = (2.0 * sigma + 0.25).floor() as isize;
    let kernel = (-radius..=radius).map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp());
    let total: f64 = kernel.clone().sum();
    let taps = |place: usize| {
        let at = move |x: isize| mirrored(place as isize + x, extent);
        (-radius..=radius).zip(kernel.clone()).map(move |(x, weight)| (at(x), (weight / total) as f32))
    };
    Line::new(2 * radius as usize + 1, (0..extent).flat_map(taps).collect())
}

/// A position beyond the border, mirrored about the outermost voxel.
fn mirrored(at: isize, extent: usize) -> usize {
    let period = (2 * (extent as isize - 1)).max(1);
    let at = at.rem_euclid(period);
    at.min(period - at) as usize
}

/// Takes the nearest voxels of a grid that is `factor` as fine along the axes, and interpolates linearly between them.
pub(super) fn low_resolution(channel: &mut [f32], extent: [usize; 3], axes: impl Iterator<Item = usize>, factor: f64) {
    for axis in axes {
        let voxels = ((extent[axis] as f64 * factor).round_ties_even() as usize).max(1);
        if voxels < extent[axis] {
            let coarse = Line::nearest(extent[axis], voxels).along(axis, channel, extent);
            let between = extent_with(extent, axis, voxels);
            channel.copy_from_slice(&Line::linear(voxels, extent[axis]).along(axis, &coarse, between));
        }
    }
}

fn extent_with(mut extent: [usize; 3], axis: usize, voxels: usize) -> [usize; 3] {
    extent[axis] = voxels;
    extent
}
