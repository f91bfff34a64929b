//! Device memory: shared handles, and the pool that their buffers come from and return to.
//!
//! A dropped buffer may be reused at once, even if the device has not yet finished the work that reads it: all work
//! goes through one queue in the order of the calls, so the new owner's first write comes later.
//!
//! Each handle has its own buffer. Sharing a device buffer between tensors would save little (a size class is at most a
//! quarter larger than needed), and WebGPU does not allow it: one dispatch may not read and write the same buffer.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use segcal_core::Error;

use super::sync::lock;

/// Values on the device. Cloning shares them.
#[derive(Clone)]
pub struct Buffer(Arc<Inner>);

struct Inner {
    raw: Option<wgpu::Buffer>,
    len: usize,
    failure: OnceLock<Failure>,
    pool: Arc<Pool>,
}

/// Why a buffer has no values. The failure is passed on to everything computed from the buffer, and becomes an error on
/// download.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    op: &'static str,
    what: Arc<str>,
    help: &'static str,
}

impl Failure {
    pub(super) fn new(op: &'static str, what: impl Into<Arc<str>>, help: &'static str) -> Self {
        Self { op, what: what.into(), help }
    }

    pub(super) fn error(&self) -> Error {
        Error::new(&*self.what).at(self.op).at("gpu").help(self.help)
    }
}

impl Buffer {
    pub(super) fn new(raw: wgpu::Buffer, len: usize, pool: &Arc<Pool>) -> Self {
        Self(Arc::new(Inner { raw: Some(raw), len, failure: OnceLock::new(), pool: pool.clone() }))
    }

    /// A buffer without values, because of a failure.
    pub(super) fn failed(failure: Failure, len: usize, pool: &Arc<Pool>) -> Self {
        Self(Arc::new(Inner { raw: None, len, failure: failure.into(), pool: pool.clone() }))
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.0.len
    }

    pub(super) fn fail(&self, failure: &Failure) {
        // The first failure is kept: it is closest to the cause.
        let _ = self.0.failure.set(failure.clone());
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.0.failure.get()
    }

    /// The device buffer. It has the size of its class, which may be more than the elements need. `None` only for a
    /// buffer with a failure.
    pub(super) fn raw(&self) -> Option<&wgpu::Buffer> {
        self.0.raw.as_ref()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} values)", self.0.len)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(raw) = self.raw.take() {
            self.pool.give_back(raw);
        }
    }
}

/// Free buffers by size, and the total size of all buffers.
pub(super) struct Pool {
    free: Mutex<HashMap<u64, Vec<wgpu::Buffer>>>,
    held: AtomicU64,
    budget: u64,
}

impl Pool {
    pub(super) fn new(budget: u64) -> Self {
        Self { free: Mutex::default(), held: AtomicU64::new(0), budget }
    }

    /// A free buffer of exactly this size.
    pub(super) fn take(&self, size: u64) -> Option<wgpu::Buffer> {
        lock(&self.free).get_mut(&size)?.pop()
    }

    fn give_back(&self, raw: wgpu::Buffer) {
        lock(&self.free).entry(raw.size()).or_default().push(raw);
    }

    /// Counts a new buffer, unless it exceeds the budget even after all free buffers are dropped.
    pub(super) fn reserve(&self, size: u64) -> Result<(), String> {
        if self.held() + size > self.budget {
            self.trim();
        }
        let held = self.held();
        if held + size > self.budget {
            let budget = in_words(self.budget);
            return Err(format!(
                "{} are needed, {} of the budget of {budget} are in use",
                in_words(size),
                in_words(held)
            ));
        }
        self.held.fetch_add(size, Ordering::Relaxed);
        Ok(())
    }

    /// Uncounts a buffer that could not be created.
    pub(super) fn cancel(&self, size: u64) {
        self.held.fetch_sub(size, Ordering::Relaxed);
    }

    /// Drops every free buffer.
    pub(super) fn trim(&self) {
        for (size, buffers) in lock(&self.free).drain() {
            self.held.fetch_sub(size * buffers.len() as u64, Ordering::Relaxed);
        }
    }

    /// Bytes of all buffers, including free ones.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// The buffer size for a request: there are four size classes per power of two.
pub(super) fn class(bytes: u64, largest: u64) -> u64 {
    let bytes = bytes.max(4);
    let step = 1 << (bytes.max(256).ilog2() - 2);
    let class = bytes.max(256).next_multiple_of(step);
    if class > largest { bytes.next_multiple_of(4) } else { class }
}

/// Bytes as text.
pub(super) fn in_words(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{:.1} KiB", bytes as f64 / 1024.0)
    } else {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_wastes_at_most_a_quarter_and_there_are_few() {
        let mut classes: Vec<u64> = (1..=1 << 16).map(|bytes| class(bytes, u64::MAX)).collect();
        for (bytes, &class) in (1u64..).zip(&classes) {
            assert!(class >= bytes && class.is_multiple_of(4), "{bytes} {class}");
            assert!(bytes < 256 || class * 4 <= bytes * 5 + 4, "{bytes} {class}");
        }
        classes.dedup();
        assert!(classes.len() <= 4 * 8 + 1, "{classes:?}");
    }

    #[test]
    fn the_largest_buffer_needs_no_class() {
        assert_eq!(class(1000, 1000), 1000);
        assert_eq!(class(1000, 1024), 1024);
    }

    #[test]
    fn the_budget_is_named_when_it_does_not_suffice() {
        let pool = Pool::new(3 << 20);
        pool.reserve(2 << 20).unwrap();
        let message = pool.reserve(2 << 20).unwrap_err();
        assert_eq!(message, "2.0 MiB are needed, 2.0 MiB of the budget of 3.0 MiB are in use");
        assert_eq!(
            Pool::new(1536).reserve(2048).unwrap_err(),
            "2.0 KiB are needed, 0.0 KiB of the budget of 1.5 KiB are in use"
        );
        pool.cancel(2 << 20);
        assert!(pool.reserve(3 << 20).is_ok());
    }
}
