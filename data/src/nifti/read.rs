//! Reading: first the header, then the numbers in pieces, directly into the array.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};

use super::header::{Header, header_size};
use crate as data;
use crate::gzip::Members;
use crate::limits::{self, Growing};
use crate::number::{self, FromFile};
use crate::orientation::Axes;
use crate::scatter::Scatter;
use crate::volume::{Grid, Volume};

/// How many bytes after the data of a gzipped file are still read, so that its checksum is verified.
const TAIL: u64 = 1 << 20;

/// An open NIfTI file whose header has been read and checked.
pub struct Reader {
    header: Header,
    path: PathBuf,
    source: Box<dyn Read>,
    compressed: bool,
}

/// Reads and checks only the header.
///
/// # Errors
/// The file cannot be read, or a field is invalid.
pub fn read_header(path: &Path) -> Result<Header> {
    let (mut source, _, _) = open(path).at(path.display())?;
    header_of(path, &mut source).at(path.display())
}

/// Reads an image as 32-bit floats, with scaling applied.
///
/// # Errors
/// The file is malformed, or a scaled value is out of the range of f32.
pub fn read_image(path: &Path) -> Result<Volume<f32>> {
    read_as(path, |x, _| f32::from_file(x).ok_or("is beyond the range of 32-bit floats"))
}

/// Equivalent to [`read_image`] followed by [`Volume::reoriented`], without a second copy: each number is written
/// directly to its final position.
///
/// # Errors
/// Those of [`read_image`].
pub fn read_image_along(path: &Path, axes: Axes) -> Result<Volume<f32>> {
    let reader = Reader::open(path)?;
    let grid = reader.grid()?;
    if grid.axes() == axes {
        return read_image(path);
    }
    let (extent, channels) = reader.header.extent();
    let turned = grid.along(axes);
    let mut values = limits::zeroed(reader.header.count()).at(path.display())?;
    let mut scatter = turning(&grid, &turned, channels);
    let mut done = 0;
    reader.each(|piece| {
        for &x in piece {
            let value = f32::from_file(x).ok_or_else(|| {
                Error::new(format!("{x} is beyond the range of 32-bit floats")).at(Volume::<f32>::place(extent, done))
            })?;
            scatter.put(&mut values, value);
            done += 1;
        }
        Ok(())
    })?;
    Ok(Volume::new(values, channels, turned))
}

/// Maps the numbers of a file on `grid` to a volume on `turned`, which is `grid` along other axes.
fn turning(grid: &Grid, turned: &Grid, channels: usize) -> Scatter {
    let [d, h, w] = turned.extent;
    let mut axes = [(0, 0); 4];
    axes[3] = (channels, (d * h * w) as isize);
    let mut start = 0;
    for ((own, backwards), (extent, step)) in
        grid.axes().to(turned.axes()).into_iter().zip([(w, 1), (h, w), (d, h * w)])
    {
        axes[own] = (extent, if backwards { -(step as isize) } else { step as isize });
        start += if backwards { (extent - 1) * step } else { 0 };
    }
    Scatter::new(&axes, start)
}

/// Reads a label map. Each value must be a whole number. If the stored integers have a slope, as some writers do with
/// floats, a value may be off by half a step of the slope, but at most 0.001, plus the rounding of slope and intercept
/// themselves to 32 bits.
///
/// # Errors
/// The file is malformed, or a value is fractional, NaN, or does not fit into 32 bits.
pub fn read_labels(path: &Path) -> Result<Volume<i32>> {
    read_as(path, |x, tolerance| {
        let whole = x.round();
        let label = if (x - whole).abs() <= tolerance { i32::from_file(whole) } else { None };
        label.ok_or("is not a label, which must be a whole number: round the map and store it as whole numbers")
    })
}

