//! Random augmentation of training samples: the keys of `augment`, and the presets.

use schemars::JsonSchema;
use segcal_core::{Context, Error, Result};
use segcal_data::config::{self, from_table};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::samples::{Samples, SliceAxis};

/// Random augmentation of training samples. Axes are those of the file, as in `samples.axis`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(try_from = "Table", into = "Table")]
#[schemars(!try_from, !into, deny_unknown_fields)]
pub struct Augment {
    /// The preset that supplies the values that are not given.
    pub preset: Preset,
    /// Axes along which a sample is mirrored, each with probability 1/2.
    pub flips: Vec<SliceAxis>,
    /// Axes about which a sample is rotated by 0, 90, 180 or 270 degrees, all equally likely.
    pub turns: Vec<SliceAxis>,
    /// Operators applied before flips and turns, each with its own probability. None if no preset and no key is given.
    #[schemars(flatten)]
    pub operators: Option<Operators>,
}

/// A named set of values.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// No augmentation.
    #[default]
    None,
    /// Mirroring, small rotations, scaling, brightness, contrast, noise and gamma.
    Light,
    /// The probabilities and ranges of nnU-Net v2's trainer.
    Nnunet,
}

/// The operators in the order in which they are applied; flips and turns follow.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Operators {
    /// Axes along which rotation, scaling and elastic deformation move voxels, and along which resolution is reduced.
    pub axes: Vec<SliceAxis>,
    /// Rotation in the plane of each pair of axes, each by its own angle, in degrees of the voxel grid.
    pub rotation: Chance,
    /// Factor of the extent that a sample covers: above 1, structures become smaller.
    pub scaling: Chance,
    /// Smooth deformation: control points move by normal random numbers; their standard deviation in voxels is drawn.
    pub elastic: Elastic,
    /// Normal noise whose standard deviation is drawn from the range, once for all channels.
    pub noise: Channels,
    /// Gaussian blur whose standard deviation in voxels is drawn from the range for each axis; truncated at twice that.
    pub blur: Channels,
    /// Multiplies intensities by a factor, below or above 1 with equal probability.
    pub brightness: Channels,
    /// Multiplies distances from the mean by a factor, below or above 1 equally often; clips to the previous range.
    pub contrast: Channels,
    /// Multiplies the resolution along the axes by a factor: nearest voxels, then linear interpolation between them.
    pub low_resolution: Channels,
    /// As `gamma`, but on the inverted image.
    pub gamma_inverted: Channels,
    /// Raises intensities, as fractions of their range, to a power, below or above 1 with equal probability; mean and
    /// standard deviation are kept.
    pub gamma: Channels,
    /// Fills boxes with their channel's mean; each side is a fraction of the extent, drawn from the range.
    pub cutouts: Cutouts,
}

/// Probability and strength.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// Probability for a sample.
    pub p: f64,
    /// Bounds between which the number is drawn uniformly.
    pub range: [f64; 2],
}

/// Probability, per sample and per channel, and strength.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// Probability for a sample.
    pub p: f64,
    /// Probability for each channel of a selected sample.
    pub per_channel: f64,
    /// Bounds between which the number is drawn uniformly, for each channel.
    pub range: [f64; 2],
}

/// Deformation by control points.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Elastic {
    /// Probability for a sample.
    pub p: f64,
    /// Standard deviation of a control point's displacement along an axis, in voxels.
    pub range: [f64; 2],
    /// Distance between neighbouring control points, in voxels.
    pub spacing: f64,
}

/// Boxes that are filled with the mean.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Cutouts {
    /// Probability for a sample.
    pub p: f64,
    /// Size as a fraction of the sample's extent along each axis.
    pub range: [f64; 2],
    /// Maximum number of boxes per sample.
    pub most: usize,
}

/// Ratio of extents above which nnU-Net treats a plane as non-square and keeps rotations small.
const OBLONG: f64 = 1.5;
/// Ratio of extents above which nnU-Net treats a patch as anisotropic: voxels then move only within the slice plane.
const ANISOTROPIC: f64 = 3.0;

impl Operators {
    /// The operators with a short description of each, as shown by `segcal list augmentations`.
    pub const DOCS: [(&str, &str); 11] = [
        ("rotation", "angle in degrees for each pair of augment.axes; images linear, labels nearest"),
        ("scaling", "factor of the extent that a sample covers: above 1, structures become smaller"),
        ("elastic", "cubic B-spline, control points `spacing` voxels apart; standard deviation of their displacement"),
        ("noise", "standard deviation of Gaussian noise, the same for all channels"),
        ("blur", "standard deviation of a Gaussian along each axis, in voxels, truncated at twice that"),
        ("brightness", "factor of the intensities; below or above 1 with equal probability"),
        ("contrast", "factor of the distance from the mean, equally often below and above 1; clipped to the old range"),
        ("low_resolution", "factor of the resolution along augment.axes: nearest voxels, then linear interpolation"),
        ("gamma_inverted", "as gamma, on the inverted image"),
        ("gamma", "power between minimum and maximum, equally often below and above 1; keeps mean and deviation"),
        ("cutouts", "size of up to `most` boxes, as a fraction of each extent, that are filled with the channel mean"),
    ];

