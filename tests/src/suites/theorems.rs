//! The theorem suite of the losses, on random problems of proptest: a failure names the theorem and the problem's seed.

use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use segcal_core::Backend;
use segcal_losses::theorems;

use super::Report;

/// Every theorem on `cases` random problems. The same ones on every run.
pub fn check<B: Backend>(backend: &B, cases: u32) -> Report {
    let mut report = Report::default();
    for theorem in theorems::all::<B>() {
        let config = Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        report.check(theorem.name, || {
            let outcome = runner.run(&any::<u64>(), |seed| {
                let deviation =
                    theorem.deviation(backend, seed, 0).map_err(|error| TestCaseError::fail(error.to_string()))?;
                if deviation <= theorem.bound() {
                    return Ok(());
                }
                let bound = theorem.bound();
                Err(TestCaseError::fail(format!("deviation {deviation:e} above {bound:e}: {}", theorem.statement)))
            });
            outcome.map_err(|error| error.to_string())
        });
    }
    report
}
