//! The theorem suite of the losses, on random problems of proptest: a failure names the theorem and the simplest problem
//! that shows it.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use segcal_core::{Backend, Rng};
use segcal_losses::theorems::{self, Draw};

use super::Report;
use super::random::runner;

/// Every theorem on `cases` random problems. The same ones on every run.
pub fn check<B: Backend>(backend: &B, cases: u32) -> Report {
    let mut report = Report::default();
    for theorem in theorems::all::<B>() {
        report.check(theorem.name, || {
            let outcome = runner(cases).run(&draw(), |draw| {
                let deviation = theorem.deviation_on(backend, &draw).map_err(|e| TestCaseError::fail(e.to_string()))?;
                let bound = theorem.bound();
                if deviation <= bound {
                    return Ok(());
                }
                Err(TestCaseError::fail(format!("deviation {deviation:e} above {bound:e}: {}", theorem.statement)))
            });
            outcome.map_err(|error| error.to_string())
        });
    }
    report
}

/// Problems like those of [`Draw::random`]; each field shrinks to its simplest value.
fn draw() -> impl Strategy<Value = Draw> {
    let extents = (prop_oneof![Just(1usize), Just(3)], 4usize..=6, 4usize..=7);
    let labels = (-0.5..0.5f64, -0.5..0.5f64, prop_oneof![Just(0.0), Just(0.1)]);
    let spread = prop_oneof![Just(0.5), Just(2.0), Just(5.0)];
    (2usize..=8, 1usize..=2, extents, spread, labels, any::<u64>()).prop_map(
        |(classes, samples, (d, h, w), spread, (along_h, along_w, noise), seed)| Draw {
            classes,
            samples,
            extents: [d, h, w],
            spread,
            slope: [along_h, along_w],
            noise,
            rng: Rng::new(seed),
        },
    )
}
