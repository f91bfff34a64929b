//! cargo-fuzz's program of the target `png_image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segcal_fuzz::targets::png_image::target(bytes));
