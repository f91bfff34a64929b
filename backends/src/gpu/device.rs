//! The open device, with its limits, its counters and the errors it reported.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};

use super::adapter::Limits;
use super::buffer::Failure;
use super::counters::Totals;
use super::sync::lock;

pub(super) const DEVICE_HELP: &str = "update the card's driver; if that does not help, report it";

/// A device and its queue.
pub(super) struct Device {
    pub(super) raw: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// The limits of the device; tests set smaller ones.
    pub(super) limits: Limits,
    /// Number of guard words after every buffer in tests.
    pub(super) guard_words: usize,
    pub(super) totals: Totals,
    /// The first error that the device reported since the last check.
    fault: Arc<Mutex<Option<String>>>,
    /// A failure after which no result can be trusted.
    broken: Arc<OnceLock<Failure>>,
    /// Names of the operations in the latest submission.
    sent: Arc<Mutex<Vec<&'static str>>>,
}

impl Device {
    pub(super) fn new(raw: wgpu::Device, queue: wgpu::Queue, limits: Limits, guard_words: usize) -> Self {
        let (fault, broken, sent) = (Arc::default(), Arc::default(), Arc::default());
        let device = Self { raw, queue, limits, guard_words, totals: Totals::default(), fault, broken, sent };
        device.listen();
        device
    }

    /// Registers callbacks for errors of the device.
    fn listen(&self) {
        let fault = self.fault.clone();
        self.raw.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&fault).get_or_insert_with(|| first_lines(&error.to_string()));
        }));
        let (broken, sent) = (self.broken.clone(), self.sent.clone());
        self.raw.set_device_lost_callback(move |_, message| {
            let what = format!("the card was lost (last operations: {}) {message}", lock(&sent).join(", "));
            let _ = broken.set(Failure::new("device", what.trim_end(), DEVICE_HELP));
        });
    }

    /// The failure after which no result can be trusted.
    pub(super) fn broken(&self) -> Option<&Failure> {
        self.broken.get()
    }

    /// Number of bindings needed for this many words.
    pub(super) fn bindings(&self, len: usize) -> usize {
        (len + self.guard_words).div_ceil(self.chunk_words() as usize).max(1)
    }

    /// Number of words in one binding: what the device allows, rounded down to an alignment that every device accepts.
    pub(super) fn chunk_words(&self) -> u32 {
        (self.limits.binding_bytes / 256 * 64).min(1 << 30) as u32
    }

    /// Notes the operations of the submission that is about to be sent; the copy of a download does not count as one.
    pub(super) fn announce(&self, ops: &[&'static str]) {
        if !ops.is_empty() {
            *lock(&self.sent) = ops.to_vec();
        }
    }

    /// An error that appears only when a whole submission is checked cannot be attributed to one buffer: all of them
    /// fail.
    pub(super) fn check_submission(&self, ops: &[&'static str]) {
        if let Some(what) = self.take_fault() {
            let what = format!("{what} (one of: {})", ops.join(", "));
            let _ = self.broken.set(Failure::new("submit", what, DEVICE_HELP));
        }
    }

    /// The error that the device reported since the last check, as a failure of `op`.
    pub(super) fn check(&self, op: &'static str) -> Result<(), Failure> {
        self.take_fault().map_or(Ok(()), |what| Err(Failure::new(op, what, DEVICE_HELP)))
    }

    /// Takes the error that the device reported since the last check.
    pub(super) fn take_fault(&self) -> Option<String> {
        lock(&self.fault).take()
    }

    /// Waits for the work before a read and returns the values. Other work on the device continues meanwhile.
    pub(super) fn read<T: bytemuck::Pod>(&self, staging: &wgpu::Buffer, bytes: u64) -> Result<Vec<T>, String> {
        let (send, receive) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver is gone only if waiting failed, which is reported.
            let _ = send.send(result);
        });
        self.raw.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| error.to_string())?;
        let mapped = receive.recv().map_err(|_| "the transfer did not complete".to_owned())?;
        mapped.map_err(|error| error.to_string())?;
        let view = staging.get_mapped_range(0..bytes).map_err(|error| error.to_string())?;
        let numbers = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        staging.unmap();
        Ok(numbers)
    }
}

/// The first lines of a message, which state the problem; wgpu adds pages of context.
fn first_lines(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take(6).collect::<Vec<_>>().join("; ")
}
