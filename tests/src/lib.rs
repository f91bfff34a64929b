//! Test suites and benchmarks of segcal, generic over the backend.

pub mod suites;
