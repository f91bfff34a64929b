//! Compiled shaders, and the folder in which the driver's binaries are cached between runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::kernel::Code;
use super::params::Params;
use super::sync::lock;

/// A pipeline with the layout of its bindings.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// A shader with the number of bindings of each array.
type Key = (Code, Vec<u8>);

/// The compiled pipelines, and the cache used to compile more.
pub(super) struct Pipelines {
    known: Mutex<HashMap<Key, Arc<Pipeline>>>,
    kept: Option<Kept>,
}

impl Pipelines {
    /// Starts without pipelines. Uses what earlier runs cached in `folder`, if the device supports it.
    pub(super) fn new(device: &wgpu::Device, adapter: &wgpu::AdapterInfo, folder: Option<&Path>) -> Self {
        Self { known: Mutex::default(), kept: folder.and_then(|folder| Kept::open(device, adapter, folder)) }
    }

    /// The pipeline of a shader, whose parameters must have the same names in each call. An unknown shader is compiled;
    /// `check` reports whether that failed.
    pub(super) fn get<E>(
        &self,
        device: &wgpu::Device,
        (code, params): (&Code, &Params),
        bindings: Vec<u8>,
        chunk_words: u32,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<Arc<Pipeline>, E> {
        let mut known = lock(&self.known);
        let key = (code.clone(), bindings);
        if let Some(pipeline) = known.get(&key) {
            return Ok(pipeline.clone());
        }
        let made = Arc::new(self.compile(device, (code, params), &key.1, chunk_words));
        check()?;
        known.insert(key, made.clone());
        Ok(made)
    }

    fn compile(
        &self,
        device: &wgpu::Device,
        (code, params): (&Code, &Params),
        bindings: &[u8],
        chunk_words: u32,
    ) -> Pipeline {
        let source = code.source(params, bindings, chunk_words);
        let label = Some(code.name());
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
        let [reads, _] = code.arrays();
        let layout = bind_group_layout(device, label, bindings, reads.len());
        let descriptor =
            wgpu::PipelineLayoutDescriptor { label, bind_group_layouts: &[Some(&layout)], immediate_size: 0 };
        let pipeline_layout = device.create_pipeline_layout(&descriptor);
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every shader writes its shared memory before it reads it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: self.kept.as_ref().map(Kept::cache),
        });
        Pipeline { pipeline, layout }
    }

    /// Number of pipelines whose code satisfies `of`.
    #[cfg(test)]
    pub(super) fn count(&self, of: impl Fn(&Code) -> bool) -> usize {
        lock(&self.known).keys().filter(|(code, _)| of(code)).count()
    }
}

/// Binding 0 holds the parameters; the arrays follow, those that are read first.
fn bind_group_layout(
    device: &wgpu::Device,
    label: Option<&str>,
    bindings: &[u8],
    reads: usize,
) -> wgpu::BindGroupLayout {
    let sum = |counts: &[u8]| counts.iter().map(|&count| usize::from(count)).sum::<usize>();
    let read_only = sum(&bindings[..reads]);
    let entry = |binding: usize| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match binding {
                0 => wgpu::BufferBindingType::Uniform,
                _ => wgpu::BufferBindingType::Storage { read_only: binding <= read_only },
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = (0..=sum(bindings)).map(entry).collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries })
}

/// The driver's binaries of the shaders, in a file that is written when the device is closed.
struct Kept {
    cache: wgpu::PipelineCache,
    file: PathBuf,
    /// The current contents of the file.
    stored: Vec<u8>,
    used: AtomicBool,
}

impl Kept {
    /// `None` if the device has no pipeline cache.
    fn open(device: &wgpu::Device, adapter: &wgpu::AdapterInfo, folder: &Path) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let file = folder.join(wgpu::util::pipeline_cache_key(adapter)?);
        let stored = std::fs::read(&file).ok().and_then(|bytes| unsealed(&bytes)).unwrap_or_default();
        let data = (!stored.is_empty()).then_some(stored.as_slice());
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("segcal"), data, fallback: true };
        // SAFETY: the hash before the bytes shows that `get_data` once returned them; wgpu and the driver check whether
        // they belong to this card and driver.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, file, stored, used: AtomicBool::new(false) })
    }

    fn cache(&self) -> &wgpu::PipelineCache {
        self.used.store(true, Ordering::Relaxed);
        &self.cache
    }

    /// Writes a temporary file and renames it, so that concurrent runs always see a complete file.
    fn save(&self) -> std::io::Result<()> {
        let Some(data) = self.cache.get_data().filter(|data| *data != self.stored) else { return Ok(()) };
        std::fs::create_dir_all(self.file.parent().unwrap_or(Path::new(".")))?;
        let beside = self.file.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&beside, sealed(&data))?;
        std::fs::rename(&beside, &self.file).inspect_err(|_| drop(std::fs::remove_file(&beside)))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // A cache that cannot be saved costs the next run some seconds, but is no reason to fail this one.
        if self.used.load(Ordering::Relaxed)
            && let Err(error) = self.save()
        {
            log::debug!("gpu: cannot save compiled shaders: {}: {error}", self.file.display());
        }
    }
}

/// The bytes, preceded by their hash.
fn sealed(data: &[u8]) -> Vec<u8> {
    [&hash(data).to_le_bytes(), data].concat()
}

/// The bytes after the hash, if they match it.
fn unsealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let (head, data) = bytes.split_at_checked(8)?;
    (head == hash(data).to_le_bytes()).then(|| data.to_vec())
}

/// FNV-1a: detects a truncated or damaged file.
fn hash(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_not_taken_for_a_cache() {
        let whole = sealed(b"compiled shaders");
        assert_eq!(unsealed(&whole).unwrap(), b"compiled shaders");
        assert_eq!(unsealed(&whole[..whole.len() - 1]), None);
        assert_eq!(unsealed(&whole[..5]), None);
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 4;
            assert_eq!(unsealed(&damaged), None, "byte {place}");
        }
    }
}
