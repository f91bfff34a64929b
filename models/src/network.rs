//! What a network is and how it is configured.

use segcal_core::{Backend, Error, Result, Shape, Tensor, nearest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::Stored;
use crate::graph::Graph;
use crate::init::Spec;
use crate::layers::Mode;
use crate::params::Parameters;
use crate::parts::Parts;

/// A network: a pure description that defines its tensors and its forward pass.
pub trait Network<B: Backend>: Send + Sync {
    /// The configuration with every key filled in; building from it reproduces this network.
    fn config(&self) -> &NetworkConfig;

    /// Names, shapes and initial values of the tensors.
    fn specs(&self) -> Vec<Spec>;

    /// Freshly initialised tensors: the same numbers for the same seed on every backend.
    fn parameters(&self, seed: u64, backend: &B) -> Parameters<B> {
        Parameters::initialised(&self.specs(), seed, backend)
    }

    /// The tensors of a checkpoint.
    ///
    /// # Errors
    /// As [`Stored::restore`].
    fn restore(&self, stored: &Stored, backend: &B) -> Result<Parameters<B>> {
        stored.restore("", &Parameters::blank(&self.specs(), backend))
    }

    /// The tensors of a network trained elsewhere, under PyTorch's names. Learnt positions for another grid are
    /// resized.
    ///
    /// # Errors
    /// As [`Stored::import`].
    fn import(&self, stored: &Stored, backend: &B) -> Result<Parameters<B>> {
        stored.import(&self.specs(), backend, |_, _, _| None)
    }

    /// Logits `[n, classes, d, h, w]` for images `x = [n, in_channels, d, h, w]`. Panics if [`Network::accepts`]
    /// refuses the shape.
    fn forward(&self, parameters: &Parameters<B>, x: &Tensor<B>, mode: Mode) -> Tensor<B>;

    /// All logits that enter the training loss, those of [`Network::forward`] in [`Mode::Train`] first. The loss is the
    /// weighted sum of their losses. There are several with deep supervision, otherwise one with weight 1.
    fn outputs(&self, parameters: &Parameters<B>, x: &Tensor<B>) -> Vec<Output<B>> {
        vec![Output { logits: self.forward(parameters, x, Mode::Train), weight: 1.0 }]
    }

    /// [`Network::outputs`] for each part of a batch (see [`Parts`]); only the first output of each unless `coarser`. A
    /// custom network that mixes the samples of a batch must override this method.
    fn outputs_of_parts(&self, parts: &Parts<'_, B>, x: Vec<Tensor<B>>, coarser: bool) -> Vec<Vec<Output<B>>> {
        let each = parts.leaves().iter().zip(x).map(|(leaves, x)| {
            let mut outputs = self.outputs(leaves, &x);
            outputs.truncate(if coarser { outputs.len() } else { 1 });
            outputs
        });
        each.collect()
    }

    /// What [`Network::forward`] computes in [`Mode::Evaluate`], in terms of standard layers.
    fn graph(&self) -> Graph;

    /// The spatial extents of an image must be multiples of these.
    fn stride(&self) -> [usize; 3];

    /// Number of trainable scalars.
    fn parameter_count(&self) -> usize {
        self.specs().iter().filter(|spec| spec.trainable).map(|spec| spec.shape.len()).sum()
    }

    /// A lower bound on how many numbers a training step on images of this shape keeps in memory: the outputs of the
    /// layers, and the weights with their gradients and the two moments of Adam.
    fn step_numbers(&self, _images: Shape) -> u64 {
        4 * self.parameter_count() as u64
    }

    /// Whether an image of this shape can be the input.
    ///
    /// # Errors
    /// The number of channels is wrong, an extent is not a multiple of the stride, or too few voxels remain at the
    /// coarsest level to normalise.
    fn accepts(&self, x: Shape) -> Result<()>;
}

/// One set of logits that enters the training loss.
#[derive(Clone, Debug)]
pub struct Output<B: Backend> {
    /// `[n, classes, d, h, w]`, possibly on a coarser grid than the image; see
    /// [`labels_on_grid`](crate::labels_on_grid).
    pub logits: Tensor<B>,
    /// Weight of its loss.
    pub weight: f64,
}

/// A network's name, input channels, classes and dimensions, and its own keys. Omitted keys take the default of the
/// named network; `segcal list networks` shows keys and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkConfig {
    /// One of [`networks`](crate::networks()).
    pub name: String,
    /// Number of image channels.
    pub in_channels: usize,
    /// Number of classes, including the background.
    pub classes: usize,
    /// Spatial dimensions, 2 or 3.
    pub dims: usize,
    /// Keys specific to the named network.
    #[serde(flatten)]
    pub keys: Map<String, Value>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self::named("unet")
    }
}

