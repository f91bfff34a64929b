//! NumPy arrays: `.npy`, and `.npz`, which is a zip archive of them.
//!
//! The reader supports little- and big-endian numbers, C and Fortran order (converted to C order), booleans, all
//! integer types, 16-, 32- and 64-bit floats, and format versions 1 to 3. Records, strings, objects (which are pickled
//! code), complex numbers and long doubles are refused by name.

mod header;

use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use segcal_core::{Context, Error, Result};

use super::limits::{self, Growing};
use super::number::{self, FromFile, ToFile};
use super::scatter::Scatter;
use crate::output;
pub use header::Header;

/// Numbers with their shape, in C order (last axis fastest).
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// The numbers.
    pub data: Vec<T>,
}

/// Reads a `.npy`, or one array of a `.npz`: the one named `key`, or the only one.
///
/// # Errors
/// The file is malformed or has no such array, or a number does not fit into `T`.
pub fn read<T: FromFile>(path: &Path, key: &str) -> Result<Array<T>> {
    each_source(path, key, true, |source, size, compressed| read_from(source, size, compressed, None))
        .at(path.display())
}

/// Like [`read`], with the axes permuted: axis `order[i]` of the file becomes axis `i`. No second copy is made.
///
/// # Errors
/// Those of [`read`]; or `order` does not contain each axis once.
pub fn read_permuted<T: FromFile>(path: &Path, key: &str, order: &[usize]) -> Result<Array<T>> {
    each_source(path, key, true, |source, size, compressed| read_from(source, size, compressed, Some(order)))
        .at(path.display())
}

/// Passes the numbers to `take` in the order in which they are stored, piece by piece, so that they are never all in
/// memory.
///
/// # Errors
/// The file is malformed or has no such array.
pub fn each(path: &Path, key: &str, mut take: impl FnMut(&[f64])) -> Result<()> {
    let read = |source: &mut dyn Read, size, compressed| {
        let header = Header::read(source)?;
        let count = header.count(size, compressed)?;
        number::stream(source, header.kind, header.big_endian, count, |piece| {
            take(piece);
            Ok(())
        })
    };
    each_source(path, key, true, read).at(path.display())
}

/// Reads only the header; see [`read`].
///
/// # Errors
/// The file is malformed or has no such array.
pub fn read_header(path: &Path, key: &str) -> Result<Header> {
    each_source(path, key, false, |source, _, _| Header::read(source)).at(path.display())
}

/// The names of the arrays of a `.npz`.
///
/// # Errors
/// The file is not a zip archive.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let (file, _) = limits::open(path).at(path.display())?;
    let archive = zip::ZipArchive::new(BufReader::new(file));
    let archive = archive.map_err(Error::from_source).at(path.display())?;
    Ok(archive.file_names().filter_map(|name| name.strip_suffix(".npy")).map(str::to_owned).collect())
}

/// Whether the name ends in `.npy` or `.npz`.
pub fn is_array(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy") || is_archive(path))
}

/// Whether the name ends in `.npz`.
pub fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz"))
}

/// Opens the bytes of one array and passes them to `read` with their stored size and whether they are compressed. If
/// the array is read as a `whole`, its checksum is verified.
fn each_source<R>(
    path: &Path,
    key: &str,
    whole: bool,
    read: impl FnOnce(&mut dyn Read, u64, bool) -> Result<R>,
) -> Result<R> {
    let (file, size) = limits::open(path)?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    if !is_archive(path) {
        return read(&mut reader, size, false);
    }
    let mut archive = zip::ZipArchive::new(reader).map_err(Error::from_source)?;
    let name = member(&archive, key)?;
    // A name in an archive may contain anything, including line breaks; a message is one line.
    let shown = name.escape_debug().to_string();
    let mut entry = archive.by_name(&name).map_err(Error::from_source).at(&shown)?;
    // The sizes stated in the archive are not trusted: nothing in it is longer than the whole file.
    let stored = entry.compressed_size().min(size);
    let compressed = entry.compression() != zip::CompressionMethod::Stored;
    let result = read(&mut entry, stored, compressed).at(&shown)?;
    // The checksum is verified at the end of the entry.
    if whole {
        limits::finish(&mut entry).at(&shown)?;
    }
    Ok(result)
}

/// The archive's member for `key`, or its only one.
fn member<R: Read + Seek>(archive: &zip::ZipArchive<R>, key: &str) -> Result<String> {
    let arrays: Vec<&str> = archive.file_names().filter_map(|name| name.strip_suffix(".npy")).collect();
    match arrays[..] {
        _ if arrays.contains(&key) => Ok(format!("{key}.npy")),
        [only] => Ok(format!("{only}.npy")),
        [] => Err(Error::new("the archive contains no array")),
        _ => {
            let names = arrays.join(", ");
            Err(Error::new(format!("the archive contains no array \"{key}\", only {}", names.escape_debug())))
        }
    }
}

