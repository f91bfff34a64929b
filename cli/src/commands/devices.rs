//! `segcal devices`.

use segcal_core::Result;
use serde_json::Value;
#[cfg(feature = "gpu")]
use serde_json::json;

use crate::{Common, Outcome, output};

/// List the graphics cards that `--backend gpu` can use, with their limits.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal devices\n  segcal train config.toml --backend gpu --device 1")]
pub struct Args {}

/// One card: what is printed as text, and the same as JSON.
struct Card {
    text: String,
    json: Value,
}

/// Prints the list.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(_: &Args, common: &Common) -> Result<Outcome> {
    let cards = cards();
    if common.json {
        output::print_json(&cards.iter().map(|card| &card.json).collect::<Vec<_>>())?;
    } else if cards.is_empty() {
        output::print(NONE)?;
    } else {
        output::print(&cards.iter().map(|card| card.text.as_str()).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Outcome::Done)
}

#[cfg(not(feature = "gpu"))]
const NONE: &str = "This build has no GPU backend: build with --features gpu.\n";

#[cfg(not(feature = "gpu"))]
fn cards() -> Vec<Card> {
    Vec::new()
}

#[cfg(feature = "gpu")]
const NONE: &str = "No graphics card was found. Install the card's driver with Vulkan support (Debian and Ubuntu: \
                    mesa-vulkan-drivers libvulkan1; for NVIDIA, nvidia-driver).\n";

#[cfg(feature = "gpu")]
fn cards() -> Vec<Card> {
    segcal_backends::gpu::adapters().iter().map(|card| Card { text: as_text(card), json: as_json(card) }).collect()
}

#[cfg(feature = "gpu")]
fn as_text(card: &segcal_backends::gpu::Adapter) -> String {
    let limits = card.limits;
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "{} {} ({}, {}, {})\n    buffer {} MiB, binding {} MiB, {} bindings; {} threads and {} KiB per workgroup; {} \
         workgroups per axis\n    offers: {}\n    takes: {}\n",
        card.index,
        card.name,
        card.kind,
        card.interface,
        card.driver,
        mib(limits.buffer_bytes),
        mib(limits.binding_bytes),
        limits.bindings,
        limits.group_threads,
        limits.group_bytes >> 10,
        limits.groups_per_axis,
        if card.features.is_empty() { "nothing more".to_owned() } else { card.features.join(", ") },
        paths(card).join("; "),
    )
}

/// What the backend does on this card, in aspects where cards differ.
#[cfg(feature = "gpu")]
fn paths(card: &segcal_backends::gpu::Adapter) -> Vec<String> {
    let has = |feature: &str| card.features.contains(&feature);
    let either = |feature: &str, with: &str, without: &str| if has(feature) { with } else { without }.to_owned();
    vec![
        "f32 in memory and in arithmetic".to_owned(),
        format!("tensors above {} MiB in several bindings", card.limits.binding_bytes >> 20),
        either("pipeline cache", "compiled shaders kept between runs", "shaders compiled in every run"),
        either("timestamps", "kernels timed by the card", "kernels not timed"),
    ]
}

#[cfg(feature = "gpu")]
fn as_json(card: &segcal_backends::gpu::Adapter) -> Value {
    let limits = card.limits;
    json!({
        "index": card.index,
        "name": card.name,
        "kind": card.kind,
        "interface": card.interface,
        "driver": card.driver,
        "limits": {
            "buffer_bytes": limits.buffer_bytes,
            "binding_bytes": limits.binding_bytes,
            "bindings": limits.bindings,
            "groups_per_axis": limits.groups_per_axis,
            "group_threads": limits.group_threads,
            "group_bytes": limits.group_bytes,
        },
        "features": card.features,
        "paths": paths(card),
    })
}
