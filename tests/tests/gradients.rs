//! Gradients of every differentiable operation, and derivative programs, against finite differences.

use segcal_core::Reference;
use segcal_tests::suites::{derivatives, gradients};

#[test]
fn operations() {
    gradients::check(&Reference).assert_clean();
}

#[test]
fn random_programs() {
    derivatives::check().assert_clean();
}
