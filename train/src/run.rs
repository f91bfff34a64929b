//! A run that can be reopened: the network with its tensors, and what was stored with them.

use std::collections::BTreeMap;
use std::path::Path;

use segcal_core::{Backend, Context, Error, Reference, Result, memory};
use segcal_losses::{Criterion, State};
use segcal_models::{self as models, Network, NetworkConfig, Optimiser, Parameters, Stored};

use super::block::flat_last;
use super::chain::{self, Link};
use super::infer::{Predictor, Scores, Tiling};
use super::prepared::prepare_volume;
use super::run_folder;
use super::settings::Settings;
use super::spacings::Spacings;
use segcal_data::config::from_table;
use segcal_data::{Volume, checkpoint};
use segcal_metrics::measure::Nested;

/// Maximum number of convolutions of a block: with more, a step would take minutes and the first epoch days.
const MOST_CONVS: u64 = 64;

/// The network that the settings describe, for a data set's channels and classes.
///
/// # Errors
/// A key of the network is unknown or out of range.
pub fn network<B: Backend>(settings: &Settings, channels: usize, classes: usize) -> Result<Box<dyn Network<B>>> {
    let mut config: NetworkConfig = from_table(settings.network.clone()).at("network")?;
    config.in_channels = channels;
    config.classes = classes;
    config.dims = settings.samples.dims();
    let convs = config.keys.get("convs").and_then(serde_json::Value::as_u64);
    if let Some(convs) = convs.filter(|&convs| convs > MOST_CONVS) {
        let error = Error::new(format!("{convs} convolutions are more than {MOST_CONVS}")).at("network.convs");
        return Err(error.help("a block has two or three"));
    }
    let config = models::fitted_to(config, flat_last(settings.samples.block_size()));
    models::build(&config).at("network")
}

/// The contents of a checkpoint.
pub struct Checkpoint<'a, B: Backend, L> {
    /// Weights.
    pub parameters: &'a Parameters<B>,
    /// Moments and step count.
    pub optimiser: &'a Optimiser<B>,
    /// Multipliers of the loss.
    pub objective: &'a L,
    /// Number of finished epochs.
    pub epoch: usize,
    /// Hashes of the latest epoch.
    pub link: &'a Link,
    /// The network's config.
    pub network: &'a NetworkConfig,
    /// Names of the classes.
    pub class_names: &'a [String],
    /// Voxel sizes of the training images, if they are known.
    pub spacings: Option<&'a Spacings>,
    /// The regions that the outputs represent, if each is a binary problem.
    pub regions: Option<&'a Nested>,
}

impl<B: Backend, L: Criterion> Checkpoint<'_, B, L> {
    /// Writes the checkpoint atomically.
    ///
    /// # Errors
    /// Those of [`checkpoint::save`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut metadata = BTreeMap::from([
            ("epoch".to_owned(), self.epoch.to_string()),
            ("network".to_owned(), json(self.network)?),
            ("class_names".to_owned(), json(&self.class_names)?),
            (LOSS_STATE.to_owned(), json(&self.objective.state())?),
            (LINK.to_owned(), json(self.link)?),
        ]);
        if let Some(spacings) = self.spacings {
            metadata.insert(SPACINGS.to_owned(), json(spacings)?);
        }
        if let Some(regions) = self.regions {
            metadata.insert(REGIONS.to_owned(), json(regions)?);
        }
        checkpoint::save(path, &[("", self.parameters), (OPTIMISER, &self.optimiser.state())], &metadata)
    }
}

/// Name of the optimiser's tensors in a checkpoint.
const OPTIMISER: &str = "optimiser";
/// Metadata key of the voxel sizes of the training images.
const SPACINGS: &str = "spacings_mm";
/// Metadata key of the regions that the outputs represent.
const REGIONS: &str = "regions";
/// Metadata key of the hashes of the epoch.
const LINK: &str = "hashes";
/// Metadata key of the multipliers of the loss.
const LOSS_STATE: &str = "loss_state";

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::from_source)
}

fn parsed<T: serde::de::DeserializeOwned>(stored: &Stored, key: &str, path: &Path) -> Result<T> {
    serde_json::from_str(stored.value(key)?).map_err(Error::from_source).at(key).at(path.display())
}

