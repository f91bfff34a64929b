//! cargo-fuzz's program of the target `published`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::published::target(bytes));
