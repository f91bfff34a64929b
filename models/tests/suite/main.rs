//! The suites of the models crate, as one program.

mod checkpoint;
mod common;
mod counting;
mod goldens;
mod layers;
mod list;
mod networks;
mod optim;
mod training;
