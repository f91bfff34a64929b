//! `segcal list KIND`.

use clap::ValueEnum;
use segcal_backends::Device;
use segcal_core::{Error, Result};
use segcal_losses::{Convention, Given, Loss, Prior, Spec};
use segcal_metrics::definitions::METRICS;
use segcal_metrics::metric::Metric;
use segcal_models::{NetworkEntry, networks as list_of_networks};
use segcal_train::settings::reference::{self, Key};
use segcal_train::settings::{Operators, Preset, Settings};
use serde_json::{Value, json};

use crate::{Common, Outcome, output};

/// List config keys, losses, priors, metrics, networks, augmentations and backends, with parameters and sources.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal list losses\n  segcal list priors --json")]
pub struct Args {
    /// What to list.
    #[arg(value_enum)]
    pub kind: Kind,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// Losses.
    Losses,
    /// Label priors.
    Priors,
    /// Metrics, each with unit, direction and definition.
    Metrics,
    /// Networks.
    Networks,
    /// Augmentations of training samples, with their values in each preset of `augment`.
    Augmentations,
    /// Keys of a training config, including those of optimisers and schedules.
    Config,
    /// Backends of this build.
    Backends,
}

/// Prints the list.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let specs = match args.kind {
        Kind::Losses => Loss::SPECS,
        Kind::Priors => Prior::SPECS,
        Kind::Metrics => return metrics(common),
        Kind::Networks => return networks(common),
        Kind::Augmentations => return augmentations(common),
        Kind::Config => return config(common),
        Kind::Backends => return backends(common),
    };
    if common.json {
        output::print_json(&specs.iter().map(as_json).collect::<Vec<_>>())?;
    } else {
        output::print(&specs.iter().map(as_text).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Outcome::Done)
}

fn metrics(common: &Common) -> Result<Outcome> {
    if common.json {
        let row = |metric: &Metric| {
            json!({
                "key": metric.key,
                "unit": metric.unit,
                "range": metric.range.map(output::number),
                "best": if metric.judges() { output::number(metric.best()) } else { Value::Null },
                "of": if metric.per_structure() { "structure" } else { "region" },
                "definition": metric.definition,
                "source": metric.source,
            })
        };
        output::print_json(&METRICS.iter().map(row).collect::<Vec<_>>())?;
    } else {
        let row = |metric: &Metric| {
            let of = if metric.per_structure() { "structure" } else { "region" };
            let unit = if metric.unit == "1" { String::new() } else { format!(" in {}", metric.unit) };
            let best = if metric.judges() { format!("best {}", metric.best()) } else { "no better direction".into() };
            format!("{}: per {of}{unit}, {best}\n    {}\n    {}\n", metric.key, metric.definition, metric.source)
        };
        output::print(&METRICS.iter().map(row).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Outcome::Done)
}

fn networks(common: &Common) -> Result<Outcome> {
    if common.json {
        output::print_json(&list_of_networks().map(network_as_json).collect::<Vec<_>>())?;
    } else {
        output::print(&list_of_networks().map(network_as_text).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Outcome::Done)
}

fn network_as_json(entry: &NetworkEntry) -> Value {
    let values = entry.values();
    let key = |(name, doc): &(&str, &str)| json!({ "name": name, "default": values[*name], "doc": doc });
    json!({
        "name": entry.name,
        "doc": entry.doc,
        "paper": entry.paper,
        "source": entry.source,
        "parameters": entry.keys.iter().map(key).collect::<Vec<_>>(),
    })
}

fn network_as_text(entry: &NetworkEntry) -> String {
    let values = entry.values();
    let key = |(name, doc): &(&str, &str)| match &values[*name] {
        Value::Null => format!("    {name}    {doc}\n"),
        value => format!("    {name} = {value}    {doc}\n"),
    };
    let head = format!("{}: {}\n    {}\n    {}\n", entry.name, entry.doc, entry.paper, entry.source);
    head + &entry.keys.iter().map(key).collect::<String>()
}

/// The operators with the values of each preset, for square slices.
fn augmentations(common: &Common) -> Result<Outcome> {
    let samples = Settings::default().samples;
    let values = |preset| serde_json::to_value(Operators::of(preset, &samples)).map_err(Error::from_source);
    let [none, light, nnunet] = [values(Preset::None)?, values(Preset::Light)?, values(Preset::Nnunet)?];
    if common.json {
        let row = |(name, doc): &(&str, &str)| {
            let [none, light, nnunet] = [&none, &light, &nnunet].map(|values| &values[*name]);
            json!({ "name": name, "doc": doc, "none": none, "light": light, "nnunet": nnunet })
        };
        output::print_json(&Operators::DOCS.iter().map(row).collect::<Vec<_>>())?;
    } else {
        let row = |(name, doc): &(&str, &str)| {
            let of = |preset: &str, values: &Value| format!("    {preset}: {}\n", values[*name]);
            format!("augment.{name}: {doc}\n{}{}", of("light", &light), of("nnunet", &nnunet))
        };
        output::print(&Operators::DOCS.iter().map(row).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Outcome::Done)
}

/// The keys of a training config; networks and losses have their own lists.
fn config(common: &Common) -> Result<Outcome> {
    if common.json {
        output::print_json(&reference::keys())?;
    } else {
        let row = |key: &Key| {
            let default = if key.default.is_null() { String::new() } else { format!(" = {}", key.default) };
            let with = key.only_with.as_ref().map_or_else(String::new, |name| format!(" (with name = {name})"));
            format!("{}{default}{with}: {}\n    {}\n", key.key, key.kind, key.doc)
        };
        output::print(&reference::keys().iter().map(row).collect::<String>())?;
    }
    Ok(Outcome::Done)
}

fn backends(common: &Common) -> Result<Outcome> {
    if common.json {
        output::print_json(&Device::NAMES)?;
    } else {
        output::print(&Device::NAMES.iter().map(|name| format!("{name}\n")).collect::<String>())?;
    }
    Ok(Outcome::Done)
}

fn as_json(spec: &Spec) -> Value {
    let params = spec.params().map(|param| {
        json!({
            "name": param.name,
            "default": param.default,
            "default_paper": param.paper_default.unwrap_or(param.default),
            "range": param.range.to_string(),
            "doc": param.doc,
            "reported": param.reported,
        })
    });
    json!({
        "name": spec.name,
        "title": spec.title,
        "source": spec.source,
        "needs_image": spec.image,
        "unfit_for_regions": unfit_for_regions(spec),
        "parameters": params.collect::<Vec<_>>(),
    })
}

/// Why a loss, with its default parameters, does not apply to regions that are separate problems.
fn unfit_for_regions(spec: &Spec) -> Option<&'static str> {
    let loss = Loss::new(spec.name, &Given::new(), Convention::default()).ok()?;
    loss.unfit_for_regions()
}

fn as_text(spec: &Spec) -> String {
    let mut text = format!("{}: {}\n    {}\n", spec.name, spec.title, spec.source);
    if let Some(why) = unfit_for_regions(spec) {
        text += &format!("    not for regions, which have one logit each: {why}\n");
    }
    for param in spec.params() {
        let default = match param.paper_default {
            Some(paper) => format!("{} (paper: {paper})", param.default),
            None => param.default.to_string(),
        };
        let only = param.only_with.map_or_else(String::new, |(other, word)| format!(", with {other} = {word}"));
        text += &format!("    {} = {default}    {}{only}; {}\n", param.name, param.doc, param.range);
        if !param.reported.is_empty() {
            text += &format!("        papers: {}\n", param.reported);
        }
    }
    text
}