    /// The operators of a preset for these samples. nnU-Net's rules: rotation by up to 30 degrees in 3-D, by any angle
    /// in 2-D, by up to 15 degrees if one side of the plane is more than 1.5 times the other; if the largest extent of
    /// a patch is more than three times the smallest, voxels move only in the plane perpendicular to the latter's axis.
    pub fn of(preset: Preset, samples: &Samples) -> Self {
        let axes = moving(samples);
        let angle = match (&axes[..], preset) {
            ([_, _, _], Preset::None | Preset::Nnunet) => 30.0,
            (_, Preset::Light) => 15.0,
            (plane, _) if samples.dims() == 2 && ratio(samples, plane) > OBLONG => 15.0,
            _ => 180.0,
        };
        let p = |light: f64, nnunet: f64| match preset {
            Preset::None => 0.0,
            Preset::Light => light,
            Preset::Nnunet => nnunet,
        };
        let range = |light: [f64; 2], nnunet: [f64; 2]| if preset == Preset::Light { light } else { nnunet };
        let all = |p: f64, range: [f64; 2]| Channels { p, per_channel: 1.0, range };
        let half = |p: f64, range: [f64; 2]| Channels { p, per_channel: 0.5, range };
        Self {
            axes,
            rotation: Chance { p: p(0.2, 0.2), range: [-angle, angle] },
            scaling: Chance { p: p(0.2, 0.2), range: range([0.85, 1.15], [0.7, 1.4]) },
            elastic: Elastic { p: 0.0, range: [0.0, 4.0], spacing: 16.0 },
            noise: all(p(0.1, 0.1), range([0.0, 0.05], [0.0, 0.1])),
            blur: half(p(0.0, 0.2), [0.5, 1.0]),
            brightness: all(p(0.15, 0.15), range([0.9, 1.1], [0.75, 1.25])),
            contrast: all(p(0.15, 0.15), range([0.9, 1.1], [0.75, 1.25])),
            low_resolution: half(p(0.0, 0.25), [0.5, 1.0]),
            gamma_inverted: all(p(0.0, 0.1), [0.7, 1.5]),
            gamma: all(p(0.15, 0.3), range([0.85, 1.2], [0.7, 1.5])),
            cutouts: Cutouts { p: 0.0, range: [0.1, 0.3], most: 3 },
        }
    }

    fn check(&self) -> Result<()> {
        let channels = |key, of: &Channels, least: f64| {
            share(key, "per_channel", of.per_channel)?;
            draw(key, of.p, of.range, [least, f64::MAX])
        };
        draw("rotation", self.rotation.p, self.rotation.range, [-360.0, 360.0])?;
        draw("scaling", self.scaling.p, self.scaling.range, [f64::MIN_POSITIVE, f64::MAX])?;
        draw("elastic", self.elastic.p, self.elastic.range, [0.0, f64::MAX])?;
        if !(self.elastic.spacing >= 1.0 && self.elastic.spacing.is_finite()) {
            let error = Error::new(format!("{} is not a distance of at least 1 voxel", self.elastic.spacing));
            return Err(error.at("augment.elastic.spacing"));
        }
        channels("noise", &self.noise, 0.0)?;
        channels("blur", &self.blur, 0.0)?;
        channels("brightness", &self.brightness, 0.0)?;
        channels("contrast", &self.contrast, 0.0)?;
        channels("gamma_inverted", &self.gamma_inverted, f64::MIN_POSITIVE)?;
        channels("gamma", &self.gamma, f64::MIN_POSITIVE)?;
        share("low_resolution", "per_channel", self.low_resolution.per_channel)?;
        draw("low_resolution", self.low_resolution.p, self.low_resolution.range, [f64::MIN_POSITIVE, 1.0])?;
        draw("cutouts", self.cutouts.p, self.cutouts.range, [0.0, 1.0])?;
        super::samples::positive("augment.cutouts.most", self.cutouts.most)
    }
}

