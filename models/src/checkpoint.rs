//! Checkpoints: safetensors files with PyTorch-style names and shapes, written whole or not at all.
//!
//! A file contains groups of named tensors. The weights form the group with the empty name and keep their own names, so
//! that Python loads them directly; the tensors of any other group are named `<group>.<name>`. Everything else (config,
//! epoch) is string metadata. Numbers are stored in the backend's own type, so that they are restored bit for bit; the
//! bytes of a file depend only on its content. Reading executes no code.
//!
//! Batch normalisation's `num_batches_tracked`, which PyTorch writes and nobody reads, is neither written nor expected.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use segcal_core::{Backend, Context, Elem, Error, Result, Tensor};
use serde_json::{Map, Value, json};

use crate::init::Spec;
use crate::params::{Parameter, Parameters};
use crate::whole_file;

/// Metadata key under which the names of the groups are listed.
const GROUPS: &str = "groups";

/// Atomically writes groups of tensors and string metadata to `path` (see [`whole_file::write`]).
///
/// # Errors
/// The file cannot be written, the device cannot be read, or a number is NaN or infinite (nothing is written in this
/// case: the older file is worth more).
pub fn save<B: Backend>(
    path: &Path,
    groups: &[(&str, &Parameters<B>)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut header = Map::new();
    let mut metadata = metadata.clone();
    metadata.insert("format".into(), "pt".into());
    metadata.insert(GROUPS.into(), groups.iter().map(|(group, _)| *group).collect::<Vec<_>>().join(","));
    header.insert("__metadata__".into(), json!(metadata));
    let mut data = Vec::new();
    for (group, parameters) in groups {
        for parameter in parameters.iter() {
            let (dtype, bytes) = encode(parameter).at(path.display())?;
            let offsets = [data.len(), data.len() + bytes.len()];
            data.extend(bytes);
            let entry = json!({ "dtype": dtype, "shape": parameter.dims, "data_offsets": offsets });
            let name = stored_name(group, &parameter.name);
            assert!(header.insert(name.clone(), entry).is_none(), "save: duplicate name {name}");
        }
    }
    write_whole(path, &Value::Object(header).to_string(), &data).at(path.display())
}

fn stored_name(group: &str, name: &str) -> String {
    if group.is_empty() { name.into() } else { format!("{group}.{name}") }
}

/// The safetensors name of the number type, and the numbers in little-endian order.
fn encode<B: Backend>(parameter: &Parameter<B>) -> Result<(&'static str, Vec<u8>)> {
    let numbers = parameter.value.to_vec().at(&parameter.name)?;
    if let Some(bad) = numbers.iter().find(|number| !number.f64().is_finite()) {
        let error = Error::new(format!("the tensor contains {}; nothing was written", bad.f64())).at(&parameter.name);
        return Err(error.help("the training diverged: lower the learning rate or clip the gradients"));
    }
    Ok(if size_of::<B::Elem>() == size_of::<f64>() {
        ("F64", numbers.iter().flat_map(|number| number.f64().to_le_bytes()).collect())
    } else {
        ("F32", numbers.iter().flat_map(|number| (number.f64() as f32).to_le_bytes()).collect())
    })
}

/// Writes the safetensors layout (header length, JSON header padded to 8 bytes, data) without the library, which keeps
/// metadata in a hash map, so that its files would differ from run to run.
fn write_whole(path: &Path, header: &str, data: &[u8]) -> Result<()> {
    let mut header = header.as_bytes().to_vec();
    header.resize(header.len().next_multiple_of(8), b' ');
    let written = whole_file::write::<std::io::Error>(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        file.write_all(data)
    });
    written.map_err(|error| Error::from(error).help("check that the folder exists, is writable and has room"))
}

/// A checkpoint whose header has been read and validated; its tensors are decoded on request.
pub struct Stored {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: BTreeMap<String, String>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({}, {} bytes)", self.path.display(), self.bytes.len())
    }
}

