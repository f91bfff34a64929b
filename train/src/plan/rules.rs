//! Decisions that follow from a fingerprint only: voxel size, intensities, dimensions, the largest patch.

use segcal_data::resample;

use super::fingerprint::{Fingerprint, percentile};
use super::text::Decision;

/// Ratio of voxel sizes above which slices are thick.
const ANISOTROPIC: f64 = 3.0;
/// Median fraction of voxels kept by the crop below which intensities are normalised only inside the outline.
const CUT_MUCH: f64 = 0.75;
/// Number of voxels along an axis below which there is no third dimension to learn from.
const FLAT: f64 = 8.0;

/// The grid that images are resampled to, and what the network sees of it.
pub(super) struct Frame {
    /// Voxel size along `[d, h, w]` in mm; 1 if images have none.
    pub(super) spacing: [f64; 3],
    /// Median extent of the images in such voxels.
    pub(super) extent: [f64; 3],
    /// The axis that the network does not see, if it is two-dimensional.
    pub(super) across: Option<usize>,
    /// The decisions that led to it.
    pub(super) decisions: Vec<Decision>,
}

impl Frame {
    /// Follows the rules of `docs/plan.md`.
    pub(super) fn of(seen: &Fingerprint) -> Self {
        let (spacing, why) = spacing(seen);
        let sizes = sizes(seen, spacing);
        let extent = std::array::from_fn(|axis| percentile(sizes.iter().map(|size| size[axis] as f64), 50.0));
        let (across, flat) = across(spacing, extent);
        let cut = percentile(seen.kept.iter().copied(), 50.0);
        let mut decisions = vec![Decision::new(
            "input.crop",
            true,
            format!(
                "images are cropped to their nonzero voxels: the median case keeps {:.0} % of its voxels",
                100.0 * cut
            ),
        )];
        if seen.spacings.is_some() {
            decisions.push(Decision::new("input.spacing", spacing.map(rounded).to_vec(), why));
        }
        decisions.extend(intensities(seen, cut));
        decisions.push(Decision::new("samples.kind", "patches", flat));
        if let Some(axis) = across {
            decisions.push(Decision::new(
                "samples.axis",
                ["z", "y", "x"][axis],
                "the axis perpendicular to the planes",
            ));
        }
        Self { spacing, extent, across, decisions }
    }

    /// The axes that the network sees.
    pub(super) fn axes(&self) -> Vec<usize> {
        (0..3).filter(|&axis| Some(axis) != self.across).collect()
    }

    /// Voxel sizes along these axes.
    pub(super) fn seen_spacing(&self) -> Vec<f64> {
        self.axes().into_iter().map(|axis| self.spacing[axis]).collect()
    }

    /// The largest useful patch: of equal lengths in mm, as many voxels as 256 in each of three dimensions or 2048 in
    /// each of two, but no more than the median image has.
    pub(super) fn largest_patch(&self) -> Vec<usize> {
        let spacing = self.seen_spacing();
        let side = if spacing.len() == 3 { 256.0 } else { 2048.0 };
        let mean = spacing.iter().product::<f64>().powf(1.0 / spacing.len() as f64);
        let along = |(axis, spacing): (usize, &f64)| {
            (side * mean / spacing).round().min(self.extent[axis].floor()).max(1.0) as usize
        };
        self.axes().into_iter().zip(&spacing).map(along).collect()
    }
}

/// Rounds to six significant digits.
fn rounded(mm: f64) -> f64 {
    format!("{mm:.5e}").parse().unwrap_or(mm)
}

/// The extents of the cases in voxels of this size.
fn sizes(seen: &Fingerprint, spacing: [f64; 3]) -> Vec<[usize; 3]> {
    match &seen.spacings {
        Some(own) => seen.extents.iter().zip(own).map(|(&extent, &own)| resample::size(extent, own, spacing)).collect(),
        None => seen.extents.clone(),
    }
}

/// The voxel size that images are resampled to, and why.
fn spacing(seen: &Fingerprint) -> ([f64; 3], String) {
    let Some(spacings) = &seen.spacings else { return ([1.0; 3], String::new()) };
    let of = |axis: usize, percent: f64| percentile(spacings.iter().map(|spacing| spacing[axis]), percent);
    let mut target: [f64; 3] = std::array::from_fn(|axis| of(axis, 50.0));
    let coarse = (0..3).max_by(|&a, &b| target[a].total_cmp(&target[b]).then(b.cmp(&a))).unwrap_or(0);
    let others = (0..3).filter(|&axis| axis != coarse);
    let finest_other = others.clone().map(|axis| target[axis]).fold(0.0, f64::max);
    let voxels = |axis: usize| percentile(seen.extents.iter().map(|extent| extent[axis] as f64), 50.0);
    let fewest_other = others.map(voxels).fold(f64::INFINITY, f64::min);
    if target[coarse] > ANISOTROPIC * finest_other && voxels(coarse) * ANISOTROPIC < fewest_other {
        target[coarse] = of(coarse, 10.0).max(finest_other);
        let axis = ["z", "y", "x"][coarse];
        return (
            target,
            format!(
                "medians; along {axis}, whose voxels are long and few, the 10th percentile, so that no case loses slices to interpolation"
            ),
        );
    }
    let smallest = (0..3).map(|axis| of(axis, 0.0));
    let same = smallest.zip(0..3).all(|(smallest, axis)| of(axis, 100.0) <= 1.001 * smallest);
    (target, if same { "all images have this voxel size".into() } else { "medians of the training images".into() })
}

