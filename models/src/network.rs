//! What a network is, how it is configured, and the list of all of them.

use segcal_core::{Backend, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Stored;
use crate::graph::Graph;
use crate::init::{Init, Spec};
use crate::layers::{Activation, Mode, Norm, Upsampling};
use crate::params::Parameters;
use crate::unet::UNet;

/// A network: a pure description from which tensors and forward passes are made.
pub trait Network<B: Backend>: Send + Sync {
    /// The configuration with every key filled in; building from it gives this network again.
    fn config(&self) -> &NetworkConfig;

    /// Names, shapes and beginnings of the tensors.
    fn specs(&self) -> Vec<Spec>;

    /// Fresh tensors: the same numbers for the same seed, on every backend.
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

    /// Logits `[n, classes, d, h, w]` of images `x = [n, in_channels, d, h, w]`. Panics where [`Network::accepts`]
    /// would refuse the shape.
    fn forward(&self, parameters: &Parameters<B>, x: &Tensor<B>, mode: Mode) -> Tensor<B>;

    /// What [`Network::forward`] computes in [`Mode::Evaluate`], in terms of standard layers.
    fn graph(&self) -> Graph;

    /// The spatial extents of an image must be multiples of these.
    fn stride(&self) -> [usize; 3];

    /// Number of trainable numbers.
    fn parameter_count(&self) -> usize {
        self.specs().iter().filter(|spec| spec.trainable).map(|spec| spec.shape.len()).sum()
    }

    /// Whether an image of this shape can be the input.
    ///
    /// # Errors
    /// Wrong channels, an extent that is no multiple of the stride, or too few voxels to normalise at the bottom.
    fn accepts(&self, x: Shape) -> Result<()>;
}

/// The keys of a network. What is left out takes the value of the named network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// One of [`networks`].
    pub name: String,
    /// Channels of the image.
    pub in_channels: usize,
    /// Classes, the background among them.
    pub classes: usize,
    /// Spatial dimensions, 2 or 3.
    pub dims: usize,
    /// Number of resolutions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<usize>,
    /// Channels of the finest level; each coarser one has twice as many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<usize>,
    /// Channels of each level, instead of `levels` and `base`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub widths: Option<Vec<usize>>,
    /// Convolutions of a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convs: Option<usize>,
    /// Normalisation after each convolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
    /// Activation after each convolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// How the decoder enlarges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upsample: Option<Upsampling>,
    /// Extents of the max-pool tiles between the levels, from fine to coarse: one fewer than levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pools: Option<Vec<Extent>>,
    /// How the weights begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            name: "unet".into(),
            in_channels: 1,
            classes: 2,
            dims: 2,
            levels: None,
            base: None,
            widths: None,
            convs: None,
            norm: None,
            activation: None,
            upsample: None,
            pools: None,
            init: None,
        }
    }
}

/// An extent along every axis of the space, or along `[d, h, w]` (`d` is 1 in a 2-D network).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Extent {
    /// The same along each axis.
    Every(usize),
    /// Along `[d, h, w]`.
    Axes([usize; 3]),
}

impl Extent {
    /// Along `[d, h, w]` in a space of two or three dimensions.
    pub(crate) fn axes(self, space: usize) -> [usize; 3] {
        match self {
            Self::Every(extent) => [if space == 3 { extent } else { 1 }, extent, extent],
            Self::Axes(extents) => extents,
        }
    }
}

/// A network of the list.
pub struct NetworkEntry<B: Backend> {
    /// What a config calls it.
    pub name: &'static str,
    /// What it is, in one line.
    pub doc: &'static str,
    /// Makes it from a config.
    pub build: fn(&NetworkConfig) -> Result<Box<dyn Network<B>>>,
}

/// THE list of networks.
pub fn networks<B: Backend>() -> Vec<NetworkEntry<B>> {
    vec![
        NetworkEntry {
            name: "unet",
            doc: "UNet with instance norm, leaky ReLU and transposed-convolution up-sampling (5 levels from 32 channels)",
            build: |config| Ok(Box::new(UNet::new(config)?)),
        },
        NetworkEntry {
            name: "unet-authors",
            doc: "the papers' UNet: widths 32 to 512, ReLU, no norm, pools 2 2 2 4, nearest up-sampling",
            build: |config| Ok(Box::new(UNet::new(config)?)),
        },
    ]
}

/// The network that a config describes.
///
/// # Errors
/// An unknown name, or values that do not go together; the message names the key.
pub fn build<B: Backend>(config: &NetworkConfig) -> Result<Box<dyn Network<B>>> {
    let list = networks::<B>();
    match list.iter().find(|entry| entry.name == config.name) {
        Some(entry) => (entry.build)(config),
        None => Err(unknown(&config.name, &list.iter().map(|entry| entry.name).collect::<Vec<_>>())),
    }
}

pub(crate) fn unknown(name: &str, known: &[&str]) -> Error {
    let error = Error::new(format!("there is no network \"{name}\"")).at("name");
    error.help(format!("choose one of {}", known.join(", ")))
}
