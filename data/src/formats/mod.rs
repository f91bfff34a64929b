//! MetaImage and NRRD.
//!
//! Both are a text of `field = value` lines and a block of numbers. The text is read here line by line and never beyond
//! 64 KiB; the numbers are read through the same limits as those of any volume. Several numbers a voxel are its channels:
//! MetaImage's `ElementNumberOfChannels` or its fourth axis, NRRD's axis that is not one of space.

mod metaimage;
mod nrrd;
mod write;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::ZlibDecoder;
use segcal_core::{Context, Error, Result};

use crate::gzip::Members;
use crate::limits::{self, Growing};
use crate::number::{self, FromFile, NumberType};
use crate::scatter::Scatter;
use crate::{Grid, Volume};

pub(crate) use write::lps;
pub use write::{Sink, write, write_stream};

/// The most that a header may take.
const MAX_HEADER: u64 = 1 << 16;

/// The endings of the names of these files.
pub(crate) const ENDINGS: [&str; 4] = [".mha", ".mhd", ".nrrd", ".nhdr"];

/// Whether the name of a file is that of a MetaImage or NRRD.
pub fn is_known(path: &Path) -> bool {
    opener(path).is_some()
}

/// Reads an image, MetaImage (`.mhd`, `.mha`) or NRRD (`.nrrd`, `.nhdr`).
///
/// # Errors
/// The ending is unknown, or the file is malformed.
pub fn read_image(path: &Path) -> Result<Volume<f32>> {
    let convert = |x| f32::from_file(x).ok_or("is beyond the range of 32-bit floats");
    open(path).and_then(|stored| numbers(stored, convert)).at(path.display())
}

/// Reads a label map, as [`read_image`].
///
/// # Errors
/// Those of [`read_image`]; a value is not a whole number.
pub fn read_labels(path: &Path) -> Result<Volume<i32>> {
    let convert = |x| i32::from_file(x).ok_or("is not a label, which must be a whole number");
    open(path).and_then(|stored| numbers(stored, convert)).at(path.display())
}

/// What the header alone says: where the voxels lie, the number of channels, and the type of the numbers.
///
/// # Errors
/// The ending is unknown, or the header is malformed.
pub fn read_header(path: &Path) -> Result<(Grid, usize, NumberType)> {
    let stored = open(path).at(path.display())?;
    Ok((stored.grid, stored.channels, stored.kind))
}

fn open(path: &Path) -> Result<Stored> {
    opener(path).map_or_else(|| Err(crate::unknown_ending(path, "")), |open| open(path))
}

fn opener(path: &Path) -> Option<fn(&Path) -> Result<Stored>> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "mhd" | "mha" => Some(metaimage::open),
        "nrrd" | "nhdr" => Some(nrrd::open),
        _ => None,
    }
}

/// How the block of numbers is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zlib,
}

/// A volume whose numbers are still to be read.
struct Stored {
    grid: Grid,
    /// Numbers of each voxel.
    channels: usize,
    /// Whether the numbers of a voxel follow each other; else those of a channel do.
    interleaved: bool,
    kind: NumberType,
    big_endian: bool,
    packing: Packing,
    /// What stands from the first number on.
    source: Box<dyn Read>,
    /// Bytes of the file that holds the numbers.
    size: u64,
}

fn numbers<T: Copy + Default>(
    stored: Stored,
    convert: impl Fn(f64) -> std::result::Result<T, &'static str>,
) -> Result<Volume<T>> {
    let Stored { grid, channels, interleaved, kind, big_endian, packing, source, size } = stored;
    let [d, h, w] = grid.extent;
    let count = limits::count(&[channels, d, h, w])?;
    limits::check_claim((count * kind.size()) as u64, size, packing != Packing::None)?;
    let mut source: Box<dyn Read> = match packing {
        Packing::None => source,
        Packing::Gzip => Box::new(Members::new(BufReader::new(source))),
        Packing::Zlib => Box::new(ZlibDecoder::new(source)),
    };
    let convert = |x: f64| convert(x).map_err(|why| Error::new(format!("{x} {why}")));
    if interleaved && channels > 1 {
        let mut values = limits::zeroed(count)?;
        let mut scatter = Scatter::permuted(&[d, h, w, channels], &[3, 0, 1, 2], false);
        number::stream(&mut source, kind, big_endian, count, |piece| {
            piece.iter().try_for_each(|&x| {
                scatter.put(&mut values, convert(x)?);
                Ok(())
            })
        })?;
        finish(&mut source, packing)?;
        return Ok(Volume::new(values, channels, grid));
    }
    let mut values = Growing::new(count)?;
    number::stream(&mut source, kind, big_endian, count, |piece| {
        let converted: Result<Vec<T>> = piece.iter().map(|&x| convert(x)).collect();
        values.extend(piece.len(), converted?.into_iter())
    })?;
    finish(&mut source, packing)?;
    Ok(Volume::new(values.into_vec(), channels, grid))
}

/// Reads packed numbers to their end, where the checksum is.
fn finish(source: &mut dyn Read, packing: Packing) -> Result<()> {
    if packing == Packing::None { Ok(()) } else { limits::finish(source) }
}

/// The next line without its end; an error where the header is too long or no text.
fn line(source: &mut impl BufRead, left: &mut u64) -> Result<String> {
    let mut bytes = Vec::new();
    let read = source.by_ref().take(*left).read_until(b'\n', &mut bytes)?;
    *left -= read as u64;
    if *left == 0 && !bytes.ends_with(b"\n") {
        return Err(Error::new(format!("the header is too long: no end in {MAX_HEADER} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::new("the header is not text"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Exactly `count` numbers.
fn several(text: &str, count: usize) -> Result<Vec<f64>> {
    let numbers: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    let numbers = numbers.filter(|numbers| numbers.len() == count);
    numbers.ok_or_else(|| Error::new(format!("\"{text}\" is not {count} numbers")))
}

/// `count` extents, in the order of the file.
fn extents(text: &str, count: usize) -> Result<Vec<usize>> {
    let whole = |x: f64| if x >= 1.0 && x.fract() == 0.0 { x as usize } else { 0 };
    let extents: Vec<usize> = several(text, count)?.into_iter().map(whole).collect();
    if extents.contains(&0) {
        return Err(Error::new(format!("\"{text}\" is not {count} extents from 1 on")));
    }
    Ok(extents)
}

/// The grid whose axes x, y, z take these steps from this first voxel, all in a world that points to the patient's
/// left and back (LPS), as ITK's formats have it.
fn from_lps(extent: [usize; 3], steps: [[f64; 3]; 3], origin: [f64; 3], space: i16) -> Result<Grid> {
    let sign = [-1.0, -1.0, 1.0];
    let affine =
        std::array::from_fn(|row| [steps[0][row], steps[1][row], steps[2][row], origin[row]].map(|x| x * sign[row]));
    Grid::new(extent, affine, space)
}

/// A file of numbers that the header names; it must lie beside the header.
fn data_file(header: &Path, name: &str) -> Result<(Box<dyn Read>, u64)> {
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    if !plain {
        return Err(Error::new(format!("the data file \"{name}\" is not one beside the header"))
            .help("put both into one folder and name the file alone"));
    }
    let path = header.with_file_name(name);
    let (file, size) = limits::open(&path).at(path.display())?;
    Ok((Box::new(std::io::BufReader::new(file)), size))
}

#[cfg(test)]
mod tests;
