//! Every backend through the suites that any backend must pass.

use segcal_core::Reference;
use segcal_tests::suites::{self, Accuracy, cases, threads};

#[test]
fn reference() {
    suites::backend(&Reference, &Accuracy::F64).assert_clean();
}

#[test]
fn reference_does_not_depend_on_threads() {
    threads::check(&Reference, &cases::of_method("conv")).assert_clean();
}
