//! Converts a volume or class scores to another format, and verifies the geometry and the numbers.

use std::path::Path;

use segcal_core::{Context, Error, Result};

use crate::number::{NumberType, ToFile};
use crate::{self as data, Grid, Volume, formats, nifti, npy, output, png};

/// The content of a file.
#[derive(Clone, Debug, PartialEq)]
enum Numbers {
    /// Integers, stored without a slope.
    Whole(Volume<i32>),
    /// All others.
    Real(Volume<f32>),
}

/// Converts `from` to the format given by the extension of `to`, and reads the result back: either every number and
/// every voxel position is unchanged, or nothing is written. Integers stay integers; other numbers become 32-bit
/// floats. An array gets the grid of `like`.
///
/// # Errors
/// A file cannot be read or written, a number does not fit, or an array is to become a volume and `like` is `None`.
pub fn convert(from: &Path, to: &Path, like: Option<&Path>) -> Result<()> {
    let source = read(from, like, npy::is_array(to))?;
    if to.canonicalize().is_ok_and(|to| from.canonicalize().is_ok_and(|from| from == to)) {
        return Err(Error::new("is also the input file").at(to.display()).help("give the output another name"));
    }
    write(to, &source)?;
    let proved = prove(to, &source, like);
    if proved.is_err() {
        output::remove_file(to)?;
    }
    proved
}

/// Reads a file; an array that is converted to an array needs no grid (`placeless`).
fn read(path: &Path, like: Option<&Path>, placeless: bool) -> Result<Numbers> {
    if npy::is_array(path) {
        return array(path, like, placeless).at(path.display());
    }
    if whole(path)? { data::read_labels(path).map(Numbers::Whole) } else { data::read_image(path).map(Numbers::Real) }
}

/// Whether a file stores integers of at most 32 bits, without scaling.
fn whole(path: &Path) -> Result<bool> {
    let narrow = |kind: NumberType| kind.is_integer() && kind.size() <= 4 && kind != NumberType::U32;
    if data::ending(path) == Some(".png") {
        return Ok(png::read_labels(path).is_ok());
    }
    if formats::is_known(path) {
        return formats::read_header(path).map(|(_, _, kind)| narrow(kind));
    }
    let header = nifti::read_header(path)?;
    Ok(narrow(header.kind) && header.scaling() == (1.0, 0.0))
}

/// An array of shape `[(k,) (d,) h, w]` on the grid of another file.
fn array(path: &Path, like: Option<&Path>, placeless: bool) -> Result<Numbers> {
    let header = npy::read_header(path, "probabilities")?;
    let grid = match (like, header.shape[..].last_chunk::<3>()) {
        (Some(like), _) => data::read_grid(like)?.0,
        (None, Some(&extent)) if placeless => Grid::unknown(extent),
        _ => {
            return Err(Error::new("an array does not store the position of its voxels")
                .help("give a volume with the same grid: --like FILE"));
        }
    };
    let voxels = grid.extent.iter().product::<usize>();
    let spatial: Vec<usize> = grid.extent.into_iter().filter(|&extent| extent > 1).collect();
    let own: Vec<usize> = header.shape.iter().copied().filter(|&extent| extent > 1).collect();
    if !own.ends_with(&spatial) || own.len() > spatial.len() + 1 {
        let problem = format!("the array has the shape {:?}, the grid {:?} along z, y, x", header.shape, grid.extent);
        return Err(Error::new(problem).help("the axes of an array are class, z, y, x"));
    }
    let channels = header.shape.iter().product::<usize>() / voxels.max(1);
    if header.kind.is_integer() && header.kind.size() <= 4 && header.kind != NumberType::U32 {
        let data = npy::read::<i32>(path, "labels")?.data;
        return Ok(Numbers::Whole(Volume::new(data, channels, grid)));
    }
    Ok(Numbers::Real(Volume::new(npy::read::<f32>(path, "probabilities")?.data, channels, grid)))
}

fn write(path: &Path, numbers: &Numbers) -> Result<()> {
    match numbers {
        Numbers::Real(volume) => store(path, volume, "probabilities"),
        Numbers::Whole(volume) if data::ending(path) == Some(".png") => png::write_labels(path, volume),
        Numbers::Whole(volume) => {
            let narrow = |low: i32, high: i32| volume.values().iter().all(|value| (low..=high).contains(value));
            if narrow(0, 255) {
                store(path, &cast(volume, |value| value as u8), "labels")
            } else if narrow(i32::from(i16::MIN), i32::from(i16::MAX)) {
                store(path, &cast(volume, |value| value as i16), "labels")
            } else {
                store(path, volume, "labels")
            }
        }
    }
}

fn cast<T: Copy>(volume: &Volume<i32>, to: impl Fn(i32) -> T) -> Volume<T> {
    Volume::new(volume.values().iter().map(|&value| to(value)).collect(), volume.channels(), volume.grid.clone())
}

