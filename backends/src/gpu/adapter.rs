//! Finds graphics cards and opens one with everything it supports.

use std::path::PathBuf;

use segcal_core::{Error, Result};

/// Which card to open, and how much of it to use.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Number or part of the name of the card, as listed by [`adapters`]; the most capable card if absent.
    pub device: Option<String>,
    /// Maximum number of bytes of device memory to use; limited only by the card if absent.
    pub memory: Option<u64>,
    /// Folder in which compiled shaders are cached between runs, if the driver supports it; no cache if absent.
    pub cache: Option<PathBuf>,
}

/// The description of a card.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Its number for `--device`.
    pub index: usize,
    /// Its name, as reported by the driver.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// The interface through which it is accessed: `vulkan`, `metal`, `dx12`.
    pub interface: String,
    /// Name and version of the driver.
    pub driver: String,
    /// Its limits.
    pub limits: Limits,
    /// Names of the supported optional features that matter for computing, in a fixed order.
    pub features: Vec<&'static str>,
}

/// The limits of a device that determine how work is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest buffer, in bytes.
    pub buffer_bytes: u64,
    /// Largest part of a buffer that one binding can expose to a shader, in bytes. Larger tensors take several
    /// bindings.
    pub binding_bytes: u64,
    /// Maximum number of storage bindings of a shader.
    pub bindings: usize,
    /// Maximum number of workgroups along one axis of a dispatch.
    pub groups_per_axis: u32,
    /// Maximum number of threads in a workgroup.
    pub group_threads: u32,
    /// Shared memory of a workgroup, in bytes.
    pub group_bytes: u32,
    /// Alignment of a uniform binding, in bytes.
    pub uniform_alignment: u32,
}

impl Limits {
    fn new(limits: &wgpu::Limits) -> Self {
        Self {
            buffer_bytes: limits.max_buffer_size,
            binding_bytes: limits.max_storage_buffer_binding_size,
            bindings: limits.max_storage_buffers_per_shader_stage as usize,
            groups_per_axis: limits.max_compute_workgroups_per_dimension,
            group_threads: limits.max_compute_invocations_per_workgroup,
            group_bytes: limits.max_compute_workgroup_storage_size,
            uniform_alignment: limits.min_uniform_buffer_offset_alignment,
        }
    }
}

/// The optional features that `segcal devices` reports.
const FEATURES: [(&str, wgpu::Features); 5] = [
    ("f16", wgpu::Features::SHADER_F16),
    ("subgroups", wgpu::Features::SUBGROUP),
    ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
    ("pipeline cache", wgpu::Features::PIPELINE_CACHE),
    ("cooperative matrices", wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
];

/// Percentage of a card's memory that may be filled. An allocation beyond it becomes an error while there is still room
/// to report it.
pub(super) const MEMORY_PERCENT: u8 = 95;

/// Lists every card with an installed driver, in the order in which `--device` numbers them.
///
/// A card that is accessible through two interfaces appears twice.
pub fn adapters() -> Vec<Adapter> {
    enumerate(MEMORY_PERCENT).iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

/// Creating a buffer that would fill the card's memory beyond `memory_percent` becomes an error, if the driver reports
/// how full it is.
fn enumerate(memory_percent: u8) -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    descriptor.flags = wgpu::InstanceFlags::empty();
    descriptor.memory_budget_thresholds.for_resource_creation = Some(memory_percent);
    pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::all()))
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> Adapter {
    let info = adapter.get_info();
    let present = adapter.features();
    Adapter {
        index,
        name: info.name,
        kind: kind(info.device_type),
        interface: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        limits: Limits::new(&adapter.limits()),
        features: FEATURES.iter().filter(|(_, feature)| present.contains(*feature)).map(|&(name, _)| name).collect(),
    }
}

const fn kind(device_type: wgpu::DeviceType) -> &'static str {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

/// An opened card.
pub(super) struct Opened {
    pub(super) adapter: Adapter,
    pub(super) info: wgpu::AdapterInfo,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
}

/// Opens the card that `wanted` selects by number or by part of its name; by default, the first card of the most
/// capable kind.
pub(super) fn open(wanted: Option<&str>, memory_percent: u8) -> Result<Opened> {
    let found = enumerate(memory_percent);
    let described: Vec<Adapter> = found.iter().enumerate().map(|(index, one)| describe(index, one)).collect();
    let index = choose(&described, wanted)?;
    let adapter = &found[index];
    let optional = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE;
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("segcal"),
        required_features: adapter.features() & optional,
        required_limits: adapter.limits(),
        experimental_features: wgpu::ExperimentalFeatures::disabled(),
        memory_hints: wgpu::MemoryHints::Performance,
        trace: wgpu::Trace::Off,
    };
    let opened = pollster::block_on(adapter.request_device(&descriptor));
    let (device, queue) = opened.map_err(|error| {
        Error::from_source(error)
            .at(&described[index].name)
            .help("update the card's driver, or choose another with --device")
    })?;
    Ok(Opened { adapter: described[index].clone(), info: adapter.get_info(), device, queue })
}

fn choose(adapters: &[Adapter], wanted: Option<&str>) -> Result<usize> {
    if adapters.is_empty() {
        let remedy = "install the driver of the graphics card with its Vulkan part (Debian and Ubuntu: \
                      mesa-vulkan-drivers libvulkan1, for NVIDIA nvidia-driver), or use --backend cpu";
        return Err(Error::new("no graphics card was found").at("--backend gpu").help(remedy));
    }
    let Some(wanted) = wanted else {
        let rank = |one: &Adapter| ["discrete", "integrated", "virtual"].iter().position(|&kind| kind == one.kind);
        return Ok((0..adapters.len()).min_by_key(|&index| rank(&adapters[index]).unwrap_or(3)).unwrap_or(0));
    };
    let by_name = |one: &&Adapter| one.name.to_lowercase().contains(&wanted.to_lowercase());
    let chosen = match wanted.parse::<usize>() {
        Ok(index) => adapters.get(index),
        Err(_) => adapters.iter().find(by_name),
    };
    chosen.map(|adapter| adapter.index).ok_or_else(|| {
        let known: Vec<String> = adapters.iter().map(|one| format!("{} {}", one.index, one.name)).collect();
        Error::new(format!("no graphics card matches {wanted:?}"))
            .at("--device")
            .help(format!("available: {}", known.join("; ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(index: usize, name: &str, kind: &'static str) -> Adapter {
        Adapter {
            index,
            name: name.into(),
            kind,
            interface: "vulkan".into(),
            driver: String::new(),
            limits: Limits::new(&wgpu::Limits::default()),
            features: Vec::new(),
        }
    }

    #[test]
    fn the_most_capable_kind_comes_first_and_a_wish_is_obeyed() {
        let cards = [card(0, "llvmpipe", "software"), card(1, "UHD 630", "integrated"), card(2, "RX 7600", "discrete")];
        assert_eq!(choose(&cards, None).unwrap(), 2);
        assert_eq!(choose(&cards[..2], None).unwrap(), 1);
        assert_eq!(choose(&cards, Some("0")).unwrap(), 0);
        assert_eq!(choose(&cards, Some("uhd")).unwrap(), 1);
    }

    #[test]
    fn a_missing_card_is_an_error_that_says_what_there_is() {
        let message = choose(&[card(0, "llvmpipe", "software")], Some("3")).unwrap_err().to_string();
        assert!(message.contains("--device") && message.contains("0 llvmpipe"), "{message}");
        let message = choose(&[], None).unwrap_err().to_string();
        assert!(message.contains("mesa-vulkan-drivers") && message.contains("--backend cpu"), "{message}");
    }
}
