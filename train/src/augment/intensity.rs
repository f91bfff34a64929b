//! Changes to the intensities of one channel of a sample.

use segcal_core::Rng;

use crate::settings::Cutouts;

/// A factor from a range about 1: below or above 1 with equal probability, uniform on each side; uniform over the whole
/// range if that does not contain 1.
pub(super) fn about_one(side: f64, share: f64, [low, high]: [f64; 2]) -> f64 {
    let (low, high) = match (low < 1.0, high > 1.0) {
        (true, true) if side < 0.5 => (low, 1.0),
        (true, true) => (1.0, high),
        _ => (low, high),
    };
    low + (high - low) * share
}

/// Adds independent normal random numbers of this standard deviation.
pub(super) fn noise(channel: &mut [f32], sigma: f64, rng: Rng) {
    channel.iter_mut().zip(0..).for_each(|(value, voxel)| *value += (sigma * rng.normal(voxel)) as f32);
}

/// Multiplies intensities by a factor.
pub(super) fn brightness(channel: &mut [f32], factor: f64) {
    channel.iter_mut().for_each(|value| *value *= factor as f32);
}

/// Multiplies distances from the mean by a factor, clipped to the previous range.
pub(super) fn contrast(channel: &mut [f32], factor: f64) {
    let (mean, (low, high)) = (mean(channel), range(channel));
    let stretched = |value: f32| (mean + (f64::from(value) - mean) * factor) as f32;
    channel.iter_mut().for_each(|value| *value = stretched(*value).clamp(low, high));
}

/// Raises intensities, as fractions of their range, to a power; then restores the previous mean and standard deviation.
/// A constant channel is left unchanged.
pub(super) fn gamma(channel: &mut [f32], power: f64) {
    let (low, high) = range(channel);
    let (low, width) = (f64::from(low), f64::from(high) - f64::from(low));
    if width <= 0.0 {
        return;
    }
    let before = moments(channel);
    let bent = |value: f32| (((f64::from(value) - low) / width).powf(power) * width + low) as f32;
    channel.iter_mut().for_each(|value| *value = bent(*value));
    let after = moments(channel);
    let scale = before.1 / after.1.max(1e-7);
    channel.iter_mut().for_each(|value| *value = ((f64::from(*value) - after.0) * scale + before.0) as f32);
}

/// Applies a change to the inverted channel, and inverts the result back.
pub(super) fn inverted(channel: &mut [f32], change: impl FnOnce(&mut [f32])) {
    channel.iter_mut().for_each(|value| *value = -*value);
    change(channel);
    channel.iter_mut().for_each(|value| *value = -*value);
}

/// A box of a sample: its first voxel and its extent.
pub(super) type Box3 = ([usize; 3], [usize; 3]);

/// Boxes at random positions: from one to the maximum number, each with its own fraction of the extent along each axis.
pub(super) fn boxes(cutouts: &Cutouts, extent: [usize; 3], rng: Rng) -> Vec<Box3> {
    let count = 1 + rng.below(1, cutouts.most);
    let one = |number: usize| {
        let rng = rng.stream(number as u64);
        let [low, high] = cutouts.range;
        let size: [usize; 3] = std::array::from_fn(|axis| {
            let voxels = (rng.range(axis as u64, low, high) * extent[axis] as f64).round() as usize;
            voxels.clamp(1, extent[axis])
        });
        (std::array::from_fn(|axis| rng.below(3 + axis as u64, extent[axis] - size[axis] + 1)), size)
    };
    (0..count).map(one).collect()
}

/// Fills the boxes with the channel's mean.
pub(super) fn blank(channel: &mut [f32], extent: [usize; 3], boxes: &[Box3]) {
    let mean = mean(channel) as f32;
    for ([d, h, w], size) in boxes {
        for z in *d..d + size[0] {
            for y in *h..h + size[1] {
                let row = (z * extent[1] + y) * extent[2] + w;
                channel[row..row + size[2]].fill(mean);
            }
        }
    }
}

fn mean(channel: &[f32]) -> f64 {
    channel.iter().map(|&value| f64::from(value)).sum::<f64>() / channel.len().max(1) as f64
}

/// Mean and standard deviation.
fn moments(channel: &[f32]) -> (f64, f64) {
    let mean = mean(channel);
    let squares: f64 = channel.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum();
    (mean, (squares / channel.len().max(1) as f64).sqrt())
}

fn range(channel: &[f32]) -> (f32, f32) {
    channel.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
}