/// Loads a checkpoint: fills parameters, optimiser and loss, and returns the number of finished epochs with the hashes
/// of the last one.
///
/// # Errors
/// The file is damaged (its numbers do not match the hash that was stored with them), or belongs to another network,
/// optimiser or loss.
pub fn restore<B: Backend>(
    path: &Path,
    parameters: &mut Parameters<B>,
    optimiser: &mut Optimiser<B>,
    objective: &mut impl Criterion,
) -> Result<(usize, Link)> {
    let stored = checkpoint::load(path)?;
    *parameters = stored.restore("", parameters)?;
    optimiser.set_state(&stored.restore(OPTIMISER, &optimiser.state())?).at(path.display())?;
    let state: State = parsed(&stored, LOSS_STATE, path)?;
    objective.restore(&state).at(path.display())?;
    let (epoch, link): (usize, Link) = (parsed(&stored, "epoch", path)?, parsed(&stored, LINK, path)?);
    let weights = chain::weights(parameters, &optimiser.state(), &objective.state())?;
    expect_hash(&weights, &link, epoch).at(path.display())?;
    Ok((epoch, link))
}

fn expect_hash(weights: &str, link: &Link, epoch: usize) -> Result<()> {
    if weights == link.weights {
        return Ok(());
    }
    let problem = format!("the numbers do not have the hash that epoch {epoch} stored with them");
    Err(Error::new(problem).help("the file was changed or is damaged: restore it from a copy"))
}

/// A checkpoint whose numbers match the hash that was stored with them, and whose network is the one that the settings
/// of its run describe.
pub struct Verified {
    stored: Stored,
    /// The network's config.
    pub network: NetworkConfig,
    /// Names of the classes, the background first; as many as the network has outputs, unless these are regions.
    pub class_names: Vec<String>,
    /// The regions that the outputs represent, if each is a binary problem.
    pub regions: Option<Nested>,
    /// Number of finished epochs.
    pub epoch: usize,
}

impl Verified {
    /// Reads and verifies a checkpoint of a run.
    ///
    /// # Errors
    /// The file is missing or damaged, not a checkpoint of a run, or of another network than the settings describe.
    pub fn open(path: &Path, settings: &Settings) -> Result<Self> {
        let stored = checkpoint::load(path)?;
        let config: NetworkConfig = parsed(&stored, "network", path)?;
        let class_names: Vec<String> = parsed(&stored, "class_names", path)?;
        let regions: Option<Nested> =
            stored.metadata().contains_key(REGIONS).then(|| parsed(&stored, REGIONS, path)).transpose()?;
        let named = regions.as_ref().map_or(class_names.len(), |nested| nested.regions.len());
        let network = Self::network(&config, named, settings).at(path.display())?;
        // In doubles, which represent the numbers of every backend exactly.
        let weights = stored.restore("", &Parameters::blank(&network.specs(), &Reference))?;
        let optimiser = Optimiser::new(settings.rule()?.0, &weights).at("optimiser")?;
        let moments = stored.restore(OPTIMISER, &optimiser.state())?;
        let (epoch, link): (usize, Link) = (parsed(&stored, "epoch", path)?, parsed(&stored, LINK, path)?);
        let hash = chain::weights(&weights, &moments, &parsed(&stored, LOSS_STATE, path)?)?;
        expect_hash(&hash, &link, epoch).at(path.display())?;
        Ok(Self { stored, network: config, class_names, regions, epoch })
    }

    /// The network, if it is that of the settings and has the named classes.
    fn network(config: &NetworkConfig, named: usize, settings: &Settings) -> Result<Box<dyn Network<Reference>>> {
        let described = network::<Reference>(settings, config.in_channels, config.classes)?;
        let stored = models::build::<Reference>(config)?;
        // Does not compare the configs, whose keys may leave to a preset what others name.
        if !is_same(&*stored, &*described) {
            return Err(Error::new("its network is not the one that config.toml describes")
                .help("the files of two runs were mixed: restore the folder from a copy"));
        }
        if named != config.classes {
            let problem = format!("class_names has {named} names, but the network has {} outputs", config.classes);
            return Err(Error::new(problem).help("the file was changed: restore it from a copy"));
        }
        expect_room_for(&*stored)?;
        Ok(stored)
    }
}

