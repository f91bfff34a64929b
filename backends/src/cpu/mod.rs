//! The CPU backend: f32, rayon threads, pooled memory.
//!
//! Work is split into pieces that depend only on the shapes, so the results have the same bits for any number of
//! threads. Loops are compiled for several instruction sets, and the best one is chosen at run time. Small tensors are
//! processed on the calling thread.
//!
//! If memory runs out, the results are buffers that carry the failure. Everything computed from them carries it too,
//! and downloading any of it returns the failure as an error.

mod arena;
mod buffer;
mod conv;
mod count;
mod distance;
mod fold;
mod interpreter;
mod isa;
mod kernel;
mod layout;
mod map;
mod math;
mod pool;
mod rank;
mod reduce;
mod resample;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use rayon::prelude::*;
use segcal_core::{
    Backend, Context, Error, Fold, Geometry, Index, Program, Rank, Result, Sampling, Shape, View, Window,
};

pub use buffer::Buffer;
use buffer::{Block, Failure, Pool, Shortage};
use isa::Level;

/// Number of elements that a thread works on at a time; at most this many are processed on the calling thread.
const CHUNK: usize = 1 << 15;

/// The values of a buffer, with their shape.
type Array<'a> = (&'a [f32], Shape);

/// The CPU backend: f32, all operations, no setup.
///
/// Cloning is cheap; clones share the threads and the memory pool.
#[derive(Clone)]
pub struct Cpu {
    /// `None` selects rayon's global pool.
    threads: Option<Arc<rayon::ThreadPool>>,
    memory: Arc<Pool>,
    /// The instruction set of the convolutions; nothing else depends on it.
    isa: Level,
}

impl Default for Cpu {
    fn default() -> Self {
        Self { threads: None, memory: Arc::default(), isa: Level::best() }
    }
}

impl Cpu {
    /// Creates a backend with its own pool of `threads` threads, or with rayon's global pool (one thread per core).
    ///
    /// # Errors
    /// The system refuses to create the threads.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let build = |count: usize| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(count)
                .build()
                .map_err(Error::from_source)
                .at("threads")
                .map(Arc::new)
        };
        Ok(Self { threads: threads.map(build).transpose()?, ..Self::default() })
    }

    /// The instruction set that results depend on: `avx512`, `avx2` or `baseline`. Convolutions on a machine with a
    /// different one differ in the last bits.
    pub fn instruction_set(&self) -> &'static str {
        self.isa.name()
    }

    /// The same backend, restricted to the instruction set called `name`, so that it returns the bits of a machine that
    /// has no better one.
    ///
    /// # Errors
    /// There is no such instruction set, or this machine does not support it.
    pub fn with_instruction_set(self, name: &str) -> Result<Self> {
        let names = || Level::available().map(Level::name).collect::<Vec<_>>().join(", ");
        let found = Level::available().find(|level| level.name() == name);
        let isa = found.ok_or_else(|| {
            Error::new(format!("this machine does not support the instruction set \"{name}\""))
                .help(format!("it supports {}", names()))
        })?;
        Ok(Self { isa, ..self })
    }

    /// Runs `act` on a thread of this backend's pool, where parallel work starts without switching threads.
    pub fn install<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        match &self.threads {
            Some(threads) => threads.install(act),
            None => act(),
        }
    }

    /// Memory with arbitrary contents.
    fn block(&self, len: usize) -> Block {
        self.memory.take(len)
    }

    /// A buffer filled by `write`.
    fn written(&self, len: usize, write: impl FnOnce(&mut [f32])) -> Buffer {
        let mut block = self.block(len);
        if len > 0 {
            write(&mut block);
        }
        block.share()
    }

    /// Calls `act` with every task and a per-thread state.
    fn for_each_with<T: Send, S>(
        &self,
        mut tasks: Vec<T>,
        state: impl Fn() -> S + Sync + Send,
        act: impl Fn(&mut S, T) + Sync + Send,
    ) {
        match tasks.len() {
            0 => {}
            1 => tasks.drain(..).for_each(|task| act(&mut state(), task)),
            _ => self.install(|| tasks.into_par_iter().for_each_init(&state, &act)),
        }
    }

    /// Calls `act` with each piece of `chunk` elements and its number.
    fn chunks<T: Send>(&self, y: &mut [T], chunk: usize, act: impl Fn(usize, &mut [T]) + Sync + Send) {
        if y.len() <= CHUNK {
            y.chunks_mut(chunk).enumerate().for_each(|(number, piece)| act(number, piece));
        } else {
            self.install(|| y.par_chunks_mut(chunk).enumerate().for_each(|(number, piece)| act(number, piece)));
        }
    }
}

