//! The training config: every key, its meaning and its default.

use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_data::config::{self, from_table};
use segcal_data::limits;
use segcal_models::Rule;
use serde::{Deserialize, Serialize};
use toml::Table;

/// A training run, resolved. Every key may be given in the file and overridden as `key=value`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of the data set (MSD, nnU-Net or PNG layout).
    pub data: PathBuf,
    /// Number of the split from 0, where the data set has several (nnU-Net's splits_final.json), or of the five random
    /// ones where it has none.
    pub fold: usize,
    /// Folder of the run; empty: `runs/CONFIG-LOSS`.
    pub out: PathBuf,
    /// Seed of weights, order and augmentation.
    pub seed: u64,
    /// Weights to begin with, a safetensors file under PyTorch's names; empty: fresh ones.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub init: PathBuf,
    /// Passes over the training cases.
    pub epochs: usize,
    /// Samples of one step.
    pub batch: usize,
    /// Epochs without a better validation DSC after which training stops before `epochs` are done; 0: never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub patience: usize,
    /// Largest Euclidean norm of all gradients together; 0 does not clip.
    pub clip_norm: f64,
    /// How images are prepared.
    pub input: Input,
    /// What the network is shown.
    pub samples: Samples,
    /// How training samples are changed at random.
    #[serde(default, skip_serializing_if = "Augment::is_none")]
    pub augment: Augment,
    /// The network: keys of `segcal list networks`.
    pub network: Table,
    /// The loss: `name`, `convention` and the parameters that `segcal list losses` shows.
    pub loss: Table,
    /// The optimiser: `name` (adam, sgd), `learning_rate` and its own keys.
    pub optimiser: Table,
    /// The learning rate over the epochs: `name` (constant, step, polynomial, cosine) and its own keys.
    pub schedule: Table,
}

/// How images are prepared.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Each volume is scaled to `[0, 1]` between these percentiles and clipped beyond; `[0, 100]` clips nothing.
    pub clip_percentiles: [f64; 2],
    /// Memory for prepared volumes, in GiB; those beyond are read again each time.
    pub cache_gib: f64,
}

/// What the network is shown.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// Whole slices, or patches at random places.
    pub kind: SampleKind,
    /// Axis across slices and two-dimensional patches.
    pub axis: SliceAxis,
    /// Extent in voxels: `[h, w]` of a slice (padded or cropped to it) or of a two-dimensional patch, `[d, h, w]` of a
    /// three-dimensional patch. The network has as many dimensions.
    pub size: Vec<usize>,
    /// Patches of each volume in one epoch.
    pub per_volume: usize,
    /// Share of the patches that are centred on a foreground voxel; at the border they reach beyond the volume, where image
    /// and label are 0.
    pub foreground_share: f64,
    /// Whether slices without any structure are left out of training.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_empty: bool,
}

/// How training samples are changed at random. Each axis is one of the file, as in `samples.axis`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Axes along which a sample is mirrored, each with probability 1/2.
    #[serde(default)]
    pub flips: Vec<SliceAxis>,
    /// Axes about which a sample is turned by 0, 90, 180 or 270 degrees, all alike.
    #[serde(default)]
    pub turns: Vec<SliceAxis>,
}

impl Augment {
    /// Whether samples stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self, samples: &Samples) -> Result<()> {
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
        Ok(())
    }
}

/// Whole slices, or patches at random places.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SampleKind {
    Slices,
    Patches,
}

impl SampleKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Slices => "slices",
            Self::Patches => "patches",
        }
    }
}

/// An axis of the file: z is the last of NIfTI's three.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SliceAxis {
    X,
    Y,
    Z,
}

impl SliceAxis {
    /// Its place in `[d, h, w]`.
    pub const fn index(self) -> usize {
        match self {
            Self::Z => 0,
            Self::Y => 1,
            Self::X => 2,
        }
    }

    /// The places of the other two, in order.
    pub const fn others(self) -> [usize; 2] {
        match self {
            Self::Z => [1, 2],
            Self::Y => [0, 2],
            Self::X => [0, 1],
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Y => "y",
            Self::Z => "z",
        }
    }
}

impl Samples {
    /// Extent of a sample along the volume's `[d, h, w]`; 1 across slices and two-dimensional patches.
    pub fn block_size(&self) -> [usize; 3] {
        match self.size[..] {
            [d, h, w] => [d, h, w],
            [a, b] => match self.axis {
                SliceAxis::Z => [1, a, b],
                SliceAxis::Y => [a, 1, b],
                SliceAxis::X => [a, b, 1],
            },
            _ => unreachable!("sizes are checked when the config is read"),
        }
    }

    /// Spatial dimensions of the network that sees such samples.
    pub fn dims(&self) -> usize {
        self.size.len()
    }

