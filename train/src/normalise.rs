//! Intensity normalisation, channel by channel.

use segcal_core::{Error, Result};

use super::settings::{Input, Normalise};

/// Lower bound of standard deviations, so that a constant channel becomes 0.
const LEAST: f64 = 1e-8;

/// Normalises the channels of a volume of this extent.
///
/// # Errors
/// There are more channels than entries in the settings.
pub(super) fn normalise(values: &mut [f32], extent: [usize; 3], input: &Input) -> Result<()> {
    let voxels = extent.iter().product::<usize>().max(1);
    let masked = input.normalise.contains(&Normalise::ZScoreMasked);
    let mask = if masked { filled(&foreground(values, voxels), extent) } else { Vec::new() };
    for (number, channel) in values.chunks_mut(voxels).enumerate() {
        match of_channel(&input.normalise, number, "normalise")? {
            Normalise::Scale => scale(channel, input.clip_percentiles),
            Normalise::ZScore => z_score(channel, None),
            Normalise::ZScoreMasked => z_score(channel, Some(&mask)),
            Normalise::Ct => ct(channel, of_channel(&input.intensities, number, "intensities")?),
        }
    }
    Ok(())
}

/// The entry of a channel; a single entry applies to all.
fn of_channel<T: Copy>(list: &[T], channel: usize, key: &str) -> Result<T> {
    let found = list.get(if list.len() == 1 { 0 } else { channel });
    found.copied().ok_or_else(|| missing(channel, key))
}

/// Which voxels are nonzero in at least one channel.
pub(super) fn foreground(values: &[f32], voxels: usize) -> Vec<bool> {
    let mut any = vec![false; voxels];
    for channel in values.chunks_exact(voxels) {
        any.iter_mut().zip(channel).for_each(|(any, &value)| *any |= value != 0.0);
    }
    any
}

fn missing(channel: usize, key: &str) -> Error {
    let error = Error::new(format!("channel {channel} of the image has no entry")).at(format!("input.{key}"));
    error.help("give an entry for each channel, or one for all")
}

/// Clips, subtracts the mean and divides by the standard deviation.
fn ct(channel: &mut [f32], [low, high, mean, sd]: [f64; 4]) {
    let sd = sd.max(LEAST);
    channel.iter_mut().for_each(|value| *value = ((f64::from(*value).clamp(low, high) - mean) / sd) as f32);
}