impl NetworkConfig {
    /// The named network with its defaults: one channel, two classes, two dimensions.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), in_channels: 1, classes: 2, dims: 2, keys: Map::new() }
    }

    /// Sets one of the network's own keys.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("settings of a network are tables, lists, texts and numbers");
        self.keys.insert(key.into(), value);
        self
    }

    /// Fills in the keys of `preset` that are not set.
    ///
    /// # Errors
    /// A key is not in `preset`, or a common key is out of range.
    pub(crate) fn over(&self, preset: Value) -> Result<Self> {
        let Value::Object(mut keys) = preset else { unreachable!("a preset is a table") };
        for (key, value) in &self.keys {
            let Some(slot) = keys.get_mut(key) else {
                let known: Vec<&str> = keys.keys().map(String::as_str).collect();
                let near = nearest(key, known.iter().copied()).map(|near| format!("did you mean {near}?"));
                let error = Error::new(format!("{} has no such key", self.name)).at(key);
                return Err(error.help(near.unwrap_or_else(|| format!("known here: {}", known.join(", ")))));
            };
            *slot = value.clone();
        }
        positive("in_channels", &[self.in_channels])?;
        positive("classes", &[self.classes])?;
        if !matches!(self.dims, 2 | 3) {
            return Err(invalid("dims", format!("{} dimensions are not supported", self.dims), "use 2 or 3"));
        }
        Ok(Self { keys, ..self.clone() })
    }

    /// The network's own keys, parsed into the network's type.
    ///
    /// # Errors
    /// A value has the wrong type; the message names the key.
    pub(crate) fn parse<K: DeserializeOwned>(&self) -> Result<K> {
        let read = |keys: Map<String, Value>| serde_json::from_value::<K>(Value::Object(keys));
        read(self.keys.clone()).map_err(|error| {
            let alone = |(key, value): (&String, &Value)| {
                let error = read(Map::from_iter([(key.clone(), value.clone())])).err()?;
                Some(Error::new(error.to_string()).at(key))
            };
            self.keys.iter().find_map(alone).unwrap_or_else(|| Error::new(error.to_string()).at("network"))
        })
    }

    /// Drops keys without a value.
    pub(crate) fn settled(mut self) -> Self {
        self.keys.retain(|_, value| !value.is_null());
        self
    }
}

/// One extent for every spatial axis, or extents along `[h, w]` or `[d, h, w]` (`d` is 1 in a 2-D network).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Extent {
    /// The same along each axis.
    Every(usize),
    /// Along `[h, w]`.
    Plane([usize; 2]),
    /// Along `[d, h, w]`.
    Axes([usize; 3]),
}

impl Extent {
    /// Extents along `[d, h, w]` for two or three spatial dimensions.
    pub(crate) fn axes(self, space: usize) -> [usize; 3] {
        match self {
            Self::Every(extent) => [if space == 3 { extent } else { 1 }, extent, extent],
            Self::Plane([h, w]) => [1, h, w],
            Self::Axes(extents) => extents,
        }
    }
}

/// Upper limit for channels: more is certainly a mistake in the config. It also keeps every product far below overflow.
const MOST_CHANNELS: usize = 1 << 16;

/// Refuses 0 and numbers above [`MOST_CHANNELS`].
pub(crate) fn positive(key: &str, values: &[usize]) -> Result<()> {
    match values.iter().find(|&&value| !(1..=MOST_CHANNELS).contains(&value)) {
        Some(value) => Err(invalid(key, format!("{value} is out of range"), "use 1 to 65536")),
        None => Ok(()),
    }
}

/// Converts a list of exactly `count` extents to `[d, h, w]`; all must be between 1 and 16.
pub(crate) fn extents(key: &str, list: &[Extent], count: usize, dims: usize) -> Result<Vec<[usize; 3]>> {
    let axes: Vec<[usize; 3]> = list.iter().map(|extent| extent.axes(dims)).collect();
    expect_count(key, axes.len(), count)?;
    if axes.iter().flatten().any(|extent| !(1..=16).contains(extent)) {
        return Err(invalid(key, format!("{axes:?} are out of range"), "use 1 to 16 along each axis"));
    }
    if dims == 2 && axes.iter().any(|axes| axes[0] != 1) {
        return Err(invalid(key, format!("{axes:?} reach along d"), "in a 2-D network d is 1"));
    }
    Ok(axes)
}

/// Refuses a list whose length is not `count`.
pub(crate) fn expect_count(key: &str, found: usize, count: usize) -> Result<()> {
    if found == count {
        return Ok(());
    }
    Err(invalid(key, format!("there are {found} entries, {count} are needed"), "give one for each level or join"))
}

pub(crate) fn invalid(key: &str, problem: String, remedy: &str) -> Error {
    Error::new(problem).at(key).help(remedy)
}
