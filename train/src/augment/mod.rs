//! Random augmentation of training samples, drawn from counters: identical for the same seed, epoch and sample,
//! whatever the number of threads and wherever a run was interrupted.
//!
//! A sample is cut out of its case along transformed coordinates (`motion`), so that a rotation brings in voxels of the
//! case rather than padding. Then intensities change, channel by channel. Finally, flips and quarter turns rearrange
//! the voxels.

mod intensity;
mod motion;
mod orientation;
mod smooth;

use segcal_core::Rng;

pub use orientation::Orientation;

use super::block::Block;
use super::prepared::Prepared;
use super::settings::{Channels, Operators};
use motion::Motion;

/// Streams of a sample's random numbers, one for each operator: none depends on whether another operator was applied.
mod streams {
    pub(super) const MOTION: u64 = 0;
    pub(super) const NOISE: u64 = 1;
    pub(super) const BLUR: u64 = 2;
    pub(super) const BRIGHTNESS: u64 = 3;
    pub(super) const CONTRAST: u64 = 4;
    pub(super) const LOW_RESOLUTION: u64 = 5;
    pub(super) const GAMMA_INVERTED: u64 = 6;
    pub(super) const GAMMA: u64 = 7;
    pub(super) const CUTOUTS: u64 = 8;
}

/// Image and label of a block, channel by channel, after the operators.
pub fn changed(case: &Prepared, block: &Block, operators: &Operators, rng: Rng) -> (Vec<f32>, Vec<f32>) {
    let motion = Motion::draw(operators, block.size, rng.stream(streams::MOTION));
    let (mut image, label) = motion.map_or_else(|| block.cut(case), |motion| motion.cut(case, block));
    change_intensities(&mut image, block.size, operators, rng);
    (image, label)
}

/// Applies the operators that do not move voxels.
fn change_intensities(image: &mut [f32], extent: [usize; 3], operators: &Operators, rng: Rng) {
    let voxels = extent.iter().product::<usize>().max(1);
    let mut each = |channels: &Channels, stream: u64, change: &dyn Fn(&mut [f32], Rng, Rng)| {
        let rng = rng.stream(stream);
        if rng.uniform(0) < channels.p {
            for (channel, number) in image.chunks_exact_mut(voxels).zip(0..) {
                let own = rng.stream(number);
                if own.uniform(0) < channels.per_channel {
                    change(channel, rng, own);
                }
            }
        }
    };
    let o = operators;
    let factor = |rng: Rng, range: [f64; 2]| intensity::about_one(rng.uniform(1), rng.uniform(2), range);
    each(&o.noise, streams::NOISE, &|channel, rng, own| {
        intensity::noise(channel, between(rng, o.noise.range), own.stream(0));
    });
    each(&o.blur, streams::BLUR, &|channel, _, own| {
        smooth::blur(channel, extent, |axis| between(own.stream(axis), o.blur.range));
    });
    each(&o.brightness, streams::BRIGHTNESS, &|channel, _, own| {
        intensity::brightness(channel, factor(own, o.brightness.range));
    });
    each(&o.contrast, streams::CONTRAST, &|channel, _, own| {
        intensity::contrast(channel, factor(own, o.contrast.range));
    });
    each(&o.low_resolution, streams::LOW_RESOLUTION, &|channel, _, own| {
        let axes = o.axes.iter().map(|axis| axis.index());
        smooth::low_resolution(channel, extent, axes, between(own, o.low_resolution.range));
    });
    each(&o.gamma_inverted, streams::GAMMA_INVERTED, &|channel, _, own| {
        intensity::inverted(channel, |channel| intensity::gamma(channel, factor(own, o.gamma_inverted.range)));
    });
    each(&o.gamma, streams::GAMMA, &|channel, _, own| intensity::gamma(channel, factor(own, o.gamma.range)));
    let rng = rng.stream(streams::CUTOUTS);
    if rng.uniform(0) < o.cutouts.p {
        let boxes = intensity::boxes(&o.cutouts, extent, rng);
        image.chunks_exact_mut(voxels).for_each(|channel| intensity::blank(channel, extent, &boxes));
    }
}

/// The strength of an operator, drawn uniformly.
fn between(rng: Rng, [low, high]: [f64; 2]) -> f64 {
    rng.range(1, low, high)
}

#[cfg(test)]
mod tests;
