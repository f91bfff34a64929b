//! What every backend must pass: one list of cases, and suites over any [`Backend`] that use it.
//!
//! A backend of your own is tested by one call:
//!
//! ```no_run
//! use segcal_core::Reference;
//! use segcal_tests::suites::{self, Accuracy};
//! suites::backend(&Reference, &Accuracy::F64).assert_clean();
//! ```
//!
//! | suite | what it compares |
//! |---|---|
//! | [`parity`] | each case on the backend and on [`Reference`](segcal_core::Reference), within the documented accuracy |
//! | [`adjoint`] | `<A x, y>` with `<x, A' y>` for each pair of adjoint methods |
//! | [`random`] | the same two on random convolutions, and parity on random programs |
//! | [`derivatives`] | derivative programs of random programs with finite differences |
//! | [`gradients`] | tensor operations: gradients with finite differences in f64, values and gradients with the reference |
//! | [`theorems`] | the theorems, limits and gradients of the losses, on random problems |
//! | [`threads`] | the bits of each case under one thread and under several |

pub mod adjoint;
mod bounds;
mod case;
pub mod cases;
pub mod derivatives;
pub mod gradients;
pub mod parity;
mod precision;
pub mod random;
mod report;
pub mod theorems;
pub mod threads;

pub use case::{Array, Case, Op};
pub use precision::Accuracy;
pub use report::{Failure, Report};

use segcal_core::Backend;

/// Every suite that a backend must pass, whatever its number type.
pub fn backend<B: Backend>(backend: &B, accuracy: &Accuracy) -> Report {
    let mut report = parity::check(backend, accuracy, &cases::all());
    report.extend(adjoint::check(backend, accuracy, &cases::all()));
    report.extend(random::convolutions(backend, accuracy));
    report.extend(random::programs(backend, accuracy));
    report.extend(gradients::parity(backend, accuracy));
    report
}
