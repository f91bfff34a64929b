//! cargo-fuzz's program of the target `programs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::programs::target(bytes));
