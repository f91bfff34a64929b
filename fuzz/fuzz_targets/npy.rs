//! cargo-fuzz's program of the target `npy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::npy::target(bytes));
