//! Writing MetaImage and NRRD, complete or not at all.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use segcal_core::{Error, Result};

use crate::number::{self, NumberType, ToFile};
use crate::{Grid, Volume, output};

/// Writes a volume as `.mha` or `.nrrd`, depending on the extension: little-endian and compressed, with the numbers of
/// a voxel contiguous, as in ITK's vector images.
///
/// # Errors
/// The extension is neither of these, or the file cannot be written.
pub fn write<T: ToFile>(path: &Path, volume: &Volume<T>) -> Result<()> {
    write_stream(path, &volume.grid, volume.channels(), &mut |sink| together(volume, sink))
}

/// A function that accepts numbers piece by piece.
pub type Sink<'a, T> = &'a mut dyn FnMut(&[T]) -> Result<()>;

/// Writes a volume piece by piece: `fill` passes all numbers to its argument in the memory order of `[d, h, w, c]`, the
/// numbers of a voxel contiguous. The header of a MetaImage gives the size of the compressed numbers, so `fill` is
/// called twice.
///
/// # Errors
/// Those of [`write()`] and of `fill`.
pub fn write_stream<T: ToFile>(
    path: &Path,
    grid: &Grid,
    channels: usize,
    fill: &mut dyn FnMut(Sink<'_, T>) -> Result<()>,
) -> Result<()> {
    let ending = path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
    match ending.as_ref().and_then(|ending| ending.to_str()) {
        Some("mha") => metaimage(path, grid, channels, fill),
        Some("nrrd") => nrrd(path, grid, channels, fill),
        _ => Err(Error::new("expected a name that ends in .mha or .nrrd").at(path.display())),
    }
}

fn metaimage<T: ToFile>(
    path: &Path,
    grid: &Grid,
    channels: usize,
    fill: &mut dyn FnMut(Sink<'_, T>) -> Result<()>,
) -> Result<()> {
    let kind = match T::TYPE {
        NumberType::U8 => "MET_UCHAR",
        NumberType::I8 => "MET_CHAR",
        NumberType::U16 => "MET_USHORT",
        NumberType::I16 => "MET_SHORT",
        NumberType::U32 => "MET_UINT",
        NumberType::I32 => "MET_INT",
        NumberType::U64 => "MET_ULONG_LONG",
        NumberType::I64 => "MET_LONG_LONG",
        NumberType::F32 => "MET_FLOAT",
        NumberType::F64 => "MET_DOUBLE",
        other => return Err(no_type(path, other)),
    };
    let mut pack = |out: &mut dyn Write| {
        let mut packed = ZlibEncoder::new(out, Compression::fast());
        fill(&mut |values| number::write_all(&mut packed, values))?;
        packed.finish()?;
        Ok(())
    };
    let mut length = Length(0);
    pack(&mut length)?;
    let [d, h, w] = grid.extent;
    let (steps, origin) = lps(grid);
    let [z, y, x] = grid.spacing_mm();
    let spacing = [x, y, z];
    let turn: Vec<f64> = (0..9).map(|index| steps[index / 3][index % 3] / spacing[index / 3]).collect();
    let header = format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = True\n\
         CompressedDataSize = {}\nTransformMatrix = {}\nOffset = {}\nElementSpacing = {}\nDimSize = {w} {h} {d}\n\
         {}ElementType = {kind}\nElementDataFile = LOCAL\n",
        length.0,
        joined(&turn, " "),
        joined(&origin, " "),
        joined(&spacing, " "),
        if channels > 1 { format!("ElementNumberOfChannels = {channels}\n") } else { String::new() },
    );
    output::write_atomic(path, |out| {
        out.write_all(header.as_bytes())?;
        pack(out)
    })
}

/// Counts the bytes that would be written.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn nrrd<T: ToFile>(
    path: &Path,
    grid: &Grid,
    channels: usize,
    fill: &mut dyn FnMut(Sink<'_, T>) -> Result<()>,
) -> Result<()> {
    let kind = match T::TYPE {
        NumberType::F32 => "float",
        NumberType::F64 => "double",
        other @ (NumberType::F16 | NumberType::Bool) => return Err(no_type(path, other)),
        whole => whole.name(),
    };
    let [d, h, w] = grid.extent;
    let (steps, origin) = lps(grid);
    let vector = |values: &[f64]| format!("({})", joined(values, ","));
    let directions = steps.iter().map(|step| vector(step)).collect::<Vec<_>>().join(" ");
    let (sizes, kinds, none) = if channels > 1 {
        (format!("{channels} {w} {h} {d}"), "vector domain domain domain", "none ")
    } else {
        (format!("{w} {h} {d}"), "domain domain domain", "")
    };
    let header = format!(
        "NRRD0004\ntype: {kind}\ndimension: {}\nspace: left-posterior-superior\nsizes: {sizes}\n\
         space directions: {none}{directions}\nkinds: {kinds}\nendian: little\nencoding: gzip\nspace origin: {}\n\n",
        3 + usize::from(channels > 1),
        vector(&origin),
    );
    output::write_atomic(path, |out| {
        out.write_all(header.as_bytes())?;
        let mut packed = GzEncoder::new(out, Compression::fast());
        fill(&mut |values| number::write_all(&mut packed, values))?;
        packed.finish()?;
        Ok(())
    })
}

fn no_type(path: &Path, kind: NumberType) -> Error {
    Error::new(format!("the format does not support the number type {}", kind.name())).at(path.display())
}

/// Passes the numbers to `sink`, those of a voxel contiguous.
fn together<T: ToFile>(volume: &Volume<T>, sink: Sink<'_, T>) -> Result<()> {
    let channels = volume.channels();
    let values = volume.values();
    if channels == 1 {
        return sink(values);
    }
    let voxels = values.len() / channels;
    let mut slice = Vec::new();
    for voxel in 0..voxels {
        slice.extend((0..channels).map(|channel| values[channel * voxels + voxel]));
        if slice.len() >= 1 << 16 || voxel + 1 == voxels {
            sink(&slice)?;
            slice.clear();
        }
    }
    Ok(())
}

/// The steps along x, y, z and the position of the first voxel, in LPS coordinates.
pub(crate) fn lps(grid: &Grid) -> ([[f64; 3]; 3], [f64; 3]) {
    // No minus sign before a 0, which text parsers may trip over.
    let turned = |row: usize, x: f64| if row < 2 { 0.0 - x } else { x };
    let steps = std::array::from_fn(|axis| std::array::from_fn(|row| turned(row, grid.affine[row][axis])));
    (steps, std::array::from_fn(|row| turned(row, grid.affine[row][3])))
}

fn joined(values: &[f64], between: &str) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
