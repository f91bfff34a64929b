//! Training, prediction and export of segmentation networks.
//!
//! [`trainer`] is the loop: any network, any objective, cases from any [`Source`]. It cuts [`samples`], measures by
//! [`validation`], and writes a [`run_folder`] if it is given one. [`train()`] does all of that from a config
//! ([`settings`]); [`predict()`] segments images with a finished run, tile by tile ([`infer`]); [`export`] writes ONNX.
//! An [`Observer`](segcal_data::Observer) follows the work and may stop it.

mod best;
pub mod cases;
pub mod chain;
mod curves;
mod divergence;
mod events;
pub mod export;
pub mod infer;
pub mod job;
pub mod objective;
pub mod predict;
pub mod prepared;
pub mod record;
pub mod run;
pub mod run_folder;
pub mod samples;
pub mod settings;
pub mod source;
pub mod stopped;
mod supervision;
pub mod trainer;
pub mod validation;

pub use job::train;
pub use predict::predict;
pub use source::Source;
pub use trainer::Trainer;
