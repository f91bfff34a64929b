//! Every backend through the suites that any backend must pass.

use segcal_backends::Cpu;
use segcal_core::Reference;
use segcal_tests::suites::{self, Accuracy, cases, threads};

#[test]
fn reference() {
    suites::backend(&Reference, &Accuracy::F64).assert_clean();
}

#[test]
fn cpu() {
    suites::backend(&Cpu::default(), &Accuracy::CPU).assert_clean();
}

#[test]
fn cpu_gives_the_same_bits_for_any_number_of_threads() {
    threads::check(&Cpu::default(), &cases::all()).assert_clean();
}
