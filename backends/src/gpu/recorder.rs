//! Work that is recorded and not yet submitted: one encoder for many operations.
//!
//! The `Params` of all dispatches of a submission lie side by side in one uniform buffer. It is written anew for each
//! submission; the queue keeps that write behind the work of the submission before.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::adapter::Limits;
use super::buffer::Buffer;
use super::call::Call;
use super::context::Context;
use super::pipelines::Pipeline;
use super::profile::{KernelTime, Timing};

/// Bytes of the parameters of one submission.
const PARAMS_BYTES: usize = 1 << 16;
/// A submission is sent when its work touches so many bytes: enough to hide the cost of sending, and little enough
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
    /// Buffers that the host can read, by size.
    staging: HashMap<u64, wgpu::Buffer>,
    timing: Option<Timing>,
}

impl Recorder {
    pub(super) fn new(device: &wgpu::Device, limits: &Limits) -> Self {
        let uniform = device.create_buffer(&wgpu::BufferDescriptor {
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
            alignment: limits.uniform_alignment.max(16) as usize,
            touched: 0,
            ops: Vec::new(),
            staging: HashMap::new(),
            timing: None,
        }
    }

    /// Records a dispatch; sends the submission if it has grown large.
    pub(super) fn dispatch(&mut self, context: &Context, call: &Call<'_>, pipeline: &Pipeline) {
        let params: &[u8] = bytemuck::cast_slice(call.params);
        let size = params.len().next_multiple_of(16);
        assert!(size <= PARAMS_BYTES, "{}: too many parameters", call.op);
        if self.params.len() + size > PARAMS_BYTES || self.timing.as_ref().is_some_and(Timing::is_full) {
            self.submit(context);
        }
        let start = self.params.len();
        self.params.extend_from_slice(params);
        self.params.resize((start + size).next_multiple_of(self.alignment), 0);
        let group = self.bind(context, call, pipeline, start as u64, size as u64);
        let most = context.limits.groups_per_axis as usize;
        let (x, y) = (call.groups.min(most), call.groups.div_ceil(most));
        let pass = self.pass(context, call);
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(x as u32, y as u32, 1);
        context.totals.dispatches.fetch_add(1, Ordering::Relaxed);
        self.note(context, call.op, call.bytes());
    }

    fn bind(&self, context: &Context, call: &Call<'_>, pipeline: &Pipeline, start: u64, size: u64) -> wgpu::BindGroup {
        let part = |buffer, offset, size| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) })
        };
        let mut resources = vec![part(&self.uniform, start, size)];
        for buffer in call.arrays() {
            let raw = buffer.raw().expect("a buffer without failure");
            let bytes = bound_bytes(buffer, context.guard_words);
            let chunk = u64::from(context.chunk_words()) * 4;
            for offset in (0..bytes).step_by(chunk as usize) {
                resources.push(part(raw, offset, chunk.min(bytes - offset)));
            }
        }
        let entries: Vec<_> =
            (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        context.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(call.op),
            layout: &pipeline.layout,
            entries: &entries,
        })
    }

    /// The pass that is being recorded; while timing, a new one for each call.
    fn pass(&mut self, context: &Context, call: &Call<'_>) -> &mut wgpu::ComputePass<'static> {
        let clock = self.timing.as_mut().map(|timing| timing.begin(call));
        if clock.is_some() || self.pass.is_none() {
            let timestamp_writes = clock.as_ref().map(|(query_set, [begin, end])| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(*begin),
                end_of_pass_write_index: Some(*end),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            self.pass = Some(self.encoder(context).begin_compute_pass(&descriptor).forget_lifetime());
        }
        self.pass.as_mut().expect("just made")
    }

    /// The encoder, outside of any pass.
    fn encoder(&mut self, context: &Context) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder
            .get_or_insert_with(|| context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    pub(super) fn copy(
        &mut self,
        context: &Context,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
        to_start: u64,
        bytes: u64,
    ) {
        self.encoder(context).copy_buffer_to_buffer(from, 0, to, to_start, bytes);
        self.note(context, "copy", bytes);
    }

    pub(super) fn clear(&mut self, context: &Context, buffer: &wgpu::Buffer, bytes: u64) {
        self.encoder(context).clear_buffer(buffer, 0, Some(bytes));
        self.note(context, "clear", bytes);
    }

    fn note(&mut self, context: &Context, op: &'static str, bytes: u64) {
        if !self.ops.contains(&op) {
            self.ops.push(op);
        }
        self.touched += bytes;
        if self.touched > SUBMISSION_BYTES {
            self.submit(context);
        }
    }

    /// Sends what is recorded.
    pub(super) fn submit(&mut self, context: &Context) {
        self.pass = None;
        let Some(mut encoder) = self.encoder.take() else { return };
        if !self.params.is_empty() {
            context.queue.write_buffer(&self.uniform, 0, &self.params);
        }
        if let Some(timing) = &self.timing {
            timing.resolve(&mut encoder);
        }
        context.announce(&self.ops);
        context.queue.submit([encoder.finish()]);
        context.totals.submissions.fetch_add(1, Ordering::Relaxed);
        context.check_submission(&self.ops);
        if let Some(timing) = &mut self.timing {
            timing.collect(context);
        }
        self.params.clear();
        self.ops.clear();
        self.touched = 0;
    }

    /// From here on, the card measures how long each dispatch takes.
    pub(super) fn start_timing(&mut self, context: &Context) {
        self.submit(context);
        self.timing = Some(Timing::new(&context.device));
    }

    /// Ends the measurement; what was measured.
    pub(super) fn end_timing(&mut self, context: &Context) -> Vec<KernelTime> {
        self.submit(context);
        self.timing.take().map_or_else(Vec::new, Timing::finish)
    }

    /// Sends what is recorded and, behind it, a copy of the first bytes of a buffer to one that the host can read.
    pub(super) fn begin_read(&mut self, context: &Context, raw: &wgpu::Buffer, bytes: u64) -> wgpu::Buffer {
        let size = bytes.next_power_of_two();
        let staging = self.staging.remove(&size).unwrap_or_else(|| {
            context.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("download"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        self.encoder(context).copy_buffer_to_buffer(raw, 0, &staging, 0, bytes);
        self.submit(context);
        staging
    }

    /// Takes back what [`Recorder::begin_read`] gave, for the next time.
    pub(super) fn end_read(&mut self, staging: wgpu::Buffer) {
        self.staging.insert(staging.size(), staging);
    }
}

/// Waits for the work before a read and gives the numbers. The rest of the device goes on meanwhile.
pub(super) fn read<T: bytemuck::Pod>(context: &Context, staging: &wgpu::Buffer, bytes: u64) -> Result<Vec<T>, String> {
    let (send, receive) = mpsc::channel();
    staging.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
        // The receiver is gone only if waiting failed, which is reported.
        let _ = send.send(result);
    });
    context.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| error.to_string())?;
    let mapped = receive.recv().map_err(|_| "the transfer did not end".to_owned())?;
    mapped.map_err(|error| error.to_string())?;
    let view = staging.get_mapped_range(0..bytes).map_err(|error| error.to_string())?;
    let numbers = bytemuck::pod_collect_to_vec(&view);
    drop(view);
    staging.unmap();
    Ok(numbers)
}

/// What shaders see of a buffer: its numbers, and in tests the words that guard its end.
fn bound_bytes(buffer: &Buffer, guard_words: usize) -> u64 {
    ((buffer.len() + guard_words) as u64 * 4).max(4)
}