/// Reads the numbers and converts each with `convert`, which gets the scaled value and the rounding error that scaling
/// may have introduced.
fn read_as<T: Copy>(
    path: &Path,
    convert: impl Fn(f64, f64) -> std::result::Result<T, &'static str>,
) -> Result<Volume<T>> {
    let reader = Reader::open(path)?;
    let rounding = reader.rounding();
    let grid = reader.header.grid().at(path.display())?;
    let (extent, channels) = reader.header.extent();
    let mut values = Growing::new(reader.header.count()).at(path.display())?;
    let mut done = 0;
    reader.each(|piece| {
        let mut bad = None;
        values.extend(
            piece.len(),
            piece.iter().enumerate().map_while(|(index, &x)| match convert(x, rounding.of(x)) {
                Ok(value) => Some(value),
                Err(why) => {
                    bad = Some((index, x, why));
                    None
                }
            }),
        )?;
        done += piece.len();
        match bad {
            Some((index, x, why)) => {
                let place = Volume::<T>::place(extent, done - piece.len() + index);
                Err(Error::new(format!("{x} {why}")).at(place))
            }
            None => Ok(()),
        }
    })?;
    Ok(Volume::new(values.into_vec(), channels, grid))
}

impl Reader {
    /// Opens the file (`.nii`, `.nii.gz`, or the `.hdr`/`.hdr.gz` of a pair), reads the header and checks it against
    /// the file size.
    ///
    /// # Errors
    /// The file cannot be read, a field is invalid, or the file is too small for the data that the header claims.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_inner(path).at(path.display())
    }

    fn open_inner(path: &Path) -> Result<Self> {
        let (mut source, mut stored, mut compressed) = open(path)?;
        let header = header_of(path, &mut source)?;
        if !header.scl_slope.is_finite() {
            let slope = header.scl_slope;
            log::warn!("{}: scl_slope is {slope}: the numbers are read without scaling", path.display());
        }
        let mut skip = header.vox_offset;
        if header.format.pair {
            let image = image_of(path)?;
            (source, stored, compressed) = open(&image).at(image.display())?;
        } else {
            skip = skip_extensions(&mut source, &header)?;
        }
        let claimed = (header.count() * header.kind.size()) as u64;
        limits::check_claim(header.vox_offset + claimed, stored, compressed).at("dim")?;
        let skipped = std::io::copy(&mut source.by_ref().take(skip), &mut std::io::sink())?;
        if skipped < skip {
            return Err(Error::new(format!("the file ends before byte {}", header.vox_offset)).at("vox_offset"));
        }
        Ok(Self { header, path: path.into(), source, compressed })
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The voxel grid, in mm.
    ///
    /// # Errors
    /// Those of [`Header::grid`].
    pub fn grid(&self) -> Result<Grid> {
        self.header.grid().at(self.path.display())
    }

    /// Passes all scaled values to `each`, in file order and in pieces.
    ///
    /// # Errors
    /// The data ends early or is corrupt, or `each` fails.
    pub fn each(self, mut each: impl FnMut(&[f64]) -> Result<()>) -> Result<()> {
        let Self { header, path, mut source, compressed } = self;
        let (slope, inter) = header.scaling();
        let scaled = slope != 1.0 || inter != 0.0;
        let mut values = Vec::new();
        number::stream(&mut source, header.kind, header.big_endian, header.count(), |piece| {
            if !scaled {
                return each(piece);
            }
            values.clear();
            values.extend(piece.iter().map(|x| x * slope + inter));
            each(&values)
        })
        .and_then(|()| {
            // The checksum of a gzip stream is verified when its end is read.
            if compressed {
                std::io::copy(&mut source.take(TAIL), &mut std::io::sink())?;
            }
            Ok(())
        })
        .at(path.display())
    }

    /// The rounding error that slope and intercept may have introduced to whole numbers.
    fn rounding(&self) -> Rounding {
        let (slope, inter) = self.header.scaling();
        let scaled = (slope != 1.0 || inter != 0.0) && self.header.kind.is_integer();
        Rounding { step: if scaled { (slope.abs() / 2.0).min(1e-3) } else { 0.0 }, inter, scaled }
    }
}

/// How far a value may be from a whole number.
struct Rounding {
    step: f64,
    inter: f64,
    scaled: bool,
}

