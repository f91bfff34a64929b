//! Work without the interpreter's lock, on threads that belong to this process.
//!
//! `multiprocessing` and `joblib` may fork a process whose threads are then gone in the child, and with them rayon's global
//! pool, on which the child would wait for ever. So each process has a pool of its own, made when it is first needed.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::Python;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The pool, and the process that it belongs to.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Does `work` on this process's threads without the interpreter's lock.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let pool = pool()?;
    Ok(py.detach(|| pool.install(work)))
}

/// The pool of this process. The caller holds the interpreter's lock, and so does who forks: the mutex is free then.
fn pool() -> PyResult<Arc<ThreadPool>> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, pool)) = &*pool
        && *owner == process
    {
        return Ok(pool.clone());
    }
    let made = ThreadPoolBuilder::new().thread_name(|number| format!("segcal-{number}")).build();
    let made = Arc::new(made.map_err(|error| PyRuntimeError::new_err(format!("threads: {error}")))?);
    // The threads of a pool from before the fork do not exist here: it is left as it is.
    std::mem::forget(pool.replace((process, made.clone())));
    Ok(made)
}
