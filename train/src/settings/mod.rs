//! The training config: every key, its meaning and its default.

use std::path::{Path, PathBuf};

mod augment;
mod input;
pub mod reference;
mod samples;

use schemars::JsonSchema;
use segcal_core::{Context, Error, Result};
use segcal_data::config::{self, from_table};
use segcal_models::{Rule, Schedule};
use serde::{Deserialize, Serialize};
use toml::Table;

pub use augment::{Augment, Chance, Channels, Cutouts, Elastic, Operators, Preset};
pub use input::{Input, Normalise};
use samples::positive;
pub use samples::{SampleKind, Samples, SliceAxis};

/// The resolved settings of a training run. Every key can be set in the file and overridden as `key=value`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of the data set (MSD, nnU-Net or PNG layout).
    pub data: PathBuf,
    /// Number of the split, counted from 0, if the data set has several (nnU-Net's splits_final.json), or of the five
    /// random splits if it has none.
    pub fold: usize,
    /// Run folder; if empty, `runs/CONFIG-LOSS`.
    pub out: PathBuf,
    /// Seed for the initial weights, the sample order and augmentation.
    pub seed: u64,
    /// Initial weights: a safetensors file with PyTorch's names; if empty, the weights are freshly initialised.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub init: PathBuf,
    /// Passes over the training cases.
    pub epochs: usize,
    /// Samples per step.
    pub batch: usize,
    /// Samples that pass through the network together; 0 means the whole batch. The gradients of these groups are added
    /// in an order that does not depend on which process computes which group, so several processes give the same bits
    /// as one; a different group size changes the last bits.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub micro_batch: usize,
    /// Number of epochs without a better validation DSC after which training stops early; 0 disables early stopping.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub patience: usize,
    /// Maximum Euclidean norm of all gradients together; 0 disables clipping.
    pub clip_norm: f64,
    /// How images are prepared.
    pub input: Input,
    /// How samples are cut from the cases.
    pub samples: Samples,
    /// Random augmentation of training samples: a preset (none, light, nnunet), or a table with the preset and the keys
    /// that differ from it.
    #[serde(default, skip_serializing_if = "Augment::is_none")]
    #[schemars(schema_with = "reference::augment")]
    pub augment: Augment,
    /// The network: its name and the keys that `segcal list networks` shows.
    #[schemars(schema_with = "reference::network")]
    pub network: Table,
    /// The loss: `name`, `convention` and the parameters that `segcal list losses` shows.
    #[schemars(schema_with = "reference::loss")]
    pub loss: Table,
    /// The optimiser: its name, `learning_rate` and its own keys.
    #[schemars(schema_with = "reference::optimiser")]
    pub optimiser: Table,
    /// The learning rate over the epochs: its name and its own keys.
    #[schemars(with = "Schedule")]
    pub schedule: Table,
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
            micro_batch: 0,
            patience: 0,
            clip_norm: 0.0,
            input: Input {
                crop: false,
                normalise: vec![Normalise::Scale],
                clip_percentiles: [0.0, 100.0],
                intensities: Vec::new(),
                spacing: Vec::new(),
                cache_gib: 4.0,
            },
            samples: Samples {
                kind: SampleKind::Slices,
                axis: SliceAxis::Z,
                size: vec![64, 64],
                per_volume: 4,
                foreground_share: 0.33,
                by_class: false,
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

/// Tables whose keys are defined elsewhere.
pub const OPEN: [&str; 5] = ["network", "loss", "optimiser", "schedule", "augment"];

impl Settings {
    /// Reads a config file with overrides and checks it.
    ///
    /// # Errors
    /// Those of [`config::layered`]; a value is out of range; or `data` is not set.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let mut table = config::layered(&Self::known_keys(), Some(path), overrides, &OPEN)?;
        augment::resolve(&mut table).at(path.display())?;
        let mut settings: Self = from_table(table).at(path.display())?;
        if settings.out.as_os_str().is_empty() {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            settings.out = Path::new("runs").join(format!("{stem}-{}", settings.loss_name().at(path.display())?));
        }
        settings.expect_data().and_then(|()| settings.check()).at(path.display())?;
        Ok(settings)
    }

    /// The defaults with `key=value` overrides applied. Cases in memory need no `data`.
    ///
    /// ```
    /// let settings = segcal_train::settings::Settings::with(&["epochs=8", "network.base=4"])?;
    /// assert_eq!((settings.epochs, settings.batch), (8, 16));
    /// # Ok::<(), segcal_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`config::layered`], or a value is out of range.
    pub fn with(overrides: &[&str]) -> Result<Self> {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Self::from_stored(config::layered(&Self::known_keys(), None, &overrides, &OPEN)?)
    }

    /// The defaults of all keys, including those that are not written when they have no effect; omitting these keeps
    /// configs and hashes of runs as they were before the key was introduced.
    pub fn known_keys() -> Table {
        let mut defaults = Table::try_from(Self::default()).expect("settings are a table");
        defaults.insert("init".into(), "".into());
        defaults.insert("micro_batch".into(), 0.into());
        defaults.insert("patience".into(), 0.into());
        defaults.insert("augment".into(), Table::from_iter([("preset".into(), "none".into())]).into());
        if let Some(input) = defaults.get_mut("input").and_then(toml::Value::as_table_mut) {
            input.insert("crop".into(), false.into());
            input.insert("normalise".into(), vec!["scale"].into());
            input.insert("intensities".into(), toml::Value::Array(Vec::new()));
            input.insert("spacing".into(), toml::Value::Array(Vec::new()));
        }
        if let Some(samples) = defaults.get_mut("samples").and_then(toml::Value::as_table_mut) {
            samples.insert("by_class".into(), false.into());
            samples.insert("skip_empty".into(), false.into());
        }
        defaults
    }

    /// The settings that a run was started with.
    ///
    /// # Errors
    /// The table is not a training config.
    pub fn from_stored(mut table: Table) -> Result<Self> {
        augment::resolve(&mut table)?;
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
    /// The optimiser or one of its keys is unknown, or the learning rate is not positive.
    pub fn rule(&self) -> Result<(Rule, f64)> {
        let mut table = self.optimiser.clone();
        let given = table.remove("learning_rate");
        let rate = given.as_ref().and_then(|rate| rate.as_float().or(rate.as_integer().map(|whole| whole as f64)));
        match rate {
            Some(rate) if rate > 0.0 && rate.is_finite() => {
                Ok((config::from_rest(table, &["learning_rate"]).at("optimiser")?, rate))
            }
            _ => {
                let given = given.map_or_else(|| "nothing".into(), |given| given.to_string());
                let error = Error::new(format!("{given} is not a positive number")).at("optimiser.learning_rate");
                Err(error.help("for Adam, 0.001 is a good start"))
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
        if self.micro_batch > self.batch {
            let problem = format!("{} is more than batch = {}", self.micro_batch, self.batch);
            return Err(Error::new(problem)
                .at("micro_batch")
                .help("use 1 for most networks, or 0 for the whole batch"));
        }
        if !(self.clip_norm >= 0.0 && self.clip_norm.is_finite()) {
            return Err(Error::new(format!("{} is not 0 or a positive number", self.clip_norm)).at("clip_norm"));
        }
        self.input.check()?;
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}
