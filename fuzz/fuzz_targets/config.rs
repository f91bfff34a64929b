//! cargo-fuzz's program of the target `config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::config::target(bytes));