/// Reads a checkpoint, or any other safetensors file.
///
/// # Errors
/// The file cannot be read, is truncated or is not a safetensors file.
pub fn load(path: &Path) -> Result<Stored> {
    let bytes = fs::read(path).map_err(Error::from).at(path.display())?;
    let metadata = (|| {
        SafeTensors::deserialize(&bytes)?;
        SafeTensors::read_metadata(&bytes).map(|(_, header)| header.metadata().clone())
    })();
    let foreign = |error| {
        let error = Error::new(format!("not a complete safetensors file: {error}")).at(path.display());
        Err(error.help("it may be truncated or in another format: use a file that was saved completely"))
    };
    let metadata = metadata.or_else(foreign)?.unwrap_or_default().into_iter().collect();
    Ok(Stored { path: path.into(), bytes, metadata })
}

impl Stored {
    /// The string metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// One value of the metadata.
    ///
    /// # Errors
    /// The key is missing.
    pub fn value(&self, key: &str) -> Result<&str> {
        let missing = || {
            let error = Error::new(format!("the metadata has no key \"{key}\"")).at(self.path.display());
            error.help("this file was not written by segcal for this purpose: use the checkpoint of a run")
        };
        self.metadata.get(key).map(String::as_str).ok_or_else(missing)
    }

    /// The names of the stored tensors.
    ///
    /// # Errors
    /// The file is truncated.
    pub fn names(&self) -> Result<Vec<String>> {
        let file = SafeTensors::deserialize(&self.bytes).map_err(Error::from_source).at(self.path.display())?;
        Ok(file.names().into_iter().map(str::to_owned).collect())
    }

    /// The extents of the stored tensor of this name, if there is one.
    pub fn dims(&self, name: &str) -> Option<Vec<usize>> {
        let file = SafeTensors::deserialize(&self.bytes).ok()?;
        file.tensor(name).ok().map(|view| view.shape().to_vec())
    }

    /// Whether a group was stored.
    pub fn has(&self, group: &str) -> bool {
        self.groups().contains(group)
    }

    fn groups(&self) -> BTreeSet<&str> {
        self.metadata.get(GROUPS).map_or_else(BTreeSet::new, |groups| groups.split(',').collect())
    }

    /// Returns the tensors of a group in the order, names and shapes of `like`, whose own values do not matter. Accepts
    /// F32, F64, F16 and BF16.
    ///
    /// # Errors
    /// A tensor is missing, unexpected, of another shape or number type, or contains NaN or infinity; the message names
    /// the file and the tensor.
    pub fn restore<B: Backend>(&self, group: &str, like: &Parameters<B>) -> Result<Parameters<B>> {
        self.restore_group(group, like).at(self.path.display())
    }

    /// Returns the tensors of a network trained elsewhere: exactly those of `specs`. A tensor of other extents is
    /// passed to `adapt`, which converts it to the network's extents if it can.
    ///
    /// # Errors
    /// Everything that does not fit, in one message: tensors that are missing, that the network does not have, or that
    /// have other extents; or numbers that are not finite.
    pub fn import<B: Backend>(
        &self,
        specs: &[Spec],
        backend: &B,
        adapt: impl Fn(&Spec, &[usize], &[f64]) -> Option<Vec<f64>>,
    ) -> Result<Parameters<B>> {
        let file = SafeTensors::deserialize(&self.bytes).map_err(Error::from_source).at(self.path.display())?;
        let blank = Parameters::blank(specs, backend);
        let (mut values, mut problems) = (Vec::new(), Vec::new());
        for (spec, parameter) in specs.iter().zip(blank.iter()) {
            let Ok(view) = file.tensor(&spec.name) else {
                problems.push(format!("{} is missing", spec.name));
                continue;
            };
            if view.shape() == spec.dims {
                values.push(decode(parameter, &view).at(&spec.name).at(self.path.display())?);
                continue;
            }
            let numbers = numbers(&view).at(&spec.name).at(self.path.display())?;
            match adapt(spec, view.shape(), &numbers) {
                Some(numbers) => values.push(Tensor::from_f64(backend, spec.shape, &numbers)),
                None => problems.push(format!("{} is {:?}, not {:?}", spec.name, view.shape(), spec.dims)),
            }
        }
        let known: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let mut extra = file.names();
        // What a run stores besides its weights, such as the optimiser's moments, is not part of a network.
        extra.retain(|name| {
            !known.contains(name) && !name.ends_with(".num_batches_tracked") && self.group_of(name).is_empty()
        });
        extra.sort_unstable();
        problems.extend(extra.iter().map(|name| format!("the network has no {name}")));
        if problems.is_empty() {
            return Ok(blank.with_values(values));
        }
        let error = Error::new(format!("{} tensors do not fit: {}", problems.len(), problems.join("; ")));
        Err(error.at(self.path.display()).help("choose the network and the keys that the weights were trained with"))
    }