/// The axes along which voxels may move.
fn moving(samples: &Samples) -> Vec<SliceAxis> {
    let all = [SliceAxis::Z, SliceAxis::Y, SliceAxis::X];
    let size = samples.block_size();
    let across = if samples.dims() == 2 {
        Some(samples.axis)
    } else {
        let thin = all.into_iter().min_by_key(|axis| size[axis.index()]);
        thin.filter(|_| ratio(samples, &all) > ANISOTROPIC)
    };
    all.into_iter().filter(|axis| Some(*axis) != across).collect()
}

/// Ratio of the largest to the smallest extent along some axes.
fn ratio(samples: &Samples, axes: &[SliceAxis]) -> f64 {
    let extents = axes.iter().map(|axis| samples.block_size()[axis.index()]);
    extents.clone().max().unwrap_or(1) as f64 / extents.min().unwrap_or(1) as f64
}

fn share(operator: &str, key: &str, value: f64) -> Result<()> {
    let error =
        || Error::new(format!("{value} is not a probability between 0 and 1")).at(format!("augment.{operator}.{key}"));
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(error()) }
}

fn draw(operator: &str, p: f64, [low, high]: [f64; 2], [least, most]: [f64; 2]) -> Result<()> {
    share(operator, "p", p)?;
    if least <= low && low <= high && high <= most {
        return Ok(());
    }
    let bounds = match (least, most) {
        (f64::MIN_POSITIVE, f64::MAX) => "above 0".into(),
        (least, f64::MAX) => format!("of at least {least}"),
        (f64::MIN_POSITIVE, most) => format!("above 0 and up to {most}"),
        (least, most) => format!("from {least} to {most}"),
    };
    let error = Error::new(format!("[{low}, {high}] are not two numbers {bounds}, the lower first"));
    Err(error.at(format!("augment.{operator}.range")))
}

impl Augment {
    /// Whether samples stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// A preset for these samples.
    fn of(preset: Preset, samples: &Samples) -> Self {
        let all = [SliceAxis::Z, SliceAxis::Y, SliceAxis::X];
        let flips = all.into_iter().filter(|axis| samples.dims() == 3 || *axis != samples.axis);
        let flips = if preset == Preset::None { Vec::new() } else { flips.collect() };
        Self { preset, flips, turns: Vec::new(), operators: Some(Operators::of(preset, samples)) }
    }

    pub(super) fn check(&self, samples: &Samples) -> Result<()> {
        let size = samples.block_size();
        for axis in &self.turns {
            let [first, second] = axis.others().map(|other| size[other]);
            if first != second {
                let problem =
                    format!("samples of {first} by {second} voxels across {} allow no quarter turns", axis.as_str());
                let error = Error::new(problem).at("augment.turns");
                return Err(error.help("make samples.size equal along both axes, or leave the axis out"));
            }
        }
        self.operators.as_ref().map_or(Ok(()), Operators::check)
    }
}

/// Overrides the preset with the given keys, so that the resolved config shows every probability and range.
///
/// # Errors
/// A key is unknown or has a value of the wrong type.
pub(super) fn resolve(table: &mut Table) -> Result<()> {
    let given = match table.get("augment") {
        Some(Value::Table(given)) => given.clone(),
        _ => return Ok(()),
    };
    let preset = given.get("preset").cloned().unwrap_or_else(|| "none".into());
    let preset: Preset = preset.try_into().map_err(|_| unknown(&given["preset"]))?;
    let plain = given.keys().all(|key| ["preset", "flips", "turns"].contains(&key.as_str()));
    let samples = table.get("samples").cloned().unwrap_or_else(|| Table::new().into());
    let Value::Table(samples) = samples else { return Ok(()) };
    let samples: Samples = from_table(samples).at("samples")?;
    samples.check()?;
    let mut base = Augment::of(preset, &samples);
    if preset == Preset::None && plain {
        base.operators = None;
    }
    let mut base = Table::from(base);
    base.insert("preset".into(), "none".into());
    config::lay(&mut base, given, "augment", &[])?;
    table.insert("augment".into(), base.into());
    Ok(())
}

fn unknown(word: &Value) -> Error {
    Error::new(format!("unknown preset {word}")).at("augment").help("none, light or nnunet")
}

impl From<Augment> for Table {
    fn from(augment: Augment) -> Self {
        let Augment { preset, flips, turns, operators } = augment;
        let value = |axes: Vec<SliceAxis>| Value::try_from(axes).expect("axes are words");
        let operators = operators.map(|operators| Self::try_from(operators).expect("operators are a table"));
        let mut table = Self::from_iter([("flips".into(), value(flips)), ("turns".into(), value(turns))]);
        if preset != Preset::None {
            table.insert("preset".into(), Value::try_from(preset).expect("a preset is a word"));
        }
        table.extend(operators.unwrap_or_default());
        table
    }
}

