//! `segcal info FILE…`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use segcal_core::{Context, Result};
use serde_json::{Map, Value, json};

use super::Cases;
use segcal_data::{self as data, checkpoint, formats, nifti, npy, png};
use segcal_evaluate::masks;
use segcal_metrics::measure::Nested;

use crate::{Common, Outcome, output};

/// Describe volumes, arrays, images and checkpoints: shape, geometry, number type, statistics, labels.
///
/// Reads NIfTI (.nii, .nii.gz, .hdr of a pair), MetaImage (.mha, .mhd), NRRD (.nrrd, .nhdr), NumPy (.npy, .npz) and
/// PNG. For a checkpoint (.safetensors) or a run folder, shows the network, the epoch, the classes and, if the outputs
/// are regions, the regions. For a folder with one subfolder per case and one file per class, shows the classes. With
/// --json, prints an object for one file and a list for several.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal info scan.nii.gz\n  segcal info --json labelsTr/*.nii.gz")]
pub struct Args {
    /// Files to describe.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Up to this many distinct whole values are taken for labels.
const MAX_LABELS: usize = 256;

/// Describes the files.
///
/// # Errors
/// No file can be read. If only some cannot, they are reported and the outcome is [`Outcome::SomeFailed`].
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let progress = common.progress("reading", args.files.len());
    let mut cases = Cases::default();
    let mut all = Vec::new();
    for path in &args.files {
        match describe(path) {
            Ok(found) => all.extend(found),
            // No file could be read: unreadable input, not a partial failure.
            Err(error) if cases.failed() + 1 == args.files.len() => return Err(error),
            Err(error) => cases.fail(&error),
        }
        progress.step(path.display());
    }
    drop(progress);
    if !common.json {
        output::print(&all.iter().map(as_text).collect::<Vec<_>>().join("\n"))?;
    } else if let ([only], 1) = (&all[..], args.files.len()) {
        output::print_json(only)?;
    } else {
        output::print_json(&all)?;
    }
    Ok(cases.outcome())
}

/// Describes a file: one entry, or one for each array of an archive.
fn describe(path: &Path) -> Result<Vec<Map<String, Value>>> {
    // A missing file must not be reported as one with an unknown ending.
    std::fs::metadata(path).at(path.display())?;
    let best = path.join("best.safetensors");
    if best.is_file() {
        return Ok(vec![describe_checkpoint(&best)?]);
    }
    if let Some(cases) = masks::cases(path)? {
        return Ok(vec![describe_masks(path, &cases)]);
    }
    if !npy::is_array(path) {
        let entry = match data::ending(path) {
            Some(".png") => describe_png(path),
            None if path.extension().is_some_and(|ending| ending == "safetensors") => describe_checkpoint(path),
            Some(_) if formats::is_known(path) => describe_text(path),
            _ => describe_nifti(path),
        };
        return Ok(vec![entry?]);
    }
    let keys = if npy::is_archive(path) { npy::names(path)? } else { vec![String::new()] };
    keys.iter().map(|key| describe_array(path, key)).collect()
}

/// Describes a folder that has a subfolder for each case, with one file named after each class.
fn describe_masks(path: &Path, cases: &masks::Cases) -> Map<String, Value> {
    let classes: BTreeSet<&String> = cases.values().flat_map(BTreeMap::keys).collect();
    entry(json!({
        "file": path.display().to_string(),
        "format": "one file a class by name",
        "cases": cases.len(),
        "classes": classes,
    }))
}

/// Describes a checkpoint: its tensors, and the metadata that a segcal run stores.
fn describe_checkpoint(path: &Path) -> Result<Map<String, Value>> {
    let stored = checkpoint::load(path)?;
    let said = |key: &str| stored.value(key).ok().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut entry = entry(json!({
        "file": path.display().to_string(),
        "format": "safetensors",
        "tensors": stored.names()?.len(),
    }));
    let known =
        [("epoch", "epoch"), ("network", "network"), ("class_names", "classes"), ("spacings_mm", "spacings_mm")];
    entry.extend(known.into_iter().filter_map(|(key, name)| Some((name.to_owned(), said(key)?))));
    // With the keys of dataset.json.
    if let Some(Nested { regions, order }) = said("regions").and_then(|text| serde_json::from_value(text).ok()) {
        let labels = regions.into_iter().map(|region| (region.name, region.labels.into()));
        entry.insert("regions".into(), Value::Object(labels.collect()));
        entry.insert("regions_class_order".into(), order.into());
    }
    Ok(entry)
}