fn array((buffer, shape): View<'_, Cpu>) -> Array<'_> {
    debug_assert_eq!(buffer.len(), shape.len(), "a buffer of {} values read as {shape}", buffer.len());
    (buffer, shape)
}

fn arrays<'a>(views: &[View<'a, Cpu>]) -> Vec<Array<'a>> {
    views.iter().map(|&view| array(view)).collect()
}

fn share(blocks: Vec<Block>) -> Vec<Buffer> {
    blocks.into_iter().map(Block::share).collect()
}

impl Backend for Cpu {
    type Elem = f32;
    type Buffer = Buffer;

    fn name(&self) -> &'static str {
        "cpu"
    }

    fn arithmetic(&self) -> String {
        format!("cpu {}", self.isa.name())
    }

    fn upload<'a>(&self, data: impl Into<Cow<'a, [f32]>>) -> Buffer {
        let data = data.into();
        one("upload", &[], || self.written(data.len(), |y| y.copy_from_slice(&data)))
    }

    fn download(&self, buffer: &Buffer) -> Result<Vec<f32>> {
        if let Some(failure) = buffer.failure() {
            return Err(failure.error());
        }
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(buffer.len()).map_err(Error::from_source).at("download").at("cpu")?;
        numbers.extend_from_slice(buffer);
        Ok(numbers)
    }

    fn map(&self, program: &Program, scalars: &[f64], inputs: &[View<'_, Self>], out: Shape) -> Vec<Buffer> {
        attempt("map", inputs, program.outputs().len(), || {
            share(map::map(self, program, scalars, &arrays(inputs), out))
        })
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
        attempt("reduce", inputs, program.outputs().len(), || {
            share(reduce::reduce(self, fold, program, scalars, &arrays(inputs), domain, out))
        })
    }

    fn slice(&self, x: View<'_, Self>, start: Index, out: Shape) -> Buffer {
        one("slice", &[x], || self.written(out.len(), |y| layout::slice(self, array(x), start, y, out)))
    }

    fn place(&self, parts: &[(View<'_, Self>, Index)], out: Shape) -> Buffer {
        let views: Vec<View<'_, Self>> = parts.iter().map(|&(part, _)| part).collect();
        one("place", &views, || {
            let parts: Vec<_> = parts.iter().map(|&(part, start)| (array(part), start)).collect();
            self.written(out.len(), |y| layout::place(self, &parts, y, out))
        })
    }

    fn conv(&self, x: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, out: Shape) -> Buffer {
        one("conv", &[x, w], || self.convolve(x, w, geometry, conv::conv, out))
    }

    fn conv_transpose(&self, y: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, x_shape: Shape) -> Buffer {
        one("conv_transpose", &[y, w], || self.convolve(y, w, geometry, conv::conv_transpose, x_shape))
    }

    fn conv_weight(&self, x: View<'_, Self>, y: View<'_, Self>, geometry: &Geometry, w_shape: Shape) -> Buffer {
        one("conv_weight", &[x, y], || self.convolve(x, y, geometry, conv::conv_weight, w_shape))
    }

    fn max_pool(&self, x: View<'_, Self>, window: &Window, out: Shape) -> (Buffer, Buffer) {
        let both = attempt("max_pool", &[x], 2, || {
            let (mut y, mut index) = (self.block(out.len()), self.block(out.len()));
            pool::max_pool(self, array(x), window, &mut y, &mut index, out);
            vec![y.share(), index.share()]
        });
        let Ok([y, index]) = <[Buffer; 2]>::try_from(both) else { unreachable!("two outputs") };
        (y, index)
    }

    fn max_unpool(&self, y: View<'_, Self>, index: View<'_, Self>, window: &Window, x_shape: Shape) -> Buffer {
        one("max_unpool", &[y, index], || {
            self.written(x_shape.len(), |x| pool::max_unpool(self, array(y), array(index).0, window, x, x_shape))
        })
    }

    fn resample(&self, x: View<'_, Self>, sampling: &Sampling, out: Shape) -> Buffer {
        one("resample", &[x], || self.written(out.len(), |y| resample::resample(self, array(x), sampling, y, out)))
    }

    fn resample_adjoint(&self, y: View<'_, Self>, sampling: &Sampling, x_shape: Shape) -> Buffer {
        one("resample_adjoint", &[y], || {
            self.written(x_shape.len(), |x| resample::resample_adjoint(self, array(y), sampling, x, x_shape))
        })
    }

    fn rank_filter(&self, x: View<'_, Self>, size: [usize; 3], rank: Rank, out: Shape) -> Buffer {
        one("rank_filter", &[x], || self.written(out.len(), |y| rank::rank_filter(self, array(x), size, rank, y, out)))
    }

    fn bincount(&self, bins: View<'_, Self>, weights: &[View<'_, Self>], count: usize) -> Vec<Buffer> {
        let views = [&[bins], weights].concat();
        attempt("bincount", &views, weights.len(), || {
            share(count::bincount(self, array(bins).0, &arrays(weights), count))
        })
    }

    fn take(&self, table: View<'_, Self>, index: View<'_, Self>) -> Buffer {
        one("take", &[table, index], || {
            let index = array(index);
            self.written(index.1.len(), |y| count::take(self, array(table).0, index.0, y))
        })
    }

    fn distance(&self, mask: View<'_, Self>, spacing: [f64; 3]) -> Buffer {
        one("distance", &[mask], || {
            let mask = array(mask);
            self.written(mask.1.len(), |y| distance::distance(self, mask, spacing, y))
        })
    }
}

/// The outputs of an operation. If one of its inputs failed, they carry that failure; if memory runs out, they carry a
/// failure of `op`. In either case, downloading a result returns the error.
fn attempt(
    op: &'static str,
    inputs: &[View<'_, Cpu>],
    outputs: usize,
    act: impl FnOnce() -> Vec<Buffer>,
) -> Vec<Buffer> {
    let failed = |failure: &Failure| vec![Buffer::failed(failure.clone()); outputs];
    if let Some(failure) = inputs.iter().find_map(|(buffer, _)| buffer.failure()) {
        return failed(failure);
    }
    // Unwinding leaves nothing behind but memory, which is returned to its pool.
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|cause| match cause.downcast::<Shortage>() {
        Ok(shortage) => failed(&Failure::new(op, &shortage)),
        Err(panic) => resume_unwind(panic),
    })
}

/// [`attempt`] for an operation with one output.
fn one(op: &'static str, inputs: &[View<'_, Cpu>], act: impl FnOnce() -> Buffer) -> Buffer {
    attempt(op, inputs, 1, || vec![act()]).pop().expect("one output")
}

/// One of the three operations of [`conv`].
type Convolution = fn(Level, &Arc<Pool>, Array<'_>, Array<'_>, &Geometry, (&mut [f32], Shape));

impl Cpu {
    /// Runs a convolution on this backend's threads. An empty sum is 0.
    fn convolve(
        &self,
        a: View<'_, Self>,
        b: View<'_, Self>,
        geometry: &Geometry,
        act: Convolution,
        out: Shape,
    ) -> Buffer {
        let (a, b) = (array(a), array(b));
        self.written(out.len(), |y| match a.0.len().min(b.0.len()) {
            0 => y.fill(0.0),
            _ => self.install(|| act(self.isa, &self.memory, a, b, geometry, (y, out))),
        })
    }
}
