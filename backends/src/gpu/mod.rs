//! The GPU backend: f32 on graphics cards of any vendor, with compute shaders through wgpu (Vulkan, Metal, DX12).
//!
//! Every method runs on the device; none falls back to the processor. Programs are translated to WGSL from the opcode
//! table and compiled once per program and broadcast pattern; the other shaders are the files in `shaders/`. Sums run
//! in an order that depends only on the shapes, and no shader uses atomic additions, so the same device returns the
//! same bits in every run.
//!
//! Calls return immediately: work is recorded and submitted in batches. A failure in the meantime (out of memory, a
//! lost device, a rejected shader) becomes the error of the [`download`](Backend::download) that requests an affected
//! result, with the name of the operation.
//!
//! Each download logs, at debug level (`-vv` of the program), how much work preceded it; dropping the device logs the
//! totals (`-v`). After the first training step no pipelines and no buffers are created.

mod adapter;
mod buffer;
mod call;
mod context;
mod conv;
mod count;
mod counters;
mod device;
mod distance;
mod kernel;
mod layout;
mod map;
mod params;
mod pattern;
mod pipelines;
mod pool;
mod product;
mod profile;
mod program;
mod rank;
mod recorder;
mod reduce;
mod resample;
mod sync;
#[cfg(test)]
mod tests;
mod text;
mod validation;
mod winograd;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use segcal_core::{Backend, Fold, Geometry, Index, Program, Rank, Result, Sampling, Shape, View, Window};

pub use adapter::{Adapter, Limits, Options, adapters};
pub use buffer::Buffer;
pub use counters::Counters;
pub use profile::KernelTime;
pub use validation::validate;

use context::Context;

/// An opened graphics card. Clones share it.
///
/// ```no_run
/// use segcal_backends::gpu::{Gpu, Options};
/// use segcal_core::{Shape, Tensor, ops};
/// let gpu = Gpu::open(&Options::default())?;
/// let x = Tensor::new(&gpu, Shape::new(1, 1, 1, 1, 2), vec![3.0, 4.0]);
/// assert_eq!(ops::sum_all(&[&x], |p| p.input(0).square()).item()?, 25.0);
/// # Ok::<(), segcal_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Gpu(Arc<Context>);

impl Gpu {
    /// Opens a graphics card.
    ///
    /// # Errors
    /// There is no card or no driver, no card matches the options, or the driver refuses to open it.
    pub fn open(options: &Options) -> Result<Self> {
        Ok(Self(Arc::new(Context::open(options, |_| {}, 0, adapter::MEMORY_PERCENT)?)))
    }

    /// Opens a card with reduced limits, and with guard words after each buffer that must not change.
    #[cfg(test)]
    fn restricted(memory: Option<u64>, guard_words: usize, adjust: impl FnOnce(&mut Limits)) -> Result<Self> {
        let options = Options { memory, ..Options::default() };
        Ok(Self(Arc::new(Context::open(&options, adjust, guard_words, adapter::MEMORY_PERCENT)?)))
    }

    /// The card.
    pub fn adapter(&self) -> &Adapter {
        &self.0.adapter
    }

    /// The work submitted to the card so far.
    pub fn counters(&self) -> Counters {
        self.0.device.totals.now()
    }

    /// Runs `work` while timing every dispatch on this card, and returns the time of each kernel, the longest first.
    /// The work as a whole takes longer than without timing.
    ///
    /// # Errors
    /// The card does not support timestamps.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> Result<(T, Vec<KernelTime>)> {
        self.0.time(work)
    }

    /// Bytes of device memory held in buffers, including those in the pool.
    pub fn memory(&self) -> u64 {
        self.0.held()
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({})", self.0.adapter.name)
    }
}

impl Backend for Gpu {
    type Elem = f32;
    type Buffer = Buffer;

    fn name(&self) -> &'static str {
        "gpu"
    }

    fn arithmetic(&self) -> String {
        self.name().into()
    }

    fn upload<'a>(&self, data: impl Into<Cow<'a, [f32]>>) -> Buffer {
        self.0.upload(&data.into())
    }

    fn download(&self, buffer: &Buffer) -> Result<Vec<f32>> {
        self.0.download(buffer)
    }

    fn map(&self, program: &Program, scalars: &[f64], inputs: &[View<'_, Self>], out: Shape) -> Vec<Buffer> {
        map::map(&self.0, program, scalars, inputs, out)
    }

    fn reduce(
        &self,
        fold: Fold,
        program: &Program,
        scalars: &[f64],
        inputs: &[View<'_, Self>],
        domain: Shape,
        out: Shape,
    ) -> Vec<Buffer> {
        reduce::reduce(&self.0, fold, program, scalars, inputs, domain, out)
    }

    fn slice(&self, x: View<'_, Self>, start: Index, out: Shape) -> Buffer {
        layout::slice(&self.0, x, start, out)
    }

    fn place(&self, parts: &[(View<'_, Self>, Index)], out: Shape) -> Buffer {
        layout::place(&self.0, parts, out)
    }

    fn conv(&self, x: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, out: Shape) -> Buffer {
        conv::conv(&self.0, x, w, geometry, out)
    }

    fn conv_transpose(&self, y: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, x_shape: Shape) -> Buffer {
        conv::conv_transpose(&self.0, y, w, geometry, x_shape)
    }

    fn conv_weight(&self, x: View<'_, Self>, y: View<'_, Self>, geometry: &Geometry, w_shape: Shape) -> Buffer {
        conv::conv_weight(&self.0, x, y, geometry, w_shape)
    }

    fn max_pool(&self, x: View<'_, Self>, window: &Window, out: Shape) -> (Buffer, Buffer) {
        pool::max_pool(&self.0, x, window, out)
    }

    fn max_unpool(&self, y: View<'_, Self>, index: View<'_, Self>, window: &Window, x_shape: Shape) -> Buffer {
        pool::max_unpool(&self.0, y, index.0, window, x_shape)
    }

    fn resample(&self, x: View<'_, Self>, sampling: &Sampling, out: Shape) -> Buffer {
        resample::resample(&self.0, x, sampling, out)
    }

    fn resample_adjoint(&self, y: View<'_, Self>, sampling: &Sampling, x_shape: Shape) -> Buffer {
        resample::resample_adjoint(&self.0, y, sampling, x_shape)
    }

    fn rank_filter(&self, x: View<'_, Self>, size: [usize; 3], rank: Rank, out: Shape) -> Buffer {
        rank::rank_filter(&self.0, x, size, rank, out)
    }

    fn bincount(&self, bins: View<'_, Self>, weights: &[View<'_, Self>], count: usize) -> Vec<Buffer> {
        let weights: Vec<&Buffer> = weights.iter().map(|&(buffer, _)| buffer).collect();
        count::bincount(&self.0, bins, &weights, count)
    }

    fn take(&self, table: View<'_, Self>, index: View<'_, Self>) -> Buffer {
        count::take(&self.0, table, index)
    }

    fn distance(&self, mask: View<'_, Self>, spacing: [f64; 3]) -> Buffer {
        distance::distance(&self.0, mask, spacing)
    }
}
