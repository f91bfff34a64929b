//! The graphics card through the suites that any backend must pass: `cargo test -p segcal-tests --features gpu`.
#![cfg(feature = "gpu")]

use segcal_backends::gpu::{Gpu, Options, adapters};
use segcal_tests::suites::{self, Accuracy};

/// The card, or a line that says why there is nothing to test.
fn card() -> Option<Gpu> {
    if adapters().is_empty() {
        eprintln!("skipped: no graphics card (mesa-vulkan-drivers and libvulkan1 make one in software)");
        return None;
    }
    Some(Gpu::open(&Options::default()).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn gpu() {
    if let Some(gpu) = card() {
        suites::backend(&gpu, &Accuracy::GPU).assert_clean();
    }
}
