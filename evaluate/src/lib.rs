//! Evaluation of stored predictions: which files belong together, what one case gives, what the cohort gives.
//!
//! [`job`] does all of it for a folder. [`inputs`] pairs predictions with references by case name, [`reading`] is what is
//! believed of their files, [`masks`] are label maps as one file a class, [`regional`] says whether scores are of regions and [`decide`] settles the [`axes`] of arrays, [`scores`] reads probabilities onto the
//! reference's grid, [`structures`] lists what is measured of them, [`case`] measures one case into a [`state`],
//! [`states`] stores what is done (where [`layout`] says), [`stamps`] knows files without reading them, [`parts`] share a folder, [`cohort`] makes the tables of many states, [`slices`] keeps what its overlays show and
//! [`plane`] cuts whole ones,
//! [`methods`] reads those tables of several methods back and puts them side by side, [`ranking`] ranks them; [`units`]
//! says what lengths are in. [`calibrate`] fits post-hoc maps and applies them to stored scores; `report` (a feature)
//! writes the page.
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
//!     resume: false,
//! };
//! let cohort = segcal_evaluate::evaluate(&Reference, &request, &Silent)?;
//! assert!(cohort.cases.len() == 2 && out.join("cases.csv").is_file());
//! # Ok::<(), segcal_core::Error>(())
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use segcal_core::{Context, Error, Result};
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

/// A case that is in none of the figures, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    /// Name of the case.
    pub case: String,
    /// What is wrong.
    pub error: String,
}

impl Failure {
    /// A case with its error, which does not name the case itself.
    pub fn new(case: &str, error: &Error) -> Self {
        Self { case: case.to_owned(), error: error.to_string() }
    }

    /// Those of a `summary.json`.
    ///
    /// # Errors
    /// The file cannot be read or is not a summary.
    pub fn read(path: &Path) -> Result<Vec<Self>> {
        #[derive(Deserialize)]
        struct Summary {
            #[serde(default)]
            failed: Vec<Failure>,
        }
        let text = segcal_data::limits::read_text(path)?;
        let summary: Summary = serde_json::from_str(&text).map_err(Error::from_source).at(path.display())?;
        Ok(summary.failed)
    }
}

/// Works on every item, one a thread at a time, and gives the results in the order of the items.
///
/// The threads are not those of rayon's pool, which do the loops inside: a thread of the pool that waits for a loop would
/// begin another item meanwhile, and with it hold another case in memory.
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
        // Where memory is short the system may give fewer threads, or none: then this one does the work.
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
