//! cargo-fuzz's program of the target `dataset`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::dataset::target(bytes));