    fn check(&self) -> Result<()> {
        let fits = match self.kind {
            SampleKind::Slices => self.size.len() == 2,
            SampleKind::Patches => [2, 3].contains(&self.size.len()),
        };
        if !fits || self.size.contains(&0) {
            let problem = format!("{:?} are not the extents of {}", self.size, self.kind.as_str());
            return Err(Error::new(problem)
                .at("samples.size")
                .help("[h, w] for slices, [h, w] or [d, h, w] for patches, all above 0"));
        }
        limits::count(&self.size).at("samples.size")?;
        if !(0.0..=1.0).contains(&self.foreground_share) {
            return Err(
                Error::new(format!("{} is not in [0, 1]", self.foreground_share)).at("samples.foreground_share")
            );
        }
        if self.skip_empty && self.kind == SampleKind::Patches {
            let error = Error::new("is for slices").at("samples.skip_empty");
            return Err(error.help("patches are centred on structures by foreground_share"));
        }
        positive("samples.per_volume", self.per_volume)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let table = |text: &str| text.parse().expect("a default is valid TOML");
        Self {
            data: PathBuf::new(),
            fold: 0,
            out: PathBuf::new(),
            seed: 0,
            init: PathBuf::new(),
            epochs: 100,
            batch: 16,
            patience: 0,
            clip_norm: 0.0,
            input: Input { clip_percentiles: [0.0, 100.0], cache_gib: 4.0 },
            samples: Samples {
                kind: SampleKind::Slices,
                axis: SliceAxis::Z,
                size: vec![64, 64],
                per_volume: 4,
                foreground_share: 0.33,
                skip_empty: false,
            },
            augment: Augment::default(),
            network: table("name = \"unet\""),
            loss: table("name = \"ce\"\nconvention = \"authors\""),
            optimiser: table("name = \"adam\"\nlearning_rate = 1e-3"),
            schedule: table("name = \"constant\""),
        }
    }
}

/// Tables whose keys other lists own.
pub const OPEN: [&str; 4] = ["network", "loss", "optimiser", "schedule"];

impl Settings {
    /// Reads a config file with overrides and checks it.
    ///
    /// # Errors
    /// Those of [`config::layered`]; a value out of its range; no data folder.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let table = config::layered(&Self::known_keys(), Some(path), overrides, &OPEN)?;
        let mut settings: Self = from_table(table).at(path.display())?;
        if settings.out.as_os_str().is_empty() {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            settings.out = Path::new("runs").join(format!("{stem}-{}", settings.loss_name().at(path.display())?));
        }
        settings.expect_data().and_then(|()| settings.check()).at(path.display())?;
        Ok(settings)
    }

    /// The defaults with `key=value` overrides laid over them. Cases in memory need no `data`.
    ///
    /// ```
    /// let settings = segcal_train::settings::Settings::with(&["epochs=8", "network.base=4"])?;
    /// assert_eq!((settings.epochs, settings.batch), (8, 16));
    /// # Ok::<(), segcal_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`config::layered`]; a value out of its range.
    pub fn with(overrides: &[&str]) -> Result<Self> {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Self::from_stored(config::layered(&Self::known_keys(), None, &overrides, &OPEN)?)
    }

    /// The defaults of all keys: also of those that are not written where they say nothing, so that runs and their hashes
    /// stay as they were before there was such a key.
    pub fn known_keys() -> Table {
        let mut defaults = Table::try_from(Self::default()).expect("settings are a table");
        defaults.insert("init".into(), "".into());
        defaults.insert("patience".into(), 0.into());
        defaults.insert("augment".into(), Table::try_from(Augment::default()).expect("settings are a table").into());
        if let Some(samples) = defaults.get_mut("samples").and_then(toml::Value::as_table_mut) {
            samples.insert("skip_empty".into(), false.into());
        }
        defaults
    }

    /// The settings that a run was started with.
    ///
    /// # Errors
    /// The table is not a training config.
    pub fn from_stored(table: Table) -> Result<Self> {
        let settings: Self = from_table(table)?;
        settings.check()?;
        Ok(settings)
    }

    /// The settings as a table.
    pub fn to_table(&self) -> Table {
        Table::try_from(self).expect("settings are a table")
    }

    /// The optimiser's rule and learning rate.
    ///
    /// # Errors
    /// The optimiser is unknown, one of its keys is, or the learning rate is not positive.
    pub fn rule(&self) -> Result<(Rule, f64)> {
        let mut table = self.optimiser.clone();
        let given = table.remove("learning_rate");
        let rate = given.as_ref().and_then(|rate| rate.as_float().or(rate.as_integer().map(|whole| whole as f64)));
        match rate {
            Some(rate) if rate > 0.0 && rate.is_finite() => Ok((from_table(table).at("optimiser")?, rate)),
            _ => {
                let given = given.map_or_else(|| "nothing".into(), |given| given.to_string());
                let error = Error::new(format!("{given} is not a positive number")).at("optimiser.learning_rate");
                Err(error.help("0.001 suits Adam"))
            }
        }
    }

    /// Refuses settings without a data set.
    ///
    /// # Errors
    /// `data` is empty.
    pub fn expect_data(&self) -> Result<()> {
        if self.data.as_os_str().is_empty() {
            return Err(Error::new("required key is not set").at("data").help("for example data=../hippocampus"));
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        positive("epochs", self.epochs)?;
        positive("batch", self.batch)?;
        let [low, high] = self.input.clip_percentiles;
        if !(0.0 <= low && low < high && high <= 100.0) {
            let problem = format!("[{low}, {high}] are not two percentiles, the lower first");
            return Err(Error::new(problem).at("input.clip_percentiles"));
        }
        let cache = self.input.cache_gib;
        if !(cache >= 0.0 && cache.is_finite()) {
            return Err(Error::new(format!("{cache} is not 0 or a positive number")).at("input.cache_gib"));
        }
        if !(self.clip_norm >= 0.0 && self.clip_norm.is_finite()) {
            return Err(Error::new(format!("{} is not 0 or a positive number", self.clip_norm)).at("clip_norm"));
        }
        self.samples.check()?;
        self.augment.check(&self.samples)
    }

    fn loss_name(&self) -> Result<String> {
        let name = self.loss.get("name").and_then(toml::Value::as_str);
        Ok(name.ok_or_else(|| Error::new("is missing").at("loss.name"))?.to_owned())
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn positive(key: &str, value: usize) -> Result<()> {
    if value == 0 { Err(Error::new("0 is not a positive number").at(key)) } else { Ok(()) }
}
