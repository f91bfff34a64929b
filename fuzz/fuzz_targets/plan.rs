//! cargo-fuzz's program of the target `plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::plan::target(bytes));
