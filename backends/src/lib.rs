//! Fast backends for [`segcal_core`]: [`Cpu`] for any processor and, with the feature `gpu`, [`gpu::Gpu`] for graphics
//! cards of any vendor. [`Device`] selects a backend at run time.
//!
//! Code written against [`Backend`] runs on either. Both are tested against the f64 [`Reference`], operation by
//! operation, within documented bounds; the CPU returns the same bits for any number of threads. A failure on the way
//! (out of memory, a lost card) becomes the error of the download that requests the result.
//!
//! ```
//! use segcal_backends::Cpu;
//! use segcal_core::{Geometry, Shape, Tensor, ops};
//! let cpu = Cpu::new(Some(2))?;
//! let image = Tensor::from_slice(&cpu, Shape::new(1, 1, 1, 2, 2), &[1.0, 2.0, 3.0, 4.0])?;
//! let weight = Tensor::full(&cpu, Shape::new(1, 1, 1, 2, 2), 0.25).tracked();
//! let mean = ops::conv(&image, &weight, &Geometry::VALID);
//! assert_eq!(mean.item()?, 2.5);
//! assert_eq!(mean.backward().take(&weight).map(|slope| slope.to_vec()).transpose()?, Some(vec![1.0, 2.0, 3.0, 4.0]));
//! # Ok::<(), segcal_core::Error>(())
//! ```

mod allocator;
#[cfg(feature = "cpu")]
mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;

pub use allocator::Allocator;
#[cfg(feature = "cpu")]
pub use cpu::{Buffer as CpuBuffer, Cpu};
use segcal_core::{Backend, Error, Reference, Result};

/// A backend chosen at run time.
///
/// ```
/// use segcal_backends::{Device, Visitor};
/// use segcal_core::Backend;
///
/// struct Name;
/// impl Visitor for Name {
///     type Output = &'static str;
///     fn visit<B: Backend>(self, backend: B) -> Self::Output {
///         backend.name()
///     }
/// }
///
/// assert_eq!(Device::open("reference", None)?.run(Name), "reference");
/// # Ok::<(), segcal_core::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Device {
    /// f64, one thread, plain loops.
    Reference(Reference),
    /// f32 on the CPU.
    #[cfg(feature = "cpu")]
    Cpu(Cpu),
    /// f32 on a graphics card.
    #[cfg(feature = "gpu")]
    Gpu(gpu::Gpu),
}

/// Code that is generic over the backend and runs on a [`Device`].
pub trait Visitor {
    /// The result of the code.
    type Output;

    /// Runs the code on the chosen backend.
    fn visit<B: Backend>(self, backend: B) -> Self::Output;
}

impl Device {
    /// The names that [`Device::open`] accepts in this build.
    pub const NAMES: &[&str] = &[
        "reference",
        #[cfg(feature = "cpu")]
        "cpu",
        #[cfg(feature = "gpu")]
        "gpu",
    ];

    /// Opens the backend called `name`. `threads` is its number of threads, by default one per core; the reference
    /// always uses one.
    ///
    /// # Errors
    /// This build has no such backend, or the system refuses to create the threads.
    #[cfg_attr(not(feature = "cpu"), expect(unused_variables, reason = "only the CPU has threads to choose"))]
    pub fn open(name: &str, threads: Option<usize>) -> Result<Self> {
        match name {
            "reference" => Ok(Self::Reference(Reference)),
            #[cfg(feature = "cpu")]
            "cpu" => Ok(Self::Cpu(Cpu::new(threads)?)),
            #[cfg(feature = "gpu")]
            "gpu" => Ok(Self::Gpu(gpu::Gpu::open(&gpu::Options::default())?)),
            _ => Err(Error::new(format!("unknown backend '{name}'"))
                .help(format!("this build has: {}", Self::NAMES.join(", ")))),
        }
    }

    /// The same device, restricted to the instruction set called `name` if it is the CPU; see
    /// [`Cpu::with_instruction_set`]. Other devices are returned unchanged.
    ///
    /// # Errors
    /// This machine does not support the instruction set.
    #[cfg_attr(not(feature = "cpu"), expect(unused_variables, reason = "only the CPU has instruction sets to choose"))]
    pub fn with_instruction_set(self, name: &str) -> Result<Self> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(cpu) => cpu.with_instruction_set(name).map(Self::Cpu),
            other => Ok(other),
        }
    }

    /// Starts watching the work submitted to a graphics card.
    pub fn watch(&self) -> Watch {
        Watch {
            #[cfg(feature = "gpu")]
            card: match self {
                Self::Gpu(gpu) => Some((gpu.clone(), gpu.counters())),
                _ => None,
            },
        }
    }

    /// Runs generic code on the chosen backend.
    pub fn run<V: Visitor>(self, visitor: V) -> V::Output {
        match self {
            Self::Reference(backend) => visitor.visit(backend),
            #[cfg(feature = "cpu")]
            Self::Cpu(backend) => visitor.visit(backend),
            #[cfg(feature = "gpu")]
            Self::Gpu(backend) => visitor.visit(backend),
        }
    }
}

/// Reports the work submitted to a graphics card between calls of [`Watch::look`]; reports nothing on other backends.
#[derive(Debug, Default)]
pub struct Watch {
    #[cfg(feature = "gpu")]
    card: Option<(gpu::Gpu, gpu::Counters)>,
}

impl Watch {
    /// The work submitted since the last call, as one line, and whether it compiled shaders or created buffers.
    pub fn look(&mut self) -> Option<(String, bool)> {
        #[cfg(feature = "gpu")]
        if let Some((gpu, before)) = &mut self.card {
            let now = gpu.counters();
            let since = now - std::mem::replace(before, now);
            return Some((since.to_string(), since.pipelines + since.allocations > 0));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Name;

    impl Visitor for Name {
        type Output = &'static str;
        fn visit<B: Backend>(self, backend: B) -> &'static str {
            backend.name()
        }
    }

    #[test]
    fn every_name_opens_the_backend_of_that_name() {
        for name in Device::NAMES {
            #[cfg(feature = "gpu")]
            if *name == "gpu" && gpu::adapters().is_empty() {
                eprintln!("no graphics card: gpu is not tested");
                continue;
            }
            assert_eq!(Device::open(name, Some(1)).unwrap().run(Name), *name);
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known() {
        let message = Device::open("tpu", None).err().unwrap().to_string();
        assert!(message.contains("'tpu'") && message.contains("reference"), "{message}");
    }
}
