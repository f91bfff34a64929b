//! cargo-fuzz's program of the target `losses`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::losses::target(bytes));
