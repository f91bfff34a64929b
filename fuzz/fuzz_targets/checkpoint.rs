//! cargo-fuzz's program of the target `checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::checkpoint::target(bytes));
