//! Writing NIfTI-1, complete or not at all.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use segcal_core::{Context, Error, Result};

use crate as data;
use crate::number::{self, NumberType, ToFile};
use crate::orientation::{Matrix3, determinant};
use crate::output;
use crate::volume::{Grid, Volume};

/// The largest extent that NIfTI-1 can hold.
const MAX_EXTENT: usize = 32_767;

/// Byte offset of the data: the header, and four bytes that say that there is no extension.
const DATA: usize = 352;

/// Writes a volume as NIfTI-1, little-endian, gzipped if the name ends in `.gz`; several channels become a fourth axis.
/// Both sform and qform are set. A `Volume` of `u8`, `i16`, `i32`, `f32` or `f64` can be written.
///
/// # Errors
/// The name does not end in `.nii` or `.nii.gz`, an extent is too large for the format, or the file cannot be written.
pub fn write<T: ToFile>(path: &Path, volume: &Volume<T>) -> Result<()> {
    write_stream(path, &volume.grid, volume.channels(), |sink: &mut dyn FnMut(&[T]) -> Result<()>| {
        sink(volume.values())
    })
}

/// Writes a volume piece by piece: `fill` gets a function that accepts the next values in the memory order of
/// `[c, d, h, w]`.
///
/// # Errors
/// Those of [`write()`] and of `fill`.
///
/// # Panics
/// The number of values passed differs from what the grid and the channels need.
pub fn write_stream<T: ToFile>(
    path: &Path,
    grid: &Grid,
    channels: usize,
    fill: impl FnOnce(&mut dyn FnMut(&[T]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let gzip = match data::ending(path) {
        Some(".nii.gz") => true,
        Some(".nii") => false,
        _ => return Err(Error::new("expected a name that ends in .nii or .nii.gz").at(path.display())),
    };
    let header = header(grid, channels, T::TYPE).at(path.display())?;
    let expected = channels * grid.extent.iter().product::<usize>();
    output::write_atomic(path, |out| {
        let body = |out: &mut dyn Write| {
            out.write_all(&header)?;
            let mut written = 0;
            fill(&mut |values: &[T]| {
                written += values.len();
                number::write_all(out, values)
            })?;
            assert_eq!(written, expected, "the number of values is not channels times voxels");
            Ok(())
        };
        if !gzip {
            return body(out);
        }
        // The fast level: float data hardly shrinks further, and label maps are tiny either way.
        let mut packed = GzEncoder::new(out, Compression::fast());
        body(&mut packed)?;
        packed.finish()?;
        Ok(())
    })
}

fn datatype(kind: NumberType) -> Result<i16> {
    Ok(match kind {
        NumberType::U8 => 2,
        NumberType::I16 => 4,
        NumberType::I32 => 8,
        NumberType::F32 => 16,
        NumberType::F64 => 64,
        NumberType::I8 => 256,
        NumberType::U16 => 512,
        NumberType::U32 => 768,
        NumberType::I64 => 1024,
        NumberType::U64 => 1280,
        NumberType::F16 | NumberType::Bool => {
            return Err(Error::new(format!("NIfTI does not support the number type {}", kind.name())));
        }
    })
}

fn header(grid: &Grid, channels: usize, kind: NumberType) -> Result<[u8; DATA]> {
    let [d, h, w] = grid.extent;
    let extents = [w, h, d, channels];
    if let Some(extent) = extents.into_iter().find(|&extent| extent > MAX_EXTENT) {
        return Err(Error::new(format!("an extent of {extent} is larger than NIfTI-1 allows ({MAX_EXTENT})")));
    }
    let mut bytes = [0; DATA];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &348_i32.to_le_bytes());
    put(38, b"r");
    let rank: i16 = if channels == 1 { 3 } else { 4 };
    let dim = [rank, w as i16, h as i16, d as i16, channels as i16, 1, 1, 1];
    put(40, &dim.map(i16::to_le_bytes).concat());
    put(70, &datatype(kind)?.to_le_bytes());
    put(72, &(8 * kind.size() as i16).to_le_bytes());
    let (quaternion, sign) = quaternion(grid.rotation());
    let [z, y, x] = grid.spacing_mm();
    put(76, &[sign, x, y, z, 1.0, 1.0, 1.0, 1.0].map(|size| (size as f32).to_le_bytes()).concat());
    put(108, &(DATA as f32).to_le_bytes());
    put(112, &1_f32.to_le_bytes());
    put(123, &[2 | 8]); // mm and seconds
    // An unknown space is at least the one that these files share.
    let space = if grid.space > 0 { grid.space } else { 2 };
    put(252, &[space, space].map(i16::to_le_bytes).concat());
    let offset = grid.affine.map(|row| row[3]);
    put(256, &[quaternion, offset].concat().iter().flat_map(|x| (*x as f32).to_le_bytes()).collect::<Vec<_>>());
    put(280, &grid.affine.concat().iter().flat_map(|x| (*x as f32).to_le_bytes()).collect::<Vec<_>>());
    put(344, b"n+1\0");
    Ok(bytes)
}

/// The vector part of the unit quaternion of a rotation (its scalar part is not negative), and the sign by which the
/// third column must be multiplied to make the rotation proper. The largest of the four components is computed from the
/// diagonal and the others by division by it, which loses no digits.
fn quaternion(mut m: Matrix3) -> ([f64; 3], f64) {
    let sign = if determinant(&m) < 0.0 { -1.0 } else { 1.0 };
    for row in &mut m {
        row[2] *= sign;
    }
    let [xx, yy, zz] = [m[0][0], m[1][1], m[2][2]];
    // Four times the squares of the components a, b, c, d.
    let squares = [1.0 + xx + yy + zz, 1.0 + xx - yy - zz, 1.0 - xx + yy - zz, 1.0 - xx - yy + zz];
    let largest = (0..4).max_by(|&i, &j| squares[i].total_cmp(&squares[j])).unwrap_or(0);
    let (ab, ac, ad) = (m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]);
    let (bc, bd, cd) = (m[1][0] + m[0][1], m[0][2] + m[2][0], m[2][1] + m[1][2]);
    let own = squares[largest];
    let row = [[own, ab, ac, ad], [ab, own, bc, bd], [ac, bc, own, cd], [ad, bd, cd, own]][largest];
    let scale = 0.5 / own.sqrt() * if row[0] < 0.0 { -1.0 } else { 1.0 };
    ([row[1] * scale, row[2] * scale, row[3] * scale], sign)
}
