//! Layers, networks, optimisers and checkpoints over `segcal_core`.
//!
//! A network is a description ([`Network`], usually a [`Plan`] of [`layers`]); its numbers are [`Parameters`]; a
//! forward pass is a function of both. All code is generic over the backend.
//!
//! ```
//! use segcal_core::{Reference, Shape, Tensor};
//! use segcal_models::{Mode, NetworkConfig, build};
//! let network = build::<Reference>(&NetworkConfig::named("unet").with("levels", 2).with("base", 2))?;
//! let parameters = network.parameters(1, &Reference);
//! let images = Tensor::zeros(&Reference, Shape::new(1, network.config().in_channels, 1, 8, 8));
//! let logits = network.forward(&parameters, &images, Mode::Evaluate);
//! assert_eq!(logits.shape(), Shape::new(1, network.config().classes, 1, 8, 8));
//! # Ok::<(), segcal_core::Error>(())
//! ```
//!
//! All files, of this crate and of those above it, are written through [`whole_file`].
//!
//! Reading order: [`Parameters`] (with one whole training step), [`layers`], [`Plan`], [`Optimiser`], [`checkpoint`].

pub mod checkpoint;
mod entry;
pub mod graph;
mod init;
pub mod layers;
mod local_temperature;
mod network;
mod networks;
mod optim;
mod params;
mod parts;
mod plan;
mod supervision;
pub mod whole_file;

pub use checkpoint::{Stored, load, save};
pub use entry::NetworkEntry;
pub use graph::Graph;
pub use init::{Fill, Init, Spec};
pub use layers::Mode;
pub use local_temperature::LocalTemperature;
pub use network::{Extent, Network, NetworkConfig, Output};
pub use networks::{build, fitted_to, networks};
pub use optim::{Adam, AdamW, Optimiser, Rule, Schedule, Sgd};
pub use params::{Gradients, Parameter, Parameters};
pub use parts::{Parts, Together};
pub use plan::{Plan, Planned, Wire};
pub use supervision::labels_on_grid;