/// The intensity normalisation, and why.
fn intensities(seen: &Fingerprint, cut: f64) -> Vec<Decision> {
    let ct = |name: &String| name.eq_ignore_ascii_case("ct");
    let other = if cut < CUT_MUCH { "z-score-masked" } else { "z-score" };
    let names: Vec<&str> = (0..seen.channel_count)
        .map(|channel| if seen.channels.get(channel).is_some_and(ct) { "ct" } else { other })
        .collect();
    let any_ct = names.contains(&"ct");
    let why = match (any_ct, cut < CUT_MUCH) {
        (true, _) => {
            "CT numbers are quantitative: clipped and scaled over the whole data set, other channels over their image"
        }
        (false, true) => {
            "each image separately, and only inside the outline: the crop removes more than a quarter of the voxels"
        }
        (false, false) => "each image separately: the channels are not CT",
    };
    let mut decisions = vec![Decision::new("input.normalise", names, why)];
    if any_ct {
        let rows: Vec<toml::Value> = seen.intensities.iter().map(|row| row.to_vec().into()).collect();
        let why = "percentiles 0.5 and 99.5, mean and standard deviation of the foreground voxels, for each channel";
        decisions.push(Decision::new("input.intensities", rows, why));
    }
    decisions
}

/// The axis that is left out, if any, and why.
fn across(spacing: [f64; 3], extent: [f64; 3]) -> (Option<usize>, String) {
    let thinnest = (0..3).min_by(|&a, &b| extent[a].total_cmp(&extent[b])).unwrap_or(0);
    if extent[thinnest] < FLAT {
        let why = format!("in two dimensions: the median image has {} voxels along one axis", extent[thinnest]);
        return (Some(thinnest), why);
    }
    match resample::coarse_axis(spacing, spacing) {
        Some(axis) => {
            let why = format!(
                "in two dimensions: voxels are more than {ANISOTROPIC} times as long along one axis as along another"
            );
            (Some(axis), why)
        }
        None => (None, "in three dimensions: voxels are about as long along each axis".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(spacing: [f64; 3], extent: [usize; 3], channel: &str, kept: f64) -> Fingerprint {
        Fingerprint {
            channels: vec![channel.into()],
            channel_count: 1,
            classes: vec!["background".into(), "organ".into()],
            ignored: None,
            validation: 1,
            spacings: Some(vec![spacing; 3]),
            extents: vec![extent; 3],
            kept: vec![kept; 3],
            intensities: vec![[-100.0, 200.0, 50.0, 30.0]],
            voxels: vec![900, 100],
            holding: vec![3, 3],
        }
    }

    fn value(frame: &Frame, key: &str) -> String {
        frame.decisions.iter().find(|decision| decision.key == key).map_or(String::new(), |d| d.value.to_string())
    }

    #[test]
    fn even_voxels_are_seen_in_three_dimensions() {
        let frame = Frame::of(&seen([1.0; 3], [36, 50, 35], "MRI", 1.0));
        assert_eq!((frame.across, frame.largest_patch()), (None, vec![36, 50, 35]));
        assert_eq!(value(&frame, "input.normalise"), "[\"z-score\"]");
        assert_eq!(value(&frame, "input.spacing"), "[1.0, 1.0, 1.0]");
    }

    #[test]
    fn thick_slices_take_the_tenth_percentile_and_two_dimensions() {
        let mut cases = seen([5.0, 0.8, 0.8], [20, 320, 300], "CT", 1.0);
        cases.spacings.as_mut().unwrap()[0] = [4.0, 0.8, 0.8];
        let frame = Frame::of(&cases);
        // Ranks 0, 1, 2: the tenth percentile lies a fifth of the way from 4 to 5.
        assert!((frame.spacing[0] - 4.2).abs() < 1e-12 && frame.across == Some(0));
        assert_eq!(frame.largest_patch(), [320, 300]);
        assert_eq!(
            (value(&frame, "samples.axis"), value(&frame, "input.normalise")),
            ("\"z\"".into(), "[\"ct\"]".into())
        );
        assert_eq!(value(&frame, "input.intensities"), "[[-100.0, 200.0, 50.0, 30.0]]");
    }

    #[test]
    fn pictures_have_no_voxel_size_and_a_large_cut_leaves_a_mask() {
        let frame = Frame::of(&Fingerprint { spacings: None, ..seen([1.0; 3], [1, 256, 200], "grey", 0.5) });
        assert_eq!((frame.across, value(&frame, "input.spacing")), (Some(0), String::new()));
        assert_eq!(value(&frame, "input.normalise"), "[\"z-score-masked\"]");
    }
}