impl TryFrom<Table> for Augment {
    type Error = Error;

    fn try_from(mut table: Table) -> Result<Self> {
        let mut axes = |key: &str| -> Result<Vec<SliceAxis>> {
            let given = table.remove(key).map(|axes| from_value(axes).at(key)).transpose()?;
            Ok(given.unwrap_or_default())
        };
        let (flips, turns) = (axes("flips")?, axes("turns")?);
        let preset = table.remove("preset").map(|word| word.clone().try_into().map_err(|_| unknown(&word)));
        let operators = if table.is_empty() { None } else { Some(from_table(table)?) };
        Ok(Self { preset: preset.transpose()?.unwrap_or_default(), flips, turns, operators })
    }
}

fn from_value<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    value.try_into().map_err(|error: toml::de::Error| Error::new(error.to_string().trim().replace('\n', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn augment(keys: &[&str]) -> Augment {
        Settings::with(keys).unwrap().augment
    }

    #[test]
    fn a_word_is_a_preset_and_single_keys_differ_from_it() {
        assert!(augment(&["augment=none"]).is_none());
        let whole = augment(&["augment=nnunet"]);
        assert_eq!(whole.flips, [SliceAxis::Y, SliceAxis::X]);
        let own = augment(&["augment=nnunet", "augment.rotation.p=1", "augment.flips=[]"]);
        let mut operators = whole.operators.clone().unwrap();
        operators.rotation.p = 1.0;
        assert_eq!(own, Augment { flips: Vec::new(), operators: Some(operators), ..whole });
        // A word replaces everything given before; a single key does not need one.
        assert!(augment(&["augment.noise.p=0.5", "augment=none"]).is_none());
        let noise = augment(&["augment.noise.p=0.5"]).operators.unwrap();
        assert_eq!((noise.noise.p, noise.gamma.p, noise.noise.range), (0.5, 0.0, [0.0, 0.1]));
        // Flips and turns without operators are written as before.
        let flips = Settings::with(&["augment.flips=[\"x\"]"]).unwrap().to_table()["augment"].to_string();
        assert_eq!(flips, "{ flips = [\"x\"], turns = [] }");
    }

    #[test]
    fn what_is_stored_says_every_number_and_is_read_again() {
        for keys in [&["augment=nnunet"][..], &["augment=light", "augment.cutouts.p=0.2"], &["augment.gamma.p=0.1"]] {
            let settings = Settings::with(keys).unwrap();
            let table = settings.to_table();
            assert_eq!(table["augment"]["scaling"]["range"].as_array().unwrap().len(), 2);
            assert_eq!(Settings::from_stored(table.to_string().parse().unwrap()).unwrap(), settings);
        }
    }

    #[test]
    fn angles_and_axes_follow_the_shape_of_the_sample() {
        let of = |size: &str| {
            let operators = augment(&["augment=nnunet", "samples.kind=patches", size]).operators.unwrap();
            (operators.axes, operators.rotation.range[1])
        };
        let [z, y, x] = [SliceAxis::Z, SliceAxis::Y, SliceAxis::X];
        assert_eq!(of("samples.size=[64,64]"), (vec![y, x], 180.0));
        assert_eq!(of("samples.size=[96,64]"), (vec![y, x], 180.0));
        assert_eq!(of("samples.size=[97,64]"), (vec![y, x], 15.0));
        assert_eq!(of("samples.size=[32,64,96]"), (vec![z, y, x], 30.0));
        assert_eq!(of("samples.size=[31,64,96]"), (vec![y, x], 180.0));
        assert_eq!(of("samples.size=[64,96,24]"), (vec![z, y], 180.0));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |keys: &[&str]| Settings::with(keys).unwrap_err().to_string();
        for (keys, words) in [
            (&["augment=nnunett"][..], ["augment", "light"]),
            (&["augment.rotatoin.p=1"], ["augment.rotatoin", "did you mean rotation?"]),
            (&["augment.rotation.q=1"], ["augment.rotation.q", "did you mean"]),
            (&["augment.rotation.p=2"], ["augment.rotation.p", "2 is not a probability"]),
            (&["augment.scaling.range=[0,1]"], ["augment.scaling.range", "above 0"]),
            (&["augment.gamma.range=[1.5,0.7]"], ["augment.gamma.range", "the lower first"]),
            (&["augment.low_resolution.range=[0.5,2]"], ["augment.low_resolution.range", "up to 1"]),
            (&["augment.axes=[\"q\"]"], ["axes", "q"]),
            (&["augment.cutouts.most=0"], ["augment.cutouts.most", "positive"]),
        ] {
            let message = message(keys);
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }
}
