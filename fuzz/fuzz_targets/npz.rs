//! cargo-fuzz's program of the target `npz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::npz::target(bytes));
