//! Training, prediction and export of segmentation networks.
//!
//! [`trainer`] is the training loop: any network, any objective, cases from any [`Source`]. It cuts [`samples`],
//! evaluates by [`validation`], and writes a [`run_folder`] if given one. [`train()`] does all of this from a config
//! ([`settings`]); [`predict()`] segments images with a finished run, tile by tile ([`infer`]); [`export`] writes ONNX.
//! An [`Observer`](segcal_data::Observer) follows the work and may stop it.
//!
//! ```
//! use segcal_backends::{Cpu, Watch};
//! use segcal_data::{observer::Silent, phantom};
//! use segcal_train::{run::Trained, settings::Settings};
//! let (folder, backend) = (tempfile::tempdir()?, Cpu::new(None)?);
//! let (data, out) = (folder.path().join("cohort"), folder.path().join("run"));
//! let recipe = phantom::Recipe { spatial: [4, 16, 16], ..Default::default() };
//! phantom::write(&phantom::Request { out: &data, prefix: "phantom", counts: [2, 1, 0], recipe, seed: 1 }, &Silent)?;
//! let keys = ["epochs=1", "loss.name=nacl", "samples.size=[16,16]", "network={levels=2,base=4}"];
//! let settings = Settings { data: data.clone(), out: out.clone(), ..Settings::with(&keys)? };
//! segcal_train::train(&backend, Watch::default(), &settings, false, &Silent)?;
//! let image = segcal_data::read_image(&data.join("imagesTr/phantom_002.nii.gz"))?;
//! assert_eq!(Trained::open(&out, &backend)?.probabilities(&backend, image)?.data.shape(), [3, 4, 16, 16]);
//! # Ok::<(), segcal_core::Error>(())
//! ```
//!
//! For cases in memory and a custom loss, see `examples/train_in_memory.rs`.

pub mod augment;
mod best;
pub mod block;
pub mod cases;
pub mod chain;
mod curves;
mod divergence;
mod events;
pub mod export;
pub mod frame;
pub mod infer;
pub mod job;
mod noise;
mod normalise;
pub mod objective;
mod patience;
pub mod plan;
pub mod predict;
pub mod prepared;
pub mod ranks;
pub mod record;
pub mod regions;
pub mod run;
pub mod run_folder;
pub mod samples;
pub mod settings;
pub mod sheet;
pub mod source;
pub mod spacings;
mod step;
pub mod stopped;
mod streams;
mod supervision;
mod term_means;
pub mod trainer;
pub mod validation;

pub use job::train;
pub use predict::predict;
pub use source::Source;
pub use trainer::Trainer;
