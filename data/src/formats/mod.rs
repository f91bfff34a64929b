//! MetaImage and NRRD.
//!
//! Both consist of a text header of `field = value` lines and a block of numbers. The header is read line by line and
//! may not exceed 64 KiB; the numbers are subject to the same limits as those of any volume. Several numbers per voxel
//! are its channels: MetaImage's `ElementNumberOfChannels` or fourth axis, NRRD's non-spatial axis.

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

/// The largest size of a header in bytes.
const MAX_HEADER: u64 = 1 << 16;

/// The extensions of these files.
pub(crate) const ENDINGS: [&str; 4] = [".mha", ".mhd", ".nrrd", ".nhdr"];

/// Whether the name of a file has the extension of a MetaImage or NRRD.
pub fn is_known(path: &Path) -> bool {
    opener(path).is_some()
}

/// Reads an image, MetaImage (`.mhd`, `.mha`) or NRRD (`.nrrd`, `.nhdr`).
///
/// # Errors
/// The extension is unknown, or the file is malformed.
pub fn read_image(path: &Path) -> Result<Volume<f32>> {
    let convert = |x| f32::from_file(x).ok_or("is beyond the range of 32-bit floats");
    open(path).and_then(|stored| numbers(stored, convert)).at(path.display())
}

/// Reads a label map; see [`read_image`].
///
/// # Errors
/// Those of [`read_image`]; a value is not a whole number.
pub fn read_labels(path: &Path) -> Result<Volume<i32>> {
    let convert = |x| i32::from_file(x).ok_or("is not a label, which must be a whole number");
    open(path).and_then(|stored| numbers(stored, convert)).at(path.display())
}

/// Reads only the header: the voxel grid, the number of channels, and the number type.
///
/// # Errors
/// The extension is unknown, or the header is malformed.
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

/// How the block of numbers is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zlib,
}

/// A volume whose numbers have not been read yet.
struct Stored {
    grid: Grid,
    /// Numbers per voxel.
    channels: usize,
    /// Whether the numbers of a voxel are contiguous; otherwise those of a channel are.
    interleaved: bool,
    kind: NumberType,
    big_endian: bool,
    packing: Packing,
    /// The data, from the first number on.
    source: Box<dyn Read>,
    /// Size in bytes of the file with the numbers.
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

/// Reads compressed numbers to the end of the stream, where the checksum is.
fn finish(source: &mut dyn Read, packing: Packing) -> Result<()> {
    if packing == Packing::None { Ok(()) } else { limits::finish(source) }
}

/// Reads the next line without its line ending; an error if the header is too long or not text.
fn line(source: &mut impl BufRead, left: &mut u64) -> Result<String> {
    let mut bytes = Vec::new();
    let read = source.by_ref().take(*left).read_until(b'\n', &mut bytes)?;
    *left -= read as u64;
    if *left == 0 && !bytes.ends_with(b"\n") {
        return Err(Error::new(format!("the header is too long: it does not end within {MAX_HEADER} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::new("the header is not text"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Parses exactly `count` numbers.
fn several(text: &str, count: usize) -> Result<Vec<f64>> {
    let numbers: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    let numbers = numbers.filter(|numbers| numbers.len() == count);
    numbers.ok_or_else(|| Error::new(format!("\"{text}\" is not a list of {count} numbers")))
}

/// Parses `count` extents, in file order.
fn extents(text: &str, count: usize) -> Result<Vec<usize>> {
    let whole = |x: f64| if x >= 1.0 && x.fract() == 0.0 { x as usize } else { 0 };
    let extents: Vec<usize> = several(text, count)?.into_iter().map(whole).collect();
    if extents.contains(&0) {
        return Err(Error::new(format!("\"{text}\" is not a list of {count} positive integers")));
    }
    Ok(extents)
}

/// The grid with these steps along x, y, z and this first voxel, all in the LPS coordinates (left, posterior, superior)
/// of ITK's formats.
fn from_lps(extent: [usize; 3], steps: [[f64; 3]; 3], origin: [f64; 3], space: i16) -> Result<Grid> {
    let sign = [-1.0, -1.0, 1.0];
    let affine =
        std::array::from_fn(|row| [steps[0][row], steps[1][row], steps[2][row], origin[row]].map(|x| x * sign[row]));
    Grid::new(extent, affine, space)
}

/// Opens the data file that the header names; it must be in the same folder as the header.
fn data_file(header: &Path, name: &str) -> Result<(Box<dyn Read>, u64)> {
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    if !plain {
        return Err(Error::new(format!("the data file \"{name}\" is not in the folder of the header"))
            .help("put both in one folder and give only the file name"));
    }
    let path = header.with_file_name(name);
    let (file, size) = limits::open(&path).at(path.display())?;
    Ok((Box::new(std::io::BufReader::new(file)), size))
}

#[cfg(test)]
mod tests;
