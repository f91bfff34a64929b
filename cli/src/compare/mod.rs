//! The papers' experiment: several trainings that differ in one thing, on one data set, with several seeds, measured on
//! the same cases with and without noise.
//!
//! [`plan`] reads what is to be done, [`running`] does what of it is not done yet, [`results`] puts the evaluations side
//! by side, [`tables`] writes them as CSV, JSON and text, [`page`] as one page with plots.

pub mod page;
pub mod plan;
pub mod results;
pub mod running;
pub mod tables;