    fn restore_group<B: Backend>(&self, group: &str, like: &Parameters<B>) -> Result<Parameters<B>> {
        let file = SafeTensors::deserialize(&self.bytes).map_err(Error::from_source)?;
        let mut values = Vec::with_capacity(like.len());
        for parameter in like.iter() {
            let name = stored_name(group, &parameter.name);
            let view = file.tensor(&name).map_err(|_| missing(&name, &file))?;
            values.push(decode(parameter, &view).at(&name)?);
        }
        let wanted: BTreeSet<String> = like.iter().map(|parameter| stored_name(group, &parameter.name)).collect();
        let mut extra: Vec<&str> =
            file.names().into_iter().filter(|name| self.group_of(name) == group && !wanted.contains(*name)).collect();
        extra.sort_unstable();
        extra.retain(|name| !name.ends_with(".num_batches_tracked"));
        match extra.first() {
            Some(name) => Err(Error::new("the network has no such tensor").at(name).help(OTHER_NETWORK)),
            None => Ok(like.with_values(values)),
        }
    }

    /// The group a stored name belongs to.
    fn group_of(&self, name: &str) -> &str {
        let owns = |group: &&str| name.strip_prefix(*group).is_some_and(|rest| rest.starts_with('.'));
        self.groups().into_iter().filter(|group| !group.is_empty()).find(owns).unwrap_or("")
    }
}

const OTHER_NETWORK: &str = "the file belongs to another network: use the config stored with it";

fn missing(name: &str, file: &SafeTensors<'_>) -> Error {
    Error::new(format!("the tensor is not among the {} tensors of the file", file.len())).at(name).help(OTHER_NETWORK)
}

fn decode<B: Backend>(parameter: &Parameter<B>, view: &TensorView<'_>) -> Result<Tensor<B>> {
    if view.shape() != parameter.dims {
        let problem = format!("the shape is {:?}, the network's {:?}", view.shape(), parameter.dims);
        return Err(Error::new(problem).help(OTHER_NETWORK));
    }
    let numbers = numbers(view)?;
    if let Some(bad) = numbers.iter().position(|number| !number.is_finite()) {
        let error = Error::new(format!("number {bad} is {}", numbers[bad]));
        return Err(error.help("the training diverged or the file is damaged: use an earlier checkpoint"));
    }
    Ok(Tensor::from_f64(parameter.value.backend(), parameter.value.shape(), &numbers))
}

/// The stored numbers as doubles, which represent every accepted type exactly.
fn numbers(view: &TensorView<'_>) -> Result<Vec<f64>> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F64 => words(data, f64::from_le_bytes),
        Dtype::F32 => words(data, |b: [u8; 4]| f64::from(f32::from_le_bytes(b))),
        Dtype::BF16 => words(data, |[low, high]: [u8; 2]| f64::from(f32::from_le_bytes([0, 0, low, high]))),
        Dtype::F16 => words(data, |b: [u8; 2]| half(u16::from_le_bytes(b))),
        other => {
            let error = Error::new(format!("numbers of type {other:?} are not supported"));
            return Err(error.help("store the tensor as float32"));
        }
    })
}

fn words<const BYTES: usize>(data: &[u8], number: impl Fn([u8; BYTES]) -> f64) -> Vec<f64> {
    data.chunks_exact(BYTES).map(|bytes| number(bytes.try_into().expect("whole words"))).collect()
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}
