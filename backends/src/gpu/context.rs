//! The device with its persistent state: pool, pipelines, tables, and the work that is recorded but not yet submitted.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use segcal_core::{Error, Result};

use super::adapter::{self, Adapter, Limits, Options};
use super::buffer::{Buffer, Failure, Pool, class, in_words};
use super::call::Call;
use super::device::{DEVICE_HELP, Device};
use super::kernel::Code;
use super::params::Params;
use super::pipelines::{Pipeline, Pipelines};
use super::profile::KernelTime;
use super::recorder::Recorder;
use super::sync::lock;
use super::text::GROUP;

/// Value of the guard words after every buffer in tests, which reveal out-of-bounds writes.
pub(super) const GUARD_WORD: f32 = 1.234e-33;

/// Maximum number of cached tables; a network needs a handful, but random augmentation keeps creating new ones.
const MOST_TABLES: usize = 64;

const MEMORY_HELP: &str = "use smaller batches or patches, or a larger --device-memory or card";

/// A device with everything that is cached for it.
pub(super) struct Context {
    pub(super) adapter: Adapter,
    pub(super) device: Device,
    pool: Arc<Pool>,
    recorder: Mutex<Recorder>,
    pipelines: Pipelines,
    tables: Mutex<HashMap<Vec<u32>, Buffer>>,
}

impl Context {
    pub(super) fn open(
        options: &Options,
        adjust: impl FnOnce(&mut Limits),
        guard_words: usize,
        memory_percent: u8,
    ) -> Result<Self> {
        let opened = adapter::open(options.device.as_deref(), memory_percent)?;
        let mut limits = opened.adapter.limits;
        adjust(&mut limits);
        let pipelines = Pipelines::new(&opened.device, &opened.info, options.cache.as_deref());
        let device = Device::new(opened.device, opened.queue, limits, guard_words);
        Ok(Self {
            adapter: opened.adapter,
            recorder: Mutex::new(Recorder::new(&device)),
            device,
            pool: Arc::new(Pool::new(options.memory.unwrap_or(u64::MAX))),
            pipelines,
            tables: Mutex::default(),
        })
    }

    /// Bytes of all device buffers.
    pub(super) fn held(&self) -> u64 {
        self.pool.held()
    }

    /// A buffer for `len` values with arbitrary contents.
    pub(super) fn buffer(&self, op: &'static str, len: usize) -> Buffer {
        match self.allocate(op, len) {
            Ok((raw, _)) => Buffer::new(raw, len, &self.pool),
            Err(failure) => Buffer::failed(failure, len, &self.pool),
        }
    }

    /// A device buffer, and whether it is new.
    fn allocate(&self, op: &'static str, len: usize) -> std::result::Result<(wgpu::Buffer, bool), Failure> {
        if let Some(failure) = self.device.broken() {
            return Err(failure.clone());
        }
        countable(op, len)?;
        let bytes = (len + self.device.guard_words) as u64 * 4;
        let largest = self.device.limits.buffer_bytes;
        if bytes > largest {
            let what = format!(
                "a tensor of {} exceeds the largest buffer of the card, {}",
                in_words(bytes),
                in_words(largest)
            );
            return Err(Failure::new(op, what, MEMORY_HELP));
        }
        let size = class(bytes, largest);
        let (raw, fresh) = match self.pool.take(size) {
            Some(raw) => (raw, false),
            None => (self.create(op, size)?, true),
        };
        if self.device.guard_words > 0 {
            self.flush();
            self.device.queue.write_buffer(
                &raw,
                len as u64 * 4,
                bytemuck::cast_slice(&vec![GUARD_WORD; self.device.guard_words]),
            );
        }
        Ok((raw, fresh))
    }

    /// Returns failed buffers if the domain has more elements than shaders can index.
    pub(super) fn refuse(&self, op: &'static str, places: usize, outputs: usize, len: usize) -> Option<Vec<Buffer>> {
        let failure = countable(op, places).err()?;
        Some((0..outputs).map(|_| Buffer::failed(failure.clone(), len, &self.pool)).collect())
    }

