//! Tests of the GPU backend beyond the suites that every backend passes (those run in the crate `segcal-tests`).

mod shaders;
