//! Training: settings, samples, the loop, the run folder.
//!
//! [`trainer`] is the loop; it reads volumes through [`prepared`], cuts [`samples`] out of them, measures through
//! [`validation`] and writes through [`run_folder`] (`events` are for TensorBoard); [`chain`] proves what was done, [`cases`] with which
//! data. A
//! finished run is opened again by [`run`].

pub mod cases;
pub mod chain;
mod curves;
mod events;
pub mod objective;
pub mod prepared;
pub mod run;
pub mod run_folder;
pub mod samples;
pub mod settings;
pub mod stopped;
pub mod trainer;
pub mod validation;