fn describe_nifti(path: &Path) -> Result<Map<String, Value>> {
    if data::ending(path).is_none() {
        return Err(data::unknown_ending(path, " .npy .npz"));
    }
    let reader = nifti::Reader::open(path)?;
    let (header, grid) = (reader.header().clone(), reader.grid()?);
    let (affine, source) = header.affine().at(path.display())?;
    if let Some(doubt) = header.spacing_doubt() {
        log::warn!("{}: {doubt}; spacing_mm is taken from the affine", path.display());
    }
    let mut statistics = Statistics::default();
    reader.each(|values| {
        statistics.add(values);
        Ok(())
    })?;
    let numbers = |values: &[f64]| values.iter().copied().map(output::number).collect::<Vec<_>>();
    let mut rows: Vec<_> = affine.iter().map(|row| numbers(row)).collect();
    rows.push(numbers(&[0.0, 0.0, 0.0, 1.0]));
    let [z, y, x] = grid.spacing_mm();
    let mut entry = entry(json!({
        "file": path.display().to_string(),
        "format": header.format.to_string(),
        "endian": if header.big_endian { "big" } else { "little" },
        "dim": header.dim,
        "datatype": header.datatype,
        "datatype_name": header.kind.name(),
        "pixdim": numbers(&header.pixdim),
        "spacing_mm": [x, y, z],
        "vox_offset": header.vox_offset,
        "scl_slope": output::number(header.scl_slope),
        "scl_inter": output::number(header.scl_inter),
        "qform_code": header.qform_code,
        "sform_code": header.sform_code,
        "intent_code": header.intent_code,
        "affine": rows,
        "affine_from": source.as_str(),
        "axes": grid.axes().to_string(),
        "oblique": grid.oblique(),
    }));
    entry.extend(statistics.into_json());
    Ok(entry)
}

/// Describes a MetaImage or NRRD file; its statistics are computed from 32-bit floats.
fn describe_text(path: &Path) -> Result<Map<String, Value>> {
    let (_, _, kind) = formats::read_header(path)?;
    let volume = data::read_image(path)?;
    let ([d, h, w], [z, y, x]) = (volume.grid.extent, volume.grid.spacing_mm());
    let channels = Some(volume.channels()).filter(|&channels| channels > 1);
    let dim: Vec<usize> = [w, h, d].into_iter().chain(channels).collect();
    let mut rows: Vec<Vec<Value>> =
        volume.grid.affine.iter().map(|row| row.iter().copied().map(output::number).collect()).collect();
    rows.push([0.0, 0.0, 0.0, 1.0].map(output::number).to_vec());
    let mut entry = entry(json!({
        "file": path.display().to_string(),
        "format": data::ending(path).unwrap_or_default().trim_start_matches('.'),
        "dim": dim,
        "datatype": kind.name(),
        "datatype_name": kind.name(),
        "spacing_mm": [x, y, z],
        "affine": rows,
        "affine_from": "header",
        "axes": volume.grid.axes().to_string(),
        "oblique": volume.grid.oblique(),
    }));
    let mut statistics = Statistics::default();
    statistics.add(&volume.values().iter().copied().map(f64::from).collect::<Vec<_>>());
    entry.extend(statistics.into_json());
    Ok(entry)
}

fn describe_array(path: &Path, key: &str) -> Result<Map<String, Value>> {
    let header = npy::read_header(path, key)?;
    let mut statistics = Statistics::default();
    if header.fortran {
        // In the logical order of the axes, because a floating-point sum depends on its order.
        statistics.add(&npy::read::<f64>(path, key)?.data);
    } else {
        npy::each(path, key, |values| statistics.add(values))?;
    }
    let mut entry = entry(json!({
        "file": path.display().to_string(),
        "format": if npy::is_archive(path) { "npz" } else { "npy" },
        "endian": if header.big_endian { "big" } else { "little" },
        "dim": header.shape,
        "datatype": header.kind.name(),
        "datatype_name": header.kind.name(),
    }));
    if npy::is_archive(path) {
        entry.insert("array".into(), key.into());
    }
    entry.insert("fortran_order".into(), header.fortran.into());
    entry.extend(no_geometry());
    entry.extend(statistics.into_json());
    Ok(entry)
}

fn describe_png(path: &Path) -> Result<Map<String, Value>> {
    // Palette images are described by their indices, which are what segcal reads.
    let (kind, values) = png::read_plain(path)?;
    let [_, height, width] = values.grid.extent;
    let mut entry = entry(json!({
        "file": path.display().to_string(),
        "format": "png",
        "endian": "big",
        "dim": [width, height],
        "datatype": kind,
        "datatype_name": kind,
    }));
    entry.extend(no_geometry());
    let mut statistics = Statistics::default();
    for piece in values.values().chunks(1 << 16) {
        statistics.add(&piece.iter().copied().map(f64::from).collect::<Vec<_>>());
    }
    entry.extend(statistics.into_json());
    Ok(entry)
}

