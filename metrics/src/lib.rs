//! Overlap, surface and calibration metrics, post-hoc calibration, confidence intervals and ranking.
//!
//! [`measure::measure`] computes every metric of one case in memory. It is built on states: everything expensive is
//! computed once and stored in a small state, from which many metrics follow:
//!
//! | state | computed from | metrics |
//! |---|---|---|
//! | [`overlap::Confusion`] | two label maps | DSC, IoU, sensitivity, precision, volume error, of any union of labels |
//! | [`surface::Surface`] | two masks and a voxel size | HD, both HD95, ASD, ASSD, MASD, NSD |
//! | [`calibration::Calibration`] | probabilities and labels | ECE, MCE, ACE, CECE, Brier, NLL, per region |
//! | [`calibration::EqualMass`] | the same | equal-mass ECE, TACE, per region |
//! | [`distribution::LogitDistribution`] | logits and labels | histograms and quantiles by true class |
//!
//! ```
//! use segcal_core::Reference;
//! use segcal_metrics::measure::{Options, Prediction, measure};
//! use segcal_metrics::volume::Grid;
//! let (predicted, reference) = ([0_u16, 1, 1, 1], [0_u16, 0, 1, 1]);
//! let prediction = Prediction::Labels((&predicted[..]).into());
//! let figures = measure(&Reference, prediction, &reference, Grid::new([1, 2, 2], [1.0; 3]), &Options::default())?;
//! assert_eq!(figures.structures["1"]["dsc"].formula(), Some(0.8));
//! # Ok::<(), segcal_core::Error>(())
//! ```
//!
//! States of tiles, cases and processes merge to bit-identical results in any order: counters are integers, sums are
//! exact. [`definitions::METRICS`] lists every metric with its unit, range and definition. The other modules contain
//! cohort statistics ([`empty`], [`bootstrap`], [`wilcoxon`], [`ranking`]) and post-hoc recalibration maps
//! ([`posthoc`]).

#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

pub mod authors;
pub mod band;
pub mod bootstrap;
mod boxes;
pub mod calibration;
pub mod definitions;
mod distance;
pub mod distribution;
pub mod empty;
pub mod guard;
pub mod measure;
pub mod metric;
pub mod overlap;
pub mod posthoc;
pub mod ranking;
pub mod reliability;
mod scan;
mod special;
pub mod stats;
pub mod surface;
pub mod verdict;
pub mod volume;
pub mod wilcoxon;
