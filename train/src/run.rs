//! A run that can be opened again: the network with its tensors, and what was stored beside them.

use std::collections::BTreeMap;
use std::path::Path;

use segcal_core::{Backend, Context, Error, Result};
use segcal_losses::{Criterion, State};
use segcal_models::{self as models, Network, NetworkConfig, Optimiser, Parameters, Stored};

use super::chain::{self, Link};
use super::infer::{Predictor, Tiling};
use super::prepared::prepare_volume;
use super::run_folder;
use super::samples::flat_last;
use super::settings::Settings;
use segcal_data::Volume;
use segcal_data::config::from_table;
use segcal_data::output;

/// The network that the settings describe, for a data set's channels and classes.
///
/// # Errors
/// A key of the network is unknown or out of range.
pub fn network<B: Backend>(settings: &Settings, channels: usize, classes: usize) -> Result<Box<dyn Network<B>>> {
    let mut config: NetworkConfig = from_table(settings.network.clone()).at("network")?;
    config.in_channels = channels;
    config.classes = classes;
    config.dims = settings.samples.dims();
    let config = models::fitted_to(config, flat_last(settings.samples.block_size()));
    models::build(&config).at("network")
}

/// Everything that a checkpoint holds.
pub struct Checkpoint<'a, B: Backend, L> {
    /// Weights.
    pub parameters: &'a Parameters<B>,
    /// Moments and step count.
    pub optimiser: &'a Optimiser<B>,
    /// Multipliers of the loss.
    pub objective: &'a L,
    /// Epochs that are done.
    pub epoch: usize,
    /// Hashes of the newest epoch.
    pub link: &'a Link,
    /// The network's config.
    pub network: &'a NetworkConfig,
    /// Names of the classes.
    pub class_names: &'a [String],
}

impl<B: Backend, L: Criterion> Checkpoint<'_, B, L> {
    /// Writes the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// Those of [`save`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let metadata = BTreeMap::from([
            ("epoch".to_owned(), self.epoch.to_string()),
            ("network".to_owned(), json(self.network)?),
            ("class_names".to_owned(), json(&self.class_names)?),
            ("loss_state".to_owned(), json(&self.objective.state())?),
            (LINK.to_owned(), json(self.link)?),
        ]);
        save(path, &[("", self.parameters), (OPTIMISER, &self.optimiser.state())], &metadata)
    }
}

/// [`models::save`], in which a disk or folder that cannot be written is a write failure.
///
/// # Errors
/// Those of [`models::save`].
pub fn save<B: Backend>(
    path: &Path,
    groups: &[(&str, &Parameters<B>)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    models::save(path, groups, metadata).map_err(|error| {
        let source = std::error::Error::source(&error);
        match source.and_then(<dyn std::error::Error>::downcast_ref::<std::io::Error>) {
            Some(source) => output::write_failure(source).at(path.display()),
            None => error,
        }
    })
}

/// Name of the optimiser's tensors in a checkpoint.
const OPTIMISER: &str = "optimiser";
/// Key of the metadata under which the hashes of the epoch are stored.
const LINK: &str = "hashes";

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::from_source)
}

fn parsed<T: serde::de::DeserializeOwned>(stored: &Stored, key: &str, path: &Path) -> Result<T> {
    serde_json::from_str(stored.value(key)?).map_err(Error::from_source).at(key).at(path.display())
}

/// Takes up a checkpoint: fills parameters, optimiser and loss, and gives the number of epochs that are done with the
/// hashes of the last.
///
/// # Errors
/// The file is damaged (its numbers do not have the hash that was stored with them), or belongs to another network,
/// optimiser or loss.
pub fn restore<B: Backend>(
    path: &Path,
    parameters: &mut Parameters<B>,
    optimiser: &mut Optimiser<B>,
    objective: &mut impl Criterion,
) -> Result<(usize, Link)> {
    let stored = models::load(path)?;
    *parameters = stored.restore("", parameters)?;
    optimiser.set_state(&stored.restore(OPTIMISER, &optimiser.state())?).at(path.display())?;
    let state: State = parsed(&stored, "loss_state", path)?;
    objective.restore(&state).at(path.display())?;
    let (epoch, link): (usize, Link) = (parsed(&stored, "epoch", path)?, parsed(&stored, LINK, path)?);
    if chain::weights(parameters, optimiser, objective)? != link.weights {
        let what = format!("the numbers do not have the hash that epoch {epoch} stored with them");
        return Err(Error::new(what).at(path.display()).help("the file was changed or is damaged"));
    }
    Ok((epoch, link))
}

/// The epoch of a checkpoint whose file is whole.
///
/// # Errors
/// The file is damaged, or no checkpoint of a run.
pub fn stored_epoch(path: &Path) -> Result<usize> {
    parsed(&models::load(path)?, "epoch", path)
}

/// Tiles that go through the network together; results do not depend on it.
const BATCH: usize = 16;

/// A trained network, ready to predict.
pub struct Trained<B: Backend> {
    /// What it was trained with.
    pub settings: Settings,
    /// The network.
    pub network: Box<dyn Network<B>>,
    /// Its weights.
    pub parameters: Parameters<B>,
    /// Names of the classes, the background first.
    pub class_names: Vec<String>,
}

impl<B: Backend> Trained<B> {
    /// Opens a run with its best weights.
    ///
    /// # Errors
    /// The folder holds no run, or its checkpoint is damaged.
    pub fn open(folder: &Path, backend: &B) -> Result<Self> {
        let settings = Settings::from_stored(run_folder::stored_config(folder)?).at(folder.display())?;
        let path = folder.join("best.safetensors");
        let stored = models::load(&path).map_err(|error| error.help("train for at least one epoch first"))?;
        let config: NetworkConfig = parsed(&stored, "network", &path)?;
        let network = models::build(&config).at(path.display())?;
        let parameters = stored.restore("", &network.parameters(0, backend))?;
        let class_names = parsed(&stored, "class_names", &path)?;
        Ok(Self { settings, network, parameters, class_names })
    }

    /// Class probabilities `[k, d, h, w]` of an image in memory, `[channels, d, h, w]` with the intensities of its file:
    /// the same bits as [`predict()`](crate::predict()) writes.
    ///
    /// # Errors
    /// The image has another number of channels than the training's or is not finite, or the device fails.
    pub fn probabilities(&self, backend: &B, image: Volume<f32>) -> Result<Volume<f32>> {
        let channels = self.network.config().in_channels;
        if image.channels() != channels {
            let problem = format!("the image has {} channels, the network takes {channels}", image.channels());
            return Err(Error::new(problem));
        }
        let image = prepare_volume(image, &self.settings.input)?;
        let tiling = Tiling { samples: &self.settings.samples, stride: self.network.stride(), batch: BATCH };
        let predictor = Predictor { network: &*self.network, parameters: &self.parameters, backend };
        let values = predictor.probabilities(&image, &tiling)?;
        Ok(Volume::new(values, self.class_names.len(), image.grid))
    }
}
