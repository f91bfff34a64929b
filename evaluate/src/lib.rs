//! Evaluation of stored predictions: pairs files, measures each case, and summarises the cohort.
//!
//! [`job`] evaluates a folder from start to end.
//!
//! - Input: [`inputs`] pairs predictions with references by case name. [`reading`] describes how the files are read,
//!   [`masks`] reads label maps stored as one file per class, [`regional`] decides whether scores are of regions,
//!   [`decide`] settles the order of the [`axes`] of arrays, and [`scores`] reads probabilities onto the reference
//!   grid.
//! - Cases: [`structures`] lists what is measured, [`case`] measures one case into a [`state`], [`slices`] keeps the
//!   slices that overlays show, and [`plane`] cuts whole slices. [`units`] is the unit of lengths.
//! - Storage: [`states`] stores finished cases in the [`layout`] of the folder, [`stamps`] detects unchanged files
//!   without reading them, and [`parts`] lets several processes share a folder.
//! - Results: [`cohort`] takes in the states one at a time and makes the tables. [`methods`] reads the tables of several
//!   methods, and [`ranking`] ranks them. [`calibrate`] fits post-hoc calibration maps and applies them to stored scores.
//!   `report` (a feature) writes the HTML page.
//!
//! ```
//! use segcal_core::Reference;
//! use segcal_data::{observer::Silent, phantom};
//! use segcal_evaluate::cohort::{Convention, Plan};
//! use segcal_evaluate::state::Prediction;
//! use segcal_evaluate::{Request, scores::Scores, settings::Settings};
//! use segcal_metrics::empty::Policy;
//! let folder = tempfile::tempdir()?;
//! let (data, out) = (folder.path().join("cohort"), folder.path().join("evaluation"));
//! let recipe = phantom::Recipe { spatial: [4, 16, 16], ..Default::default() };
//! phantom::write(&phantom::Request { out: &data, prefix: "phantom", counts: [1, 0, 2], recipe, seed: 1 }, &Silent)?;
//! let request = Request {
//!     predictions: &data.join("posteriorsTs"),
//!     labels: &data.join("labelsTs"),
//!     dataset: None,
//!     images: None,
//!     out: &out,
//!     measure: &Settings::default().measure(Prediction::Scores(Scores::Probabilities), false)?,
//!     plan: Plan { empty: Policy::Nan, convention: Convention::Segcal, seed: 0 },
//!     only_predicted: false,
//!     resume: false,
//! };
//! let cohort = segcal_evaluate::evaluate(&Reference, &request, &Silent)?;
//! assert!(cohort.cases.len() == 2 && out.join("cases.csv").is_file());
//! # Ok::<(), segcal_core::Error>(())
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub mod axes;
pub mod calibrate;
pub mod case;
pub mod cohort;
pub mod decide;
pub mod described;
pub mod inputs;
pub mod job;
pub mod layout;
pub mod masks;
pub mod merge;
pub mod methods;
pub mod parts;
pub mod plane;
pub mod pooled;
pub mod printed;
pub mod ranking;
pub mod ranks;
pub mod reading;
pub mod regional;
#[cfg(feature = "report")]
pub mod report;
pub mod scores;
pub mod settings;
pub mod slices;
pub mod stamps;
pub mod state;
pub mod states;
pub mod structures;
pub mod units;
pub mod verdict;

pub use job::{Request, evaluate};

/// A case that failed and is in none of the results, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    /// Name of the case.
    pub case: String,
    /// The error message.
    pub error: String,
}

impl Failure {
    /// A failed case. The error itself does not name the case.
    pub fn new(case: &str, error: &Error) -> Self {
        Self { case: case.to_owned(), error: error.to_string() }
    }

    /// Reads the failed cases of a `summary.json`.
    ///
    /// # Errors
    /// The file cannot be read or is not a summary.
    pub fn read(path: &Path) -> Result<Vec<Self>> {
        #[derive(Deserialize)]
        struct Summary {
            #[serde(default)]
            failed: Vec<Failure>,
        }
        let summary: Summary = states::read_streamed(path)?;
        Ok(summary.failed)
    }
}

/// Processes every item, one per thread at a time, and returns the results in the order of the items.
///
/// The threads are not those of rayon's pool, which runs the loops inside `work`: a pool thread that waits for a loop
/// would start another item in the meantime, and so keep another case in memory.
pub fn one_a_thread<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let one_after_another = || {
        while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&number| number < items.len()) {
            let result = work(&items[number]);
            *done[number].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    };
    std::thread::scope(|scope| {
        let threads = rayon::current_num_threads().min(items.len());
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, one_after_another).is_ok();
        // If memory is short, the system may start fewer threads or none. With none, this thread does the work.
        if (0..threads).filter(|&thread| start(thread)).count() == 0 {
            one_after_another();
        }
    });
    let results = done.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    results.map(|result| result.expect("every item is worked on")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn results_keep_their_order_and_no_thread_begins_two() {
        let running = AtomicUsize::new(0);
        let results = one_a_thread(&(0..50).collect::<Vec<usize>>(), |&item| {
            let others = running.fetch_add(1, Ordering::SeqCst);
            assert!(others < rayon::current_num_threads());
            let sum: usize = (0..1000_usize).into_par_iter().map(|x| x % 2).sum();
            running.fetch_sub(1, Ordering::SeqCst);
            item + sum
        });
        assert_eq!(results, (500..550).collect::<Vec<usize>>());
        assert!(one_a_thread(&[] as &[usize], |&item| item).is_empty());
    }
}
