//! The Python module `segcal._native`: the doors of the libraries with numpy arrays, and the command.
//!
//! What Python users call is the package beside this crate, `segcal/`, which checks arrays and gives results their names.
#![expect(clippy::needless_pass_by_value, reason = "arguments of Python functions are extracted by value")]

mod arrays;
mod calibrators;
mod errors;
mod losses;
mod metrics;
mod processes;
mod states;

use pyo3::prelude::*;

/// The compiled part of segcal.
#[pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::calibrators::Calibrator;
    #[pymodule_export]
    use crate::losses::{Loss, prior, specs, verify};
    #[pymodule_export]
    use crate::metrics::{measure, metrics};
    #[pymodule_export]
    use crate::states::{Calibration, EqualMass, Overlap};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Runs the program with these arguments, the program's own name first, and gives its exit status.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> u8 {
        py.detach(|| segcal::run(arguments))
    }
}
