//! How training samples are changed at random: the keys of `augment`, and the presets.

use schemars::JsonSchema;
use segcal_core::{Context, Error, Result};
use segcal_data::config::{self, from_table};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::samples::{Samples, SliceAxis};

/// How training samples are changed at random. Each axis is one of the file, as in `samples.axis`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(try_from = "Table", into = "Table")]
pub struct Augment {
    /// Where the values come from that are not given.
    pub preset: Preset,
    /// Axes along which a sample is mirrored, each with probability 1/2.
    pub flips: Vec<SliceAxis>,
    /// Axes about which a sample is turned by 0, 90, 180 or 270 degrees, all alike.
    pub turns: Vec<SliceAxis>,
    /// What happens before: each operator by its own probability. None where no preset is named and no key given.
    pub operators: Option<Operators>,
}

/// A set of values, by one word.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Nothing happens.
    #[default]
    None,
    /// Mirroring, small rotations, scaling, brightness, contrast, noise and gamma.
    Light,
    /// The probabilities and ranges of nnU-Net v2's trainer.
    Nnunet,
}

/// The operators in the order in which they are applied; then come flips and turns.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Operators {
    /// Axes along which voxels are moved by rotation, scaling and elastic deformation, and which lose resolution.
    pub axes: Vec<SliceAxis>,
    /// Rotation in each plane of two of the axes by an angle of its own, in degrees of the voxel grid.
    pub rotation: Chance,
    /// The sample shows that factor of its extent: above 1, structures become smaller.
    pub scaling: Chance,
    /// Smooth deformation: control points move by normal numbers of a standard deviation from the range, in voxels.
    pub elastic: Elastic,
    /// Normal noise of a standard deviation from the range, the same for all channels.
    pub noise: Channels,
    /// Gaussian blur with a standard deviation from the range for each axis, in voxels, cut off at twice that.
    pub blur: Channels,
    /// Intensities times a factor: below or above 1 with equal probability.
    pub brightness: Channels,
    /// Distances from the mean times a factor, below or above 1 with equal probability; clipped to the range before.
    pub contrast: Channels,
    /// Resolution times that factor along the axes: the voxels between are left out and interpolated linearly.
    pub low_resolution: Channels,
    /// As `gamma`, of the inverted image.
    pub gamma_inverted: Channels,
    /// Intensities between minimum and maximum to a power, below or above 1 with equal probability; mean and standard
    /// deviation stay.
    pub gamma: Channels,
    /// Boxes of a share of each extent from the range become their channel's mean.
    pub cutouts: Cutouts,
}

/// How often, and how much.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// Probability for a sample.
    pub p: f64,
    /// The number is drawn uniformly between these.
    pub range: [f64; 2],
}

/// How often, in how many of the channels, and how much.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// Probability for a sample.
    pub p: f64,
    /// Then the probability for each of its channels.
    pub per_channel: f64,
    /// The number is drawn uniformly between these, for each channel.
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
    /// Voxels from a control point to the next.
    pub spacing: f64,
}

/// Boxes that are blanked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Cutouts {
    /// Probability for a sample.
    pub p: f64,
    /// Share of the sample's extent along each axis.
    pub range: [f64; 2],
    /// The most boxes of a sample.
    pub most: usize,
}

/// Ratio of a sample's extents from which on a plane is no square to nnU-Net, and rotations are small.
const OBLONG: f64 = 1.5;
/// Ratio of extents from which on a patch is thick slices to nnU-Net, which move in their plane alone.
const ANISOTROPIC: f64 = 3.0;

impl Operators {
    /// The operators with a short account of each: what `segcal list augmentations` shows.
    pub const DOCS: [(&str, &str); 11] = [
        ("rotation", "angle in degrees, in each plane of two of augment.axes; image linear, labels nearest"),
        ("scaling", "factor of the extent that is shown: above 1, structures become smaller"),
        ("elastic", "cubic B-spline of control points `spacing` voxels apart; standard deviation in voxels"),
        ("noise", "standard deviation of normal noise, one for all channels"),
        ("blur", "standard deviation of a Gaussian along each axis, in voxels, cut off at twice that"),
        ("brightness", "factor of the intensities; below or above 1 with equal probability"),
        ("contrast", "factor of the distance from the mean, clipped to the range before; below or above 1 alike"),
        ("low_resolution", "factor of the resolution along augment.axes: nearest voxels, linear between"),
        ("gamma_inverted", "as gamma, of the inverted image"),
        ("gamma", "power of what lies between minimum and maximum; mean and deviation stay; below or above 1 alike"),
        ("cutouts", "share of each extent, of up to `most` boxes that become their channel's mean"),
    ];

    /// Those of a preset for such samples. nnU-Net's rules: rotation by up to 30 degrees in space, by any angle in a plane,
    /// by up to 15 degrees where one side of the plane is above 1.5 times the other; patches whose largest extent is above
    /// three times the smallest move in the plane across that alone.
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
            let error = Error::new(format!("{} is not a number of voxels from 1 on", self.elastic.spacing));
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

/// The largest extent along some axes over the smallest.
fn ratio(samples: &Samples, axes: &[SliceAxis]) -> f64 {
    let extents = axes.iter().map(|axis| samples.block_size()[axis.index()]);
    extents.clone().max().unwrap_or(1) as f64 / extents.min().unwrap_or(1) as f64
}

fn share(operator: &str, key: &str, value: f64) -> Result<()> {
    let error =
        || Error::new(format!("{value} is not a probability, from 0 to 1")).at(format!("augment.{operator}.{key}"));
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(error()) }
}

fn draw(operator: &str, p: f64, [low, high]: [f64; 2], [least, most]: [f64; 2]) -> Result<()> {
    share(operator, "p", p)?;
    if least <= low && low <= high && high <= most {
        return Ok(());
    }
    let bounds = match (least, most) {
        (f64::MIN_POSITIVE, f64::MAX) => "above 0".into(),
        (least, f64::MAX) => format!("from {least} on"),
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

    /// A preset for such samples.
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
                    format!("samples of {first} by {second} voxels across {} have no quarter turns", axis.as_str());
                let error = Error::new(problem).at("augment.turns");
                return Err(error.help("samples.size needs equal extents there, or leave the axis out"));
            }
        }
        self.operators.as_ref().map_or(Ok(()), Operators::check)
    }
}

/// Lays what is given over its preset, so that the resolved config shows every probability and range.
///
/// # Errors
/// A key is unknown or has a value of another type.
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
        // A word replaces all that was given before; a single key does not need one.
        assert!(augment(&["augment.noise.p=0.5", "augment=none"]).is_none());
        let noise = augment(&["augment.noise.p=0.5"]).operators.unwrap();
        assert_eq!((noise.noise.p, noise.gamma.p, noise.noise.range), (0.5, 0.0, [0.0, 0.1]));
        // Flips and turns alone are written as they always were.
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