    fn create(&self, op: &'static str, size: u64) -> std::result::Result<wgpu::Buffer, Failure> {
        self.device.check(op)?;
        self.pool.reserve(size).map_err(|what| Failure::new(op, what, MEMORY_HELP))?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some(op), size, usage, mapped_at_creation: false };
        self.device.totals.allocations.fetch_add(1, Ordering::Relaxed);
        let raw = self.device.raw.create_buffer(&descriptor);
        if self.device.take_fault().is_none() {
            return Ok(raw);
        }
        // The card is full: free buffers are dropped, once the device has finished with them.
        self.flush();
        self.pool.trim();
        let _ = self.device.raw.poll(wgpu::PollType::wait_indefinitely());
        let raw = self.device.raw.create_buffer(&descriptor);
        self.device.take_fault().map_or(Ok(raw), |what| {
            self.pool.cancel(size);
            let what =
                format!("no room for another {} with {} in use: {what}", in_words(size), in_words(self.pool.held()));
            Err(Failure::new(op, what, MEMORY_HELP))
        })
    }

    /// Moves values to the device.
    pub(super) fn upload(&self, data: &[f32]) -> Buffer {
        let (raw, fresh) = match self.allocate("upload", data.len()) {
            Ok(allocated) => allocated,
            Err(failure) => return Buffer::failed(failure, data.len(), &self.pool),
        };
        if !fresh {
            // The write is executed before recorded but unsubmitted work, which may still read the old contents.
            self.flush();
        }
        self.device.queue.write_buffer(&raw, 0, bytemuck::cast_slice(data));
        self.device.totals.uploaded.fetch_add(data.len() as u64 * 4, Ordering::Relaxed);
        let buffer = Buffer::new(raw, data.len(), &self.pool);
        if let Err(failure) = self.device.check("upload") {
            buffer.fail(&failure);
        }
        buffer
    }

    /// A small table that shaders read; it is computed and uploaded on the first use of its key.
    pub(super) fn table(&self, key: Vec<u32>, make: impl FnOnce() -> Vec<f32>) -> Buffer {
        if let Some(known) = lock(&self.tables).get(&key) {
            return known.clone();
        }
        let buffer = self.upload(&make());
        let mut tables = lock(&self.tables);
        if tables.len() == MOST_TABLES {
            tables.clear();
        }
        tables.insert(key, buffer.clone());
        buffer
    }

    /// Waits for all work and moves a buffer to the host.
    pub(super) fn download(&self, buffer: &Buffer) -> Result<Vec<f32>> {
        let words = buffer.len() + self.device.guard_words;
        let failed = || self.device.broken().or(buffer.failure()).map_or(Ok(()), |failure| Err(failure.error()));
        failed()?;
        let Some(raw) = buffer.raw().filter(|_| words > 0) else { return Ok(Vec::new()) };
        let bytes = words as u64 * 4;
        let staging = lock(&self.recorder).begin_read(&self.device, raw, bytes);
        let read = self.device.read(&staging, bytes);
        self.device.totals.downloaded.fetch_add(bytes, Ordering::Relaxed);
        if read.is_ok() {
            lock(&self.recorder).end_read(staging);
        }
        self.device.totals.tell();
        failed()?;
        let mut numbers = read.map_err(|what| Failure::new("download", what, DEVICE_HELP).error())?;
        let guard = numbers.split_off(buffer.len());
        assert!(guard.iter().all(|&word| word == GUARD_WORD), "a shader wrote outside its buffer");
        Ok(numbers)
    }

    /// Records one dispatch. A failure of an array it reads, or of the dispatch itself, is passed on to the arrays it
    /// writes.
    pub(super) fn dispatch(&self, call: &Call<'_>) {
        let known = call.arrays().find_map(|buffer| buffer.failure().cloned());
        let done = known.map_or(Ok(()), Err).and_then(|()| if call.groups > 0 { self.record(call) } else { Ok(()) });
        if let Err(failure) = done {
            call.writes.iter().for_each(|buffer| buffer.fail(&failure));
        }
    }

    /// A new buffer of `len` elements, each computed by one thread.
    pub(super) fn elementwise(
        &self,
        op: &'static str,
        code: Code,
        reads: &[&Buffer],
        len: usize,
        params: Params,
    ) -> Buffer {
        let y = self.buffer(op, len);
        self.elementwise_into(op, code, reads, &[&y], len, params);
        y
    }

    /// Records a dispatch with one thread for each of `count` elements; the count is prepended to `params`.
    pub(super) fn elementwise_into(
        &self,
        op: &'static str,
        code: Code,
        reads: &[&Buffer],
        writes: &[&Buffer],
        count: usize,
        params: Params,
    ) {
        let (groups, operations) = (count.div_ceil(GROUP as usize), code.operations() * count as u64);
        let params = &Params::sizes([("count", count)]).and(params);
        self.dispatch(&Call { op, code, reads, writes, params, groups, operations });
    }

    fn record(&self, call: &Call<'_>) -> std::result::Result<(), Failure> {
        let bindings: Vec<u8> = call.arrays().map(|array| self.device.bindings(array.len()) as u8).collect();
        let total: usize = bindings.iter().map(|&count| usize::from(count)).sum();
        if total > self.device.limits.bindings {
            let (limit, size) = (self.device.limits.bindings, in_words(self.device.limits.binding_bytes));
            let what = format!("{total} storage bindings of at most {size} are needed, but the card has only {limit}");
            return Err(Failure::new(call.op, what, MEMORY_HELP));
        }
        let pipeline = self.pipeline(call, bindings)?;
        let mut recorder = lock(&self.recorder);
        recorder.dispatch(&self.device, call, &pipeline);
        self.device.check(call.op)
    }

    fn pipeline(&self, call: &Call<'_>, bindings: Vec<u8>) -> std::result::Result<Arc<Pipeline>, Failure> {
        self.pipelines.get(&self.device.raw, (&call.code, call.params), bindings, self.device.chunk_words(), || {
            self.device.totals.pipelines.fetch_add(1, Ordering::Relaxed);
            self.device.check(call.op)
        })
    }

    /// Records a copy of a whole buffer into another one, at an offset.
    pub(super) fn copy(&self, from: &Buffer, to: &Buffer, to_start: usize) {
        match (from.failure(), from.raw(), to.raw()) {
            (Some(failure), _, _) => to.fail(failure),
            (None, Some(source), Some(target)) if from.len() > 0 => {
                lock(&self.recorder).copy(&self.device, source, target, to_start as u64 * 4, from.len() as u64 * 4);
            }
            _ => {}
        }
    }

    /// Records that a buffer is set to zero.
    pub(super) fn clear(&self, buffer: &Buffer) {
        if let Some(raw) = buffer.raw().filter(|_| buffer.len() > 0) {
            lock(&self.recorder).clear(&self.device, raw, buffer.len() as u64 * 4);
        }
    }

    /// Submits the recorded work.
    pub(super) fn flush(&self) {
        lock(&self.recorder).submit(&self.device);
    }

    /// Runs `work` while timing every dispatch, and returns the time of each kernel.
    pub(super) fn time<T>(&self, work: impl FnOnce() -> T) -> Result<(T, Vec<KernelTime>)> {
        if !self.device.raw.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::new("the card does not support timestamps").at(&self.adapter.name));
        }
        lock(&self.recorder).start_timing(&self.device);
        let result = work();
        Ok((result, lock(&self.recorder).end_timing(&self.device)))
    }
}

#[cfg(test)]
impl Context {
    /// Makes the device report an error, using an invalid shader.
    pub(super) fn report(&self, invalid: &str) {
        let source = wgpu::ShaderSource::Wgsl(invalid.into());
        drop(self.device.raw.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source }));
    }

    /// The failure of a buffer so far, if any.
    pub(super) fn failure_of(buffer: &Buffer) -> Option<String> {
        buffer.failure().map(|failure| failure.error().to_string())
    }

    /// Number of pipelines compiled for mapping a program.
    pub(super) fn pipelines_of(&self, program: &segcal_core::Program) -> usize {
        let of = |code: &Code| matches!(code, Code::Map(pattern) if pattern.listing.is_of(program));
        self.pipelines.count(of)
    }
}

/// Shaders index with 32 bits.
fn countable(op: &'static str, places: usize) -> std::result::Result<(), Failure> {
    let fits = u32::try_from(places).is_ok();
    let what = || format!("{places} elements are more than a shader can index ({})", u32::MAX);
    fits.then_some(()).ok_or_else(|| Failure::new(op, what(), MEMORY_HELP))
}
