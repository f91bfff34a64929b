//! Counters of the work submitted to the device.

use std::fmt;
use std::ops::Sub;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sync::lock;

/// Counts of the work since the device was opened. Subtract two of them to get the work in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Shader launches.
    pub dispatches: u64,
    /// Batches of launches submitted to the device.
    pub submissions: u64,
    /// Bytes moved to the device by `upload`.
    pub uploaded: u64,
    /// Bytes moved from the device by `download`.
    pub downloaded: u64,
    /// Shaders compiled.
    pub pipelines: u64,
    /// Device buffers created rather than taken from the pool.
    pub allocations: u64,
}

impl Sub for Counters {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            dispatches: self.dispatches - earlier.dispatches,
            submissions: self.submissions - earlier.submissions,
            uploaded: self.uploaded - earlier.uploaded,
            downloaded: self.downloaded - earlier.downloaded,
            pipelines: self.pipelines - earlier.pipelines,
            allocations: self.allocations - earlier.allocations,
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} dispatches in {} submissions, {} bytes up, {} bytes down, {} pipelines compiled, {} buffers created",
            self.dispatches, self.submissions, self.uploaded, self.downloaded, self.pipelines, self.allocations
        )
    }
}

/// The running counts. Each download logs the work since the last one as a debug message; the totals are logged at the
/// end.
#[derive(Default)]
pub(super) struct Totals {
    told: Mutex<Counters>,
    pub(super) dispatches: AtomicU64,
    pub(super) submissions: AtomicU64,
    pub(super) uploaded: AtomicU64,
    pub(super) downloaded: AtomicU64,
    pub(super) pipelines: AtomicU64,
    pub(super) allocations: AtomicU64,
}

impl Totals {
    /// Logs the work since the last message, if any shader ran.
    pub(super) fn tell(&self) {
        if log::log_enabled!(log::Level::Debug) {
            let mut told = lock(&self.told);
            let since = self.now() - *told;
            if since.dispatches > 0 {
                log::debug!("gpu: {since}");
                *told = self.now();
            }
        }
    }

    pub(super) fn now(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            dispatches: read(&self.dispatches),
            submissions: read(&self.submissions),
            uploaded: read(&self.uploaded),
            downloaded: read(&self.downloaded),
            pipelines: read(&self.pipelines),
            allocations: read(&self.allocations),
        }
    }
}

impl Drop for Totals {
    fn drop(&mut self) {
        log::info!("gpu, in total: {}", self.now());
    }
}
