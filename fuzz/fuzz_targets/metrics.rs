//! cargo-fuzz's program of the target `metrics`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::metrics::target(bytes));
