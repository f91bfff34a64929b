//! cargo-fuzz's program of the target `nifti`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::nifti::target(bytes));