/// Subtracts the mean and divides by the standard deviation, both of the voxels in the mask; voxels outside become 0.
fn z_score(channel: &mut [f32], mask: Option<&[bool]>) {
    let within = |voxel: usize| mask.is_none_or(|mask| mask[voxel]);
    let numbers = || channel.iter().enumerate().filter(|(voxel, _)| within(*voxel)).map(|(_, &value)| f64::from(value));
    let count = numbers().count().max(1) as f64;
    let mean = numbers().sum::<f64>() / count;
    let sd = (numbers().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt().max(LEAST);
    for (voxel, value) in channel.iter_mut().enumerate() {
        *value = if within(voxel) { ((f64::from(*value) - mean) / sd) as f32 } else { 0.0 };
    }
}

/// A mask with its holes filled: all voxels that no path outside it, along the axes, connects to the border.
fn filled(mask: &[bool], extent: [usize; 3]) -> Vec<bool> {
    let mut inside = vec![true; mask.len()];
    let at = |voxel: usize| [voxel / (extent[1] * extent[2]), voxel / extent[2] % extent[1], voxel % extent[2]];
    let on_border = |voxel: usize| (0..3).any(|axis| at(voxel)[axis] == 0 || at(voxel)[axis] + 1 == extent[axis]);
    let mut left: Vec<usize> = (0..mask.len()).filter(|&voxel| !mask[voxel] && on_border(voxel)).collect();
    left.iter().for_each(|&voxel| inside[voxel] = false);
    let steps = [extent[1] * extent[2], extent[2], 1];
    while let Some(voxel) = left.pop() {
        for axis in 0..3 {
            let before = (at(voxel)[axis] > 0).then(|| voxel - steps[axis]);
            let after = (at(voxel)[axis] + 1 < extent[axis]).then(|| voxel + steps[axis]);
            for next in before.into_iter().chain(after).filter(|&next| !mask[next]) {
                if inside[next] {
                    inside[next] = false;
                    left.push(next);
                }
            }
        }
    }
    inside
}

/// Shifts and scales to `[0, 1]` between two percentiles; values outside are clipped. A constant image becomes 0.
fn scale(values: &mut [f32], [low, high]: [f64; 2]) {
    let (low, high) = percentiles(values, low, high);
    let (range, scale) = if high > low { (high - low, 1.0 / (high - low)) } else { (0.0, 0.0) };
    if range.is_finite() && scale.is_finite() {
        values.iter_mut().for_each(|value| *value = ((*value - low) * scale).clamp(0.0, 1.0));
    } else {
        // At the ends of f32 the range or its inverse overflows, and infinity times 0 is not a number.
        let (low, range) = (f64::from(low), f64::from(high) - f64::from(low));
        values.iter_mut().for_each(|value| *value = ((f64::from(*value) - low) / range).clamp(0.0, 1.0) as f32);
    }
}

/// The values at two percentiles, interpolated between ranks as in NumPy; 0 and 100 are minimum and maximum.
pub(super) fn percentiles(values: &[f32], low: f64, high: f64) -> (f32, f32) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mut sorted = values.to_vec();
    let mut at = |percent: f64| {
        let rank = percent / 100.0 * (values.len() - 1) as f64;
        let (_, &mut lower, above) = sorted.select_nth_unstable_by(rank as usize, f32::total_cmp);
        let upper = above.iter().copied().fold(f32::INFINITY, f32::min);
        match rank.fract() {
            0.0 => lower,
            share if (upper - lower).is_finite() => lower + (upper - lower) * share as f32,
            share => (f64::from(lower) + (f64::from(upper) - f64::from(lower)) * share) as f32,
        }
    };
    (at(low), at(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_maps_the_percentiles_to_zero_and_one() {
        let mut values: Vec<f32> = (0..=100).map(|x| x as f32).collect();
        scale(&mut values, [10.0, 90.0]);
        assert_eq!((values[0], values[10], values[50], values[90], values[100]), (0.0, 0.0, 0.5, 1.0, 1.0));
        assert_eq!(percentiles(&[4.0, 1.0, 2.0], 25.0, 100.0), (1.5, 4.0));
        let mut flat = vec![3.0; 4];
        scale(&mut flat, [0.0, 100.0]);
        assert_eq!(flat, [0.0; 4]);
    }

    #[test]
    fn normalising_the_largest_and_smallest_numbers_gives_numbers() {
        let mut large = vec![-3e38_f32, 0.0, 3e38];
        scale(&mut large, [0.0, 100.0]);
        assert_eq!(large, [0.0, 0.5, 1.0]);
        let mut small = vec![0.0_f32, 1e-45, 2.8e-45];
        scale(&mut small, [0.0, 100.0]);
        assert_eq!(small, [0.0, 0.5, 1.0]);
        let mut between = vec![-3e38_f32, 3e38];
        scale(&mut between, [25.0, 75.0]);
        assert_eq!(between, [0.0, 1.0]);
    }

    /// The folder of shared data: `SEGCAL_DATA`, or `shared` next to the project.
    fn goldens() -> Option<std::path::PathBuf> {
        let shared = match std::env::var_os("SEGCAL_DATA") {
            Some(folder) => std::path::PathBuf::from(folder),
            None => std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        };
        Some(shared.join("goldens/peers2/h-preprocessing/data.npz")).filter(|file| file.is_file())
    }

    fn prepared(values: Vec<f32>, shape: &[usize], keys: &[&str]) -> (Vec<usize>, Vec<f32>) {
        let grid = segcal_data::Grid::unknown(shape.try_into().unwrap());
        let input = crate::settings::Settings::with(keys).unwrap().input;
        let ready = crate::prepared::prepare_volume(segcal_data::Volume::new(values, 1, grid), &input).unwrap();
        (ready.image.grid.extent.to_vec(), ready.image.values().to_vec())
    }

    /// Numbers of nnU-Net: the crop, both z-scores, and CT by all foreground voxels of three cases.
    #[test]
    fn the_numbers_of_nnunet() {
        let Some(data) = goldens() else { return };
        let read = |key: &str| segcal_data::npy::read::<f32>(&data, key).unwrap();
        let ct = "input.intensities=[[-1024,3071,-44.09365558912387,384.3505977148685]]";
        let ct = ["input.normalise=[\"ct\"]", ct];
        let plain = ["input.crop=true", "input.normalise=[\"z-score\"]"];
        let masked = ["input.crop=true", "input.normalise=[\"z-score-masked\"]"];
        for (image, expected, keys) in [
            ("zscore__image", "zscore__plain", &plain),
            ("zscore__image", "zscore__masked", &masked),
            ("ct__image_0", "ct__normalised_0", &ct),
            ("ct__image_1", "ct__normalised_1", &ct),
            ("ct__image_2", "ct__normalised_2", &ct),
        ] {
            let (image, wanted) = (read(image), read(expected));
            let (shape, values) = prepared(image.data, &image.shape, keys);
            assert_eq!(shape, wanted.shape, "{expected}");
            let worst = values.iter().zip(&wanted.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-6, "{expected}: {worst}");
        }
        assert_eq!(prepared(vec![7.0; 8], &[2, 2, 2], &plain).1, [0.0; 8]);
    }

    #[test]
    fn each_channel_has_its_own_entry_or_all_have_one() {
        let keys = ["input.normalise=[\"scale\",\"ct\"]", "input.intensities=[[0,1,0,1],[0,10,5,5]]"];
        let input = crate::settings::Settings::with(&keys).unwrap().input;
        let mut values = vec![0.0, 4.0, 0.0, 20.0];
        normalise(&mut values, [1, 1, 2], &input).unwrap();
        assert_eq!(values, [0.0, 1.0, -1.0, 1.0]);
        let error = normalise(&mut [0.0; 3], [1, 1, 1], &input).unwrap_err().to_string();
        assert!(error.contains("input.normalise") && error.contains("channel 2"), "{error}");
        let refused = crate::settings::Settings::with(&["input.normalise=[\"ct\"]"]).unwrap_err().to_string();
        assert!(refused.contains("input.intensities") && refused.contains("plan"), "{refused}");
    }
}
