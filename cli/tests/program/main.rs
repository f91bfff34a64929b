//! The program from outside, and through its library: one binary, so that it is linked once.

#[cfg(target_os = "linux")]
mod attacks;
mod beliefs;
mod calculators;
mod calibrate;
mod cases;
#[cfg(unix)]
mod cluster;
mod common;
mod compare;
mod compare_folds;
mod compare_wide;
mod config_page;
mod definitions;
mod demo;
#[cfg(unix)]
mod diverged;
mod evaluate;
#[cfg(unix)]
mod export;
#[cfg(target_os = "linux")]
mod faults;
mod frame;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(unix)]
mod kills;
mod malformed;
mod masks;
#[cfg(target_os = "linux")]
mod memory;
mod merge;
#[cfg(all(feature = "mpi", target_os = "linux"))]
mod mpi;
mod nifti_corpus;
mod nnunet;
#[cfg(unix)]
mod outputs;
mod pages;
mod parts;
#[cfg(target_os = "linux")]
mod peak;
mod pipeline;
mod plan;
mod power_cut;
mod predict;
mod prepare;
mod rank;
mod regions;
mod round_trip;
#[cfg(target_os = "linux")]
mod threads;
