//! Errors as Python's exceptions.

use std::error::Error as _;
use std::io;

use pyo3::PyErr;
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PyValueError};

/// `ValueError`; for a file that cannot be opened the `OSError` of its kind; `KeyboardInterrupt` if a signal stopped it.
pub(crate) fn to_python(error: &segcal_core::Error) -> PyErr {
    let text = error.to_string();
    if segcal::signals::interrupted(error).is_some() {
        return PyKeyboardInterrupt::new_err(text);
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            let number = cause.raw_os_error();
            return number
                .map_or_else(|| PyOSError::new_err(text.clone()), |number| PyOSError::new_err((number, text.clone())));
        }
        source = cause.source();
    }
    PyValueError::new_err(text)
}

/// Results of the libraries as Python's.
pub(crate) trait OrRaise<T> {
    fn or_raise(self) -> Result<T, PyErr>;
}

impl<T> OrRaise<T> for segcal_core::Result<T> {
    fn or_raise(self) -> Result<T, PyErr> {
        self.map_err(|error| to_python(&error))
    }
}