fn entry(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The keys of a volume that do not apply to arrays and pictures.
fn no_geometry() -> Map<String, Value> {
    let keys = ["pixdim", "scl_slope", "scl_inter", "affine", "affine_from", "axes", "oblique"];
    keys.into_iter().map(|key| (key.to_owned(), Value::Null)).collect()
}

/// Statistics of all numbers except NaN, which are counted separately.
struct Statistics {
    min: f64,
    max: f64,
    sum: f64,
    count: u64,
    nans: u64,
    /// Counts of whole values; `None` once one is not whole or there are too many.
    labels: Option<BTreeMap<i64, u64>>,
}

impl Default for Statistics {
    fn default() -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { min, max, sum: 0.0, count: 0, nans: 0, labels: Some(BTreeMap::new()) }
    }
}

impl Statistics {
    fn add(&mut self, values: &[f64]) {
        // Sums short blocks first, then their sums, which keeps the rounding error that of a short sum.
        for block in values.chunks(1024) {
            let mut sum = 0.0;
            for &x in block.iter().filter(|x| !x.is_nan()) {
                self.min = self.min.min(x);
                self.max = self.max.max(x);
                sum += x;
                self.count += 1;
            }
            self.sum += sum;
        }
        self.nans += values.iter().filter(|x| x.is_nan()).count() as u64;
        self.labels = self.labels.take().and_then(|labels| count_labels(labels, values));
    }

    fn into_json(self) -> Map<String, Value> {
        let or_nan = |x: f64| output::number(if self.count == 0 { f64::NAN } else { x });
        let labels = self.labels.map_or(Value::Null, |labels| {
            labels.into_iter().map(|(label, count)| (label.to_string(), Value::from(count))).collect()
        });
        entry(json!({
            "min": or_nan(self.min),
            "max": or_nan(self.max),
            "mean": or_nan(self.sum / self.count as f64),
            "sum": output::number(self.sum),
            "nans": self.nans,
            "labels": labels,
        }))
    }
}

/// Adds the counts of these values, run by run; `None` if they are not all labels.
#[expect(clippy::cast_possible_truncation, reason = "compared with the number itself")]
fn count_labels(mut labels: BTreeMap<i64, u64>, values: &[f64]) -> Option<BTreeMap<i64, u64>> {
    for run in values.chunk_by(|a, b| a == b) {
        let label = run[0] as i64;
        if label as f64 != run[0] || label.unsigned_abs() > 1 << 53 {
            return None;
        }
        *labels.entry(label).or_insert(0) += run.len() as u64;
        if labels.len() > MAX_LABELS {
            return None;
        }
    }
    Some(labels)
}

/// Formats an entry as lines of text.
fn as_text(entry: &Map<String, Value>) -> String {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let list = |value: &Value, between: &str| match value {
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(between),
        other => plain(other),
    };
    let mut lines = vec![plain(&entry["file"])];
    for (key, value) in entry.iter().filter(|(key, value)| *key != "file" && !value.is_null()) {
        let value = match (key.as_str(), value) {
            ("dim", value) => list(value, " x "),
            ("affine", Value::Array(rows)) => {
                rows.iter().map(|row| list(row, " ")).collect::<Vec<_>>().join(&format!("\n{:16}", ""))
            }
            ("labels", Value::Object(labels)) if labels.len() > 32 => {
                format!("{} distinct whole values", labels.len())
            }
            ("labels", Value::Object(labels)) => {
                labels.iter().map(|(label, count)| format!("{label}: {count}")).collect::<Vec<_>>().join(", ")
            }
            (_, value) => list(value, " "),
        };
        lines.push(format!("  {key:13} {value}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_leave_nan_out_and_count_it() {
        let mut statistics = Statistics::default();
        statistics.add(&[1.0, f64::NAN, -3.0]);
        let json = statistics.into_json();
        assert_eq!(json["min"], json!(-3.0));
        assert_eq!(json["sum"], json!(-2.0));
        assert_eq!(json["nans"], json!(1));
        assert_eq!(json["labels"], Value::Null);
        let nothing = Statistics::default().into_json();
        assert_eq!(nothing["mean"], json!("nan"));
    }

    #[test]
    fn labels_are_counted_while_they_are_labels() {
        let counts = |values: &[f64]| count_labels(BTreeMap::new(), values);
        assert_eq!(counts(&[0.0, 0.0, 2.0, -0.0, -1.0]), Some(BTreeMap::from([(-1, 1), (0, 3), (2, 1)])));
        assert_eq!(counts(&[0.5]), None);
        assert_eq!(counts(&[f64::INFINITY]), None);
        assert_eq!(counts(&(0..300).map(f64::from).collect::<Vec<_>>()), None);
    }
}
