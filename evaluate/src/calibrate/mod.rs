//! Post-hoc calibration of stored predictions: a map is fitted on some cases and applied to others.
//!
//! [`map`] is the file of a map, [`samples`] provides the voxels it is fitted on, and [`apply`] applies it to one case.
//! [`job`] fits and applies maps for a folder. [`local`] is a map that is a network: it sees whole slices and their
//! images.

pub mod apply;
pub mod job;
pub mod local;
pub mod map;
pub mod recipe;
pub mod regions;
pub mod samples;

use segcal_core::Result;
use segcal_metrics::calibration::{Calibration, DEFAULT_BINS, Region};
use segcal_metrics::posthoc::Samples;
use segcal_metrics::volume::{Probabilities, softmax};
use serde_json::{Value, json};

use map::Map;
use segcal_data::output::number;

/// ECE and NLL of a region, as one JSON object.
pub fn figures(state: &Calibration, region: Region) -> Value {
    let bins = state.region(region);
    json!({ "ece": number(bins.ece()), "nll": number(bins.nll()) })
}

/// Calibration over all samples, as they are or after applying a map.
///
/// # Errors
/// A sample cannot be read.
pub fn calibration(samples: &mut dyn Samples, map: Option<&Map>) -> Result<Calibration> {
    let classes = samples.classes();
    let mut state = Calibration::new(classes, DEFAULT_BINS);
    let mut added = Ok(());
    samples.visit(&mut |chunk| {
        let mut values = chunk.logits().values().to_vec();
        match map {
            Some(map) => map.apply(&mut values, classes),
            None => softmax(&mut values, classes),
        }
        let more = state.add(Probabilities::new(&values, classes), chunk.labels(), None);
        added = std::mem::replace(&mut added, Ok(())).and(more);
    })?;
    added.map(|()| state)
}