fn read_from<T: FromFile>(
    source: &mut dyn Read,
    size: u64,
    compressed: bool,
    order: Option<&[usize]>,
) -> Result<Array<T>> {
    let header = Header::read(source)?;
    let count = header.count(size, compressed)?;
    let axes: Vec<usize> = order.map_or_else(|| (0..header.shape.len()).collect(), <[usize]>::to_vec);
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..header.shape.len()) {
        return Err(
            Error::new(format!("an array of shape {:?} does not have the axes {axes:?}", header.shape)).at("shape")
        );
    }
    let no_fit = |x: f64| Error::new(format!("the value {x} does not fit the number type required here"));
    if !header.fortran && axes.is_sorted() {
        let mut values = Growing::new(count)?;
        if header.kind == T::TYPE && !header.big_endian {
            let take = |bytes: &[u8]| values.extend(bytes.len() / size_of::<T>(), T::of_bytes(bytes));
            number::pieces(source, size_of::<T>(), count, take)?;
            return Ok(Array { shape: header.shape, data: values.into_vec() });
        }
        number::stream(source, header.kind, header.big_endian, count, |piece| {
            let mut bad = None;
            values.extend(
                piece.len(),
                piece.iter().map_while(|&x| {
                    let value = T::from_file(x);
                    if value.is_none() {
                        bad = Some(x);
                    }
                    value
                }),
            )?;
            bad.map_or(Ok(()), |x| Err(no_fit(x)))
        })?;
        return Ok(Array { shape: header.shape, data: values.into_vec() });
    }
    let mut data = limits::zeroed(count)?;
    let mut scatter = Scatter::permuted(&header.shape, &axes, header.fortran);
    number::stream(source, header.kind, header.big_endian, count, |piece| {
        for &x in piece {
            scatter.put(&mut data, T::from_file(x).ok_or_else(|| no_fit(x))?);
        }
        Ok(())
    })?;
    Ok(Array { shape: axes.iter().map(|&axis| header.shape[axis]).collect(), data })
}

/// Writes an array as `.npy`, little-endian, C order, complete or not at all.
///
/// # Errors
/// The file cannot be written.
///
/// # Panics
/// The product of `shape` is not the length of `data`.
pub fn write<T: ToFile>(path: &Path, shape: &[usize], data: &[T]) -> Result<()> {
    output::write_atomic(path, |out| put(out, shape, data))
}

/// Writes arrays of one type as a compressed `.npz`, complete or not at all.
///
/// # Errors
/// The file cannot be written.
///
/// # Panics
/// The product of a shape is not the number of values of its array.
pub fn write_archive<T: ToFile>(path: &Path, arrays: &[(&str, &[usize], &[T])]) -> Result<()> {
    output::write_atomic(path, |out| {
        let mut archive = zip::ZipWriter::new_stream(out);
        for (name, shape, data) in arrays {
            archive.start_file(format!("{name}.npy"), member_options()).map_err(Error::from_source)?;
            put(&mut archive, shape, data)?;
        }
        archive.finish().map_err(Error::from_source)?;
        Ok(())
    })
}

/// Writes a compressed `.npz` with one array whose numbers are passed in pieces, in C order.
///
/// # Errors
/// The file cannot be written, or `fill` fails.
///
/// # Panics
/// The number of values passed is not the product of the shape.
pub fn write_archive_stream<T: ToFile>(
    path: &Path,
    name: &str,
    shape: &[usize],
    fill: impl FnOnce(&mut dyn FnMut(&[T]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    output::write_atomic(path, |out| {
        let mut archive = zip::ZipWriter::new_stream(out);
        archive.start_file(format!("{name}.npy"), member_options()).map_err(Error::from_source)?;
        archive.write_all(&Header::to_bytes(T::TYPE, shape))?;
        let mut written = 0;
        fill(&mut |values: &[T]| {
            written += values.len();
            number::write_all(&mut archive, values)
        })?;
        assert_eq!(written, shape.iter().product::<usize>(), "the number of values is not the product of the shape");
        archive.finish().map_err(Error::from_source)?;
        Ok(())
    })
}

/// How the arrays of an archive are compressed.
fn member_options() -> zip::write::SimpleFileOptions {
    // A fixed date: the same content gives the same bytes.
    zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .compression_level(Some(1))
        .large_file(true)
}

fn put<T: ToFile>(out: &mut dyn Write, shape: &[usize], data: &[T]) -> Result<()> {
    assert_eq!(shape.iter().product::<usize>(), data.len(), "the number of values is not the product of the shape");
    out.write_all(&Header::to_bytes(T::TYPE, shape))?;
    number::write_all(out, data)
}
