//! The bits of a result must not depend on the number of threads.

use rayon::ThreadPoolBuilder;
use segcal_core::Backend;

use super::{Case, Report};

/// Runs each case in rayon pools of 1, 2, 3 and 5 threads and compares the bits.
pub fn check<B: Backend>(backend: &B, cases: &[Case]) -> Report {
    let pools = [1, 2, 3, 5].map(|threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of a few threads");
        (threads, pool)
    });
    let mut report = Report::default();
    for case in cases {
        report.check(&case.name, || {
            let mut results = pools.iter().map(|(threads, pool)| (threads, bits(&pool.install(|| case.run(backend)))));
            let (_, first) = results.next().expect("several pools");
            match results.find(|(_, other)| *other != first) {
                None => Ok(()),
                Some((threads, _)) => Err(format!("{threads} threads give other bits than one")),
            }
        });
    }
    report
}

fn bits(outputs: &[Vec<f64>]) -> Vec<Vec<u64>> {
    outputs.iter().map(|output| output.iter().map(|value| value.to_bits()).collect()).collect()
}
