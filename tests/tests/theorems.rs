//! The papers' theorems, limits and gradients on the backends of this build.

use segcal_backends::Cpu;
use segcal_core::Reference;
use segcal_tests::suites::theorems;

#[test]
fn theorems_hold_on_the_reference() {
    theorems::check(&Reference, 16).assert_clean();
}

#[test]
fn theorems_hold_on_the_cpu() {
    theorems::check(&Cpu::new(Some(2)).unwrap(), 8).assert_clean();
}