/// Whether two networks compute the same from the same tensors.
fn is_same<B: Backend>(a: &dyn Network<B>, b: &dyn Network<B>) -> bool {
    let tensors = |network: &dyn Network<B>| -> Vec<_> {
        network.specs().into_iter().map(|spec| (spec.name, spec.dims)).collect()
    };
    a.graph() == b.graph() && tensors(a) == tensors(b)
}

/// Refuses a network if two copies of its tensors do not fit into memory.
fn expect_room_for<B: Backend>(network: &dyn Network<B>) -> Result<()> {
    let numbers = (network.parameter_count() as u64).saturating_mul(2);
    memory::expect(numbers.saturating_mul(size_of::<B::Elem>() as u64), "the network").at("network")
}

/// Tiles that go through the network together; results do not depend on it.
const BATCH: usize = 16;

/// A trained network, ready to predict.
pub struct Trained<B: Backend> {
    /// The settings that it was trained with.
    pub settings: Settings,
    /// The network.
    pub network: Box<dyn Network<B>>,
    /// Its weights.
    pub parameters: Parameters<B>,
    /// Names of the classes, the background first.
    pub class_names: Vec<String>,
    /// The regions that the outputs represent, if each is a binary problem; otherwise the outputs are the classes.
    pub regions: Option<Nested>,
    /// Voxel sizes of the training images, if they are known.
    pub spacings: Option<Spacings>,
}

impl<B: Backend> Trained<B> {
    /// Opens a run with its best weights.
    ///
    /// # Errors
    /// The folder contains no run, or its checkpoint is missing, damaged or of another run.
    pub fn open(folder: &Path, backend: &B) -> Result<Self> {
        let settings = Settings::from_stored(run_folder::stored_config(folder)?).at(folder.display())?;
        let path = folder.join("best.safetensors");
        if !path.exists() {
            let error = Error::new("there is no such file").at(path.display());
            return Err(error.help("train for at least one epoch first"));
        }
        let Verified { stored, network, class_names, regions, .. } = Verified::open(&path, &settings)?;
        let network = models::build(&network).at(path.display())?;
        let parameters = network.restore(&stored, backend)?;
        // Runs of earlier versions have none.
        let spacings = stored.value(SPACINGS).ok().and_then(|text| serde_json::from_str(text).ok());
        Ok(Self { settings, network, parameters, class_names, regions, spacings })
    }

    /// Number of the network's outputs: classes, or regions.
    pub fn outputs(&self) -> usize {
        self.network.config().classes
    }

    /// The network with its parameters on their device.
    pub fn predictor<'a>(&'a self, backend: &'a B) -> Predictor<'a, B> {
        Predictor::new(&*self.network, &self.parameters, self.regions.as_ref(), backend)
    }

    /// Probabilities `[k, d, h, w]` of the classes, or of the regions, for an image in memory, `[channels, d, h, w]`
    /// with the intensities of its file: bit-identical to what [`predict()`](crate::predict()) writes.
    ///
    /// # Errors
    /// The image does not have as many channels as in training or is not finite, or the device fails.
    pub fn probabilities(&self, backend: &B, image: Volume<f32>) -> Result<Volume<f32>> {
        self.scores(backend, image, Scores::Probabilities)
    }

    /// The network's output, `[k, d, h, w]`, for an image in memory; see [`Scores`].
    ///
    /// # Errors
    /// As [`Trained::probabilities`].
    pub fn logits(&self, backend: &B, image: Volume<f32>) -> Result<Volume<f32>> {
        self.scores(backend, image, Scores::Logits)
    }

    fn scores(&self, backend: &B, image: Volume<f32>, scores: Scores) -> Result<Volume<f32>> {
        let channels = self.network.config().in_channels;
        if image.channels() != channels {
            let problem = format!("the image has {} channels, but the network takes {channels}", image.channels());
            return Err(Error::new(problem));
        }
        let ready = prepare_volume(image, &self.settings.input)?;
        let tiling = Tiling { samples: &self.settings.samples, stride: self.network.stride(), batch: BATCH };
        let values = self.predictor(backend).scores_of_file(&ready, &tiling, scores)?;
        Ok(Volume::new(values, self.outputs(), ready.frame.whole))
    }
}
