//! Work that is recorded but not yet submitted: one encoder for many operations.
//!
//! The `Params` of all dispatches of a submission are stored in one uniform buffer. It is rewritten for each
//! submission; the queue executes that write after the work of the previous submission.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::buffer::Buffer;
use super::call::Call;
use super::device::Device;
use super::pipelines::Pipeline;
use super::profile::{KernelTime, Timing};

/// Size of the parameters of one submission, in bytes.
const PARAMS_BYTES: usize = 1 << 16;
/// A submission is sent when its work touches this many bytes: enough to hide the cost of submitting, and few enough
/// that the device starts early.
const SUBMISSION_BYTES: u64 = 256 << 20;

pub(super) struct Recorder {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    uniform: wgpu::Buffer,
    params: Vec<u8>,
    alignment: usize,
    touched: u64,
    /// Names of the operations in this submission.
    ops: Vec<&'static str>,
    /// Host-readable buffers, by size.
    staging: HashMap<u64, wgpu::Buffer>,
    timing: Option<Timing>,
}

impl Recorder {
    pub(super) fn new(device: &Device) -> Self {
        let uniform = device.raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: PARAMS_BYTES as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            encoder: None,
            pass: None,
            uniform,
            params: Vec::new(),
            alignment: device.limits.uniform_alignment.max(16) as usize,
            touched: 0,
            ops: Vec::new(),
            staging: HashMap::new(),
            timing: None,
        }
    }

    /// Records a dispatch; submits if the recorded work has grown large.
    pub(super) fn dispatch(&mut self, device: &Device, call: &Call<'_>, pipeline: &Pipeline) {
        let words = call.params.words();
        let params: &[u8] = bytemuck::cast_slice(&words);
        let size = params.len().next_multiple_of(16);
        assert!(size <= PARAMS_BYTES, "{}: too many parameters", call.op);
        if self.params.len() + size > PARAMS_BYTES || self.timing.as_ref().is_some_and(Timing::is_full) {
            self.submit(device);
        }
        let start = self.params.len();
        self.params.extend_from_slice(params);
        self.params.resize((start + size).next_multiple_of(self.alignment), 0);
        let group = self.bind(device, call, pipeline, start as u64, size as u64);
        let most = device.limits.groups_per_axis as usize;
        let (x, y) = (call.groups.min(most), call.groups.div_ceil(most));
        let pass = self.pass(device, call);
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(x as u32, y as u32, 1);
        device.totals.dispatches.fetch_add(1, Ordering::Relaxed);
        self.note(device, call.op, call.bytes());
    }

    fn bind(&self, device: &Device, call: &Call<'_>, pipeline: &Pipeline, start: u64, size: u64) -> wgpu::BindGroup {
        let part = |buffer, offset, size| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) })
        };
        let mut resources = vec![part(&self.uniform, start, size)];
        for buffer in call.arrays() {
            let raw = buffer.raw().expect("a buffer without failure");
            let bytes = bound_bytes(buffer, device.guard_words);
            let chunk = u64::from(device.chunk_words()) * 4;
            for offset in (0..bytes).step_by(chunk as usize) {
                resources.push(part(raw, offset, chunk.min(bytes - offset)));
            }
        }
        let entries: Vec<_> =
            (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        device.raw.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(call.op),
            layout: &pipeline.layout,
            entries: &entries,
        })
    }

    /// The pass that is being recorded; while timing, a new one for each call.
    fn pass(&mut self, device: &Device, call: &Call<'_>) -> &mut wgpu::ComputePass<'static> {
        let clock = self.timing.as_mut().map(|timing| timing.begin(call));
        if clock.is_some() || self.pass.is_none() {
            let timestamp_writes = clock.as_ref().map(|(query_set, [begin, end])| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(*begin),
                end_of_pass_write_index: Some(*end),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            self.pass = Some(self.encoder(device).begin_compute_pass(&descriptor).forget_lifetime());
        }
        self.pass.as_mut().expect("just created")
    }

    /// The encoder, outside of any pass.
    fn encoder(&mut self, device: &Device) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder
            .get_or_insert_with(|| device.raw.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    pub(super) fn copy(&mut self, device: &Device, from: &wgpu::Buffer, to: &wgpu::Buffer, to_start: u64, bytes: u64) {
        self.encoder(device).copy_buffer_to_buffer(from, 0, to, to_start, bytes);
        self.note(device, "copy", bytes);
    }

    pub(super) fn clear(&mut self, device: &Device, buffer: &wgpu::Buffer, bytes: u64) {
        self.encoder(device).clear_buffer(buffer, 0, Some(bytes));
        self.note(device, "clear", bytes);
    }

    fn note(&mut self, device: &Device, op: &'static str, bytes: u64) {
        if !self.ops.contains(&op) {
            self.ops.push(op);
        }
        self.touched += bytes;
        if self.touched > SUBMISSION_BYTES {
            self.submit(device);
        }
    }

    /// Submits the recorded work.
    pub(super) fn submit(&mut self, device: &Device) {
        self.pass = None;
        let Some(mut encoder) = self.encoder.take() else { return };
        if !self.params.is_empty() {
            device.queue.write_buffer(&self.uniform, 0, &self.params);
        }
        if let Some(timing) = &self.timing {
            timing.resolve(&mut encoder);
        }
        device.announce(&self.ops);
        device.queue.submit([encoder.finish()]);
        device.totals.submissions.fetch_add(1, Ordering::Relaxed);
        device.check_submission(&self.ops);
        if let Some(timing) = &mut self.timing {
            timing.collect(device);
        }
        self.params.clear();
        self.ops.clear();
        self.touched = 0;
    }

    /// Starts timing: from here on, the card measures how long each dispatch takes.
    pub(super) fn start_timing(&mut self, device: &Device) {
        self.submit(device);
        self.timing = Some(Timing::new(&device.raw));
    }

    /// Ends timing, and returns the measured times.
    pub(super) fn end_timing(&mut self, device: &Device) -> Vec<KernelTime> {
        self.submit(device);
        self.timing.take().map_or_else(Vec::new, Timing::finish)
    }

    /// Submits the recorded work, followed by a copy of the first bytes of a buffer to a host-readable one.
    pub(super) fn begin_read(&mut self, device: &Device, raw: &wgpu::Buffer, bytes: u64) -> wgpu::Buffer {
        let size = bytes.next_power_of_two();
        let staging = self.staging.remove(&size).unwrap_or_else(|| {
            device.raw.create_buffer(&wgpu::BufferDescriptor {
                label: Some("download"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        self.encoder(device).copy_buffer_to_buffer(raw, 0, &staging, 0, bytes);
        self.submit(device);
        staging
    }

    /// Takes back the buffer that [`Recorder::begin_read`] returned, for reuse.
    pub(super) fn end_read(&mut self, staging: wgpu::Buffer) {
        self.staging.insert(staging.size(), staging);
    }
}

/// The bytes of a buffer that shaders can access: its values, and in tests the guard words after them.
fn bound_bytes(buffer: &Buffer, guard_words: usize) -> u64 {
    ((buffer.len() + guard_words) as u64 * 4).max(4)
}