fn store<T: ToFile>(path: &Path, volume: &Volume<T>, key: &str) -> Result<()> {
    if !npy::is_array(path) {
        return data::write(path, volume);
    }
    let [d, h, w] = volume.grid.extent;
    let shape = [volume.channels(), d, h, w];
    let shape = if volume.channels() == 1 { &shape[1..] } else { &shape[..] };
    if npy::is_archive(path) {
        npy::write_archive(path, &[(key, shape, volume.values())])
    } else {
        npy::write(path, shape, volume.values())
    }
}

/// Reads a written file back and compares it with its source.
fn prove(path: &Path, source: &Numbers, like: Option<&Path>) -> Result<()> {
    let grid = match source {
        Numbers::Whole(volume) => &volume.grid,
        Numbers::Real(volume) => &volume.grid,
    };
    if npy::is_array(path) {
        let same = match source {
            Numbers::Whole(volume) => npy::read::<i32>(path, "labels")?.data == volume.values(),
            Numbers::Real(volume) => same_bits(&npy::read::<f32>(path, "probabilities")?.data, volume.values()),
        };
        return if same { Ok(()) } else { Err(changed(path)) };
    }
    let written = read(path, like, false)?;
    let (same, own) = match (source, &written) {
        (Numbers::Whole(a), Numbers::Whole(b)) => (a.data == b.data, &b.grid),
        (Numbers::Real(a), Numbers::Real(b)) => (same_bits(a.values(), b.values()), &b.grid),
        (_, Numbers::Whole(b)) => (false, &b.grid),
        (_, Numbers::Real(b)) => (false, &b.grid),
    };
    // A PNG has no geometry to compare.
    if own.sized {
        expect_place(grid, own).at(path.display())?;
    }
    if same { Ok(()) } else { Err(changed(path)) }
}

fn expect_place(source: &Grid, written: &Grid) -> Result<()> {
    source.expect_same("the source", written, "the written file")
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn changed(path: &Path) -> Error {
    Error::new("the written numbers differ from those of the source").at(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random volumes with oblique, sheared and flipped affines survive conversion through every format.
    #[test]
    fn every_format_keeps_numbers_and_geometry() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for seed in 0..6_u64 {
            let rng = segcal_core::Rng::new(seed);
            let random = |k: u64| rng.stream(k).normal(0);
            let affine: [[f64; 4]; 3] = std::array::from_fn(|row| {
                std::array::from_fn(|k| {
                    let diagonal = if row == k { [2.0, -0.7, 1.3][row] } else { 0.0 };
                    diagonal + 0.2 * random((4 * row + k) as u64)
                })
            });
            let grid = Grid::new([2, 3, 4], affine, 1).unwrap();
            let channels = 1 + seed as usize % 3;
            let real: Vec<f32> = (0..24 * channels).map(|i| rng.stream(20).normal(i as u64) as f32).collect();
            let whole: Vec<i32> = real.iter().map(|x| (x * 10_f32.powi(seed as i32)) as i32).collect();
            let (real, whole) = (Volume::new(real, channels, grid.clone()), Volume::new(whole, channels, grid));
            nifti::write(&at("a.nii"), &real).unwrap();
            nifti::write(&at("b.nii"), &whole).unwrap();
            for (first, like) in [("a.nii", &real.grid), ("b.nii", &whole.grid)] {
                let mut last = at(first);
                for name in ["c.mha", "d.nrrd", "e.npz", "f.nii.gz", "g.npy", "h.nii"] {
                    convert(&last, &at(name), Some(&at("a.nii"))).unwrap();
                    last = at(name);
                }
                data::read_grid(&last).unwrap().0.expect_same("last", like, "first").unwrap();
            }
            assert!(same_bits(data::read_image(&at("a.nii")).unwrap().values(), real.values()));
            assert_eq!(data::read_labels(&at("h.nii")).unwrap().values(), whole.values());
        }
    }

    #[test]
    fn an_array_needs_a_grid() {
        let folder = tempfile::tempdir().unwrap();
        let [array, out] = ["a.npy", "a.nii"].map(|name| folder.path().join(name));
        npy::write(&array, &[2, 2], &[1.0_f32, 2.0, 3.0, 4.0]).unwrap();
        let message = convert(&array, &out, None).unwrap_err().to_string();
        assert!(message.contains("a.npy") && message.contains("--like") && !out.exists(), "{message}");
        // Converted to another array format, it needs no grid.
        let (scores, archive) = (folder.path().join("b.npy"), folder.path().join("b.npz"));
        let values: Vec<f32> = (0..24).map(|value| value as f32 / 3.0).collect();
        npy::write(&scores, &[2, 2, 2, 3], &values).unwrap();
        convert(&scores, &archive, None).unwrap();
        let read = npy::read::<f32>(&archive, "probabilities").unwrap();
        assert_eq!((read.shape, read.data), (vec![2, 2, 2, 3], values));
    }
}
