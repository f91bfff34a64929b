//! Kernel times, as measured by the card itself.
//!
//! While timing, each dispatch is a separate pass with a timestamp at either end, and each submission is waited for.
//! The kernel times are accurate, but the work as a whole takes longer than without timing.

use std::collections::BTreeMap;

use super::call::Call;
use super::device::Device;

/// Maximum number of dispatches in a submission while timing: half the number of timestamps that every device has room
/// for.
const MOST_DISPATCHES: u32 = 1024;

/// The total time of all dispatches of one kernel, within [`Gpu::time`](super::Gpu::time).
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// The method of the backend that requested it.
    pub operation: &'static str,
    /// The shader: `conv` serves `conv` and `conv_transpose`; `reduce` is the last step of several methods.
    pub kernel: &'static str,
    /// Number of launches.
    pub dispatches: u64,
    /// Seconds on the card, from the start of the first thread to the end of the last.
    pub seconds: f64,
    /// Minimum memory traffic, in bytes: each array read or written once.
    pub bytes: u64,
    /// Arithmetic operations: the multiplications and additions of a direct convolution, or the instructions of a
    /// program for every element; 0 if a kernel does almost no arithmetic.
    pub operations: u64,
}

/// The timestamps of one submission, and the totals so far.
pub(super) struct Timing {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readable: wgpu::Buffer,
    /// The dispatches of this submission, whose seconds are not known yet.
    pending: Vec<KernelTime>,
    sums: BTreeMap<[&'static str; 2], KernelTime>,
}

impl Timing {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let size = u64::from(2 * MOST_DISPATCHES) * 8;
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size,
                usage: usage | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * MOST_DISPATCHES,
        });
        Self {
            queries,
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            readable: buffer(wgpu::BufferUsages::MAP_READ),
            pending: Vec::new(),
            sums: BTreeMap::new(),
        }
    }

    /// Whether this submission has no room for one more dispatch.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() == MOST_DISPATCHES as usize
    }

    /// Notes a dispatch, and returns the timestamps that its pass must write.
    pub(super) fn begin(&mut self, call: &Call<'_>) -> (wgpu::QuerySet, [u32; 2]) {
        let number = self.pending.len() as u32;
        self.pending.push(KernelTime {
            operation: call.op,
            kernel: call.code.name(),
            dispatches: 1,
            seconds: 0.0,
            bytes: call.bytes(),
            operations: call.operations,
        });
        (self.queries.clone(), [2 * number, 2 * number + 1])
    }

    /// Records the commands that make the timestamps readable.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let count = 2 * self.pending.len() as u32;
        if count > 0 {
            encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readable, 0, u64::from(count) * 8);
        }
    }

    /// Waits for the submission and adds its seconds. Timestamps of failed work are left out: the download reports the
    /// failure.
    pub(super) fn collect(&mut self, device: &Device) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        let tick = f64::from(device.queue.get_timestamp_period()) * 1e-9;
        let Ok(ticks) = device.read::<u64>(&self.readable, pending.len() as u64 * 16) else { return };
        for (one, pair) in pending.into_iter().zip(ticks.chunks_exact(2)) {
            let seconds = pair[1].saturating_sub(pair[0]) as f64 * tick;
            let sum = self.sums.entry([one.operation, one.kernel]).or_insert(KernelTime {
                dispatches: 0,
                bytes: 0,
                operations: 0,
                ..one
            });
            sum.dispatches += one.dispatches;
            sum.seconds += seconds;
            sum.bytes += one.bytes;
            sum.operations += one.operations;
        }
    }

    /// The totals, the longest first.
    pub(super) fn finish(self) -> Vec<KernelTime> {
        let mut times: Vec<KernelTime> = self.sums.into_values().collect();
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        times
    }
}