impl Rounding {
    /// Half a step, plus half a unit in the last of the 24 bits of slope and intercept.
    fn of(&self, x: f64) -> f64 {
        let stored = ((x - self.inter).abs() + self.inter.abs()) * 2_f64.powi(-24);
        if self.scaled { self.step + stored.min(0.01) } else { 0.0 }
    }
}

fn header_of(path: &Path, source: &mut dyn Read) -> Result<Header> {
    let mut bytes = Vec::with_capacity(header_size(2));
    source.take(header_size(1) as u64).read_to_end(&mut bytes)?;
    let is_long = bytes.get(..4).is_some_and(|first| matches!(first, [0x1c, 2, 0, 0] | [0, 0, 2, 0x1c]));
    if is_long {
        source.take((header_size(2) - header_size(1)) as u64).read_to_end(&mut bytes)?;
    }
    let header = Header::parse(&bytes)?;
    let named_pair = matches!(data::ending(path), Some(".hdr" | ".hdr.gz"));
    if header.format.pair != named_pair {
        let is = if header.format.pair { "the header of a pair" } else { "a single file" };
        return Err(Error::new(format!("the header says that this is {is}, but the file extension does not"))
            .at("magic")
            .help("pairs are named .hdr and .img, single files .nii"));
    }
    Ok(header)
}

/// Skips the extensions of a single file; returns the number of bytes left before the data.
fn skip_extensions(source: &mut dyn Read, header: &Header) -> Result<u64> {
    let mut extender = [0; 4];
    source.read_exact(&mut extender).map_err(|_| Error::new("the file ends after the header").at("extension"))?;
    let mut left = header.vox_offset - header_size(header.format.version) as u64 - 4;
    while extender[0] != 0 && left >= 8 {
        let mut start = [0; 8];
        source.read_exact(&mut start).map_err(|_| Error::new("the file ends within it").at("extension"))?;
        let [a, b, c, d, ..] = start;
        let bytes = [a, b, c, d];
        let size = if header.big_endian { i32::from_be_bytes(bytes) } else { i32::from_le_bytes(bytes) };
        let fits = u64::try_from(size).ok().filter(|size| (8..=left).contains(size));
        let Some(size) = fits else {
            return Err(Error::new(format!(
                "an extension of {size} bytes does not fit before byte {}",
                header.vox_offset
            ))
            .at("extension"));
        };
        std::io::copy(&mut (&mut *source).take(size - 8), &mut std::io::sink())?;
        left -= size;
    }
    Ok(left)
}

fn named_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"))
}

/// Opens a file, decompressing it if its name ends in `.gz`; also returns its size on disk and whether it is
/// compressed.
fn open(path: &Path) -> Result<(Box<dyn Read>, u64, bool)> {
    let (file, size) = limits::open(path)?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let gzipped = std::io::BufRead::fill_buf(&mut reader)?.starts_with(&[0x1f, 0x8b]);
    match (named_gzip(path), gzipped) {
        (true, true) => Ok((Box::new(Members::new(reader)), size, true)),
        (false, false) => Ok((Box::new(reader), size, false)),
        (true, false) => {
            Err(Error::new("the name ends in .gz, but the content is not gzip").help("remove .gz from the name"))
        }
        (false, true) => {
            Err(Error::new("the content is gzip, but the name does not end in .gz").help("add .gz to the name"))
        }
    }
}

/// The data file of a pair: the same name with `.img` or `.img.gz`; the one compressed like the header is preferred.
///
/// # Errors
/// The file does not exist.
pub fn image_of(path: &Path) -> Result<PathBuf> {
    let header = if named_gzip(path) { path.with_extension("") } else { path.to_path_buf() };
    let upper = header.extension().is_some_and(|ending| ending == "HDR");
    let [image, packed] = if upper { ["IMG", "IMG.GZ"] } else { ["img", "img.gz"] };
    let mut files = [header.with_extension(image), header.with_extension(packed)];
    if named_gzip(path) {
        files.reverse();
    }
    let missing = files[0].file_name().unwrap_or_default().to_string_lossy().into_owned();
    files.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::new(format!("the data file {missing} of the pair is missing")).help("keep .hdr and .img together")
    })
}
