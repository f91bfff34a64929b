//! A training config derived from a data set and measured on this machine: every decision with its reason.
//!
//! A [`Fingerprint`] of the training cases is taken; `rules` decide voxel size, intensities, dimensions and the shape
//! of the network, as in nnU-Net (Isensee et al. 2021); `budget` measures steps of the actual training on the backend,
//! and chooses the largest patch and network whose steps fit into the given time.

mod budget;
mod fingerprint;
mod rules;
mod text;
mod topology;

use std::path::Path;

use segcal_core::{Backend, Context, Error, Result};
use segcal_data::{Dataset, Observer};

pub use fingerprint::Fingerprint;
pub use text::Decision;

/// What to plan for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Folder of the data set.
    pub data: &'a Path,
    /// Number of the split.
    pub fold: usize,
    /// Time that the training may take on this backend, in minutes.
    pub minutes: f64,
}

/// The decisions, in the order of the config.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Each with its reason.
    pub decisions: Vec<Decision>,
    /// The statistics that they are based on.
    pub fingerprint: Fingerprint,
}

impl Plan {
    /// The config, with reasons as comments.
    pub fn text(&self) -> String {
        let head = format!("# Made by segcal plan from {}.\n", self.fingerprint.in_words());
        head + &text::config(&self.decisions)
    }
}

/// Reads the training cases of a data set, measures this machine, and decides.
///
/// # Errors
/// The data set or a case cannot be read, it names no training cases or no classes, the minutes are not a positive
/// number, or the observer asks to stop.
pub fn plan<B: Backend>(backend: &B, request: &Request<'_>, observer: &dyn Observer) -> Result<Plan> {
    if !(request.minutes > 0.0 && request.minutes.is_finite()) {
        let error = Error::new(format!("{} is not a positive number", request.minutes)).at("minutes");
        return Err(error.help("for example 60"));
    }
    let data = Dataset::open_fold(request.data, request.fold)?;
    data.expect_classes()?;
    if data.train.is_empty() {
        let error = Error::new("there are no training cases").at(request.data.display());
        return Err(error.help("list them in splits.json as {\"train\": […], \"val\": […]}"));
    }
    let fingerprint = Fingerprint::of(&data, observer).at(request.data.display())?;
    let frame = rules::Frame::of(&fingerprint);
    let fitted = budget::fit(backend, &fingerprint, &frame, request.minutes, observer)?;
    let mut decisions = vec![Decision::new("data", request.data.display().to_string(), "the data set")];
    if request.fold > 0 {
        decisions.push(Decision::new("fold", request.fold as i64, "as requested"));
    }
    decisions.extend(fitted);
    Ok(Plan { decisions, fingerprint })
}
