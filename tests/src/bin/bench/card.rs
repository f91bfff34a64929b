//! The graphics card under measurement: what a step asks of it, and what each kernel takes by its own clock.

#[cfg(feature = "gpu")]
use segcal_backends::gpu::{Counters, Gpu, KernelTime, Options as GpuOptions};
use segcal_backends::{Device, Visitor};
use segcal_core::{Backend, Result};
use serde_json::Value;
#[cfg(feature = "gpu")]
use serde_json::json;

use crate::options::Options;

/// The card that runs the benchmark, if one does.
pub(crate) struct Card {
    #[cfg(feature = "gpu")]
    gpu: Option<Gpu>,
}

#[cfg(not(feature = "gpu"))]
impl Card {
    /// The backend that the options name.
    pub(crate) fn open(options: &Options) -> Result<(Device, Self)> {
        Ok((Device::open(&options.text("backend", "cpu"), None)?, Self {}))
    }

    /// Nothing without a card.
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "as in builds with a card")]
    pub(crate) fn add_to(&self, _: &mut Value, _: impl FnMut() -> Result<()>) -> Result<()> {
        Ok(())
    }
}

#[cfg(feature = "gpu")]
impl Card {
    /// The backend that the options name; `--device` chooses among several cards.
    pub(crate) fn open(options: &Options) -> Result<(Device, Self)> {
        let name = options.text("backend", "cpu");
        if name != "gpu" {
            return Ok((Device::open(&name, None)?, Self { gpu: None }));
        }
        let gpu = Gpu::open(&GpuOptions { device: options.0.get("device").cloned(), ..GpuOptions::default() })?;
        Ok((Device::Gpu(gpu.clone()), Self { gpu: Some(gpu) }))
    }

    /// Adds what one more step, of several that were alike, asks of the card and what its kernels take.
    pub(crate) fn add_to(&self, result: &mut Value, mut step: impl FnMut() -> Result<()>) -> Result<()> {
        let Some(gpu) = &self.gpu else { return Ok(()) };
        let before = gpu.counters();
        step()?;
        let counted = gpu.counters() - before;
        let (outcome, times) = gpu.time(step)?;
        outcome?;
        result["card"] = json!({
            "name": gpu.adapter().name,
            "memory_mib": gpu.memory() >> 20,
            "step": counts(counted),
            "kernels_ms": times.iter().map(|time| time.seconds).sum::<f64>() * 1e3,
            "kernels": times.iter().map(rates).collect::<Vec<_>>(),
        });
        Ok(())
    }
}

#[cfg(feature = "gpu")]
fn counts(counted: Counters) -> Value {
    json!({
        "dispatches": counted.dispatches,
        "submissions": counted.submissions,
        "bytes_up": counted.uploaded,
        "bytes_down": counted.downloaded,
        "pipelines_made": counted.pipelines,
        "buffers_made": counted.allocations,
    })
}

#[cfg(feature = "gpu")]
fn rates(time: &KernelTime) -> Value {
    let name = if time.operation == time.kernel {
        time.kernel.to_owned()
    } else {
        format!("{} ({})", time.operation, time.kernel)
    };
    json!({
        "kernel": name,
        "dispatches": time.dispatches,
        "ms": time.seconds * 1e3,
        "gbytes_per_s": time.bytes as f64 * 1e-9 / time.seconds,
        "gflops": time.operations as f64 * 1e-9 / time.seconds,
    })
}

/// A benchmark on one device, watched where that is a card.
pub(crate) trait Benchmark {
    /// Measures.
    fn measure<B: Backend>(&self, backend: B, card: &Card) -> Result<Value>;
}

/// Runs a benchmark on the device that the options name.
pub(crate) fn run(options: &Options, benchmark: &impl Benchmark) -> Result<Value> {
    struct On<'a, M>(&'a M, &'a Card);
    impl<M: Benchmark> Visitor for On<'_, M> {
        type Output = Result<Value>;
        fn visit<B: Backend>(self, backend: B) -> Result<Value> {
            self.0.measure(backend, self.1)
        }
    }
    let (device, card) = Card::open(options)?;
    device.run(On(benchmark, &card))
}
