//! Reads a NIfTI volume and writes class probabilities in its geometry.
//!
//! ```sh
//! cargo run -p segcal-data --example probabilities -- image.nii.gz probabilities.nii.gz
//! ```
//!
//! Without arguments it makes a small image of its own in the system's folder for temporary files.

use std::path::{Path, PathBuf};

use segcal_core::Result;
use segcal_data::{Grid, Volume, nifti};

fn main() -> Result<()> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (image, out) = match (paths.next(), paths.next()) {
        (Some(image), Some(out)) => (image, out),
        _ => made(&std::env::temp_dir())?,
    };
    // [channels, d, h, w], the axes of the file reversed: x is the last and fastest.
    let volume = nifti::read_image(&image)?;
    println!("{}: {}, {} channel(s)", image.display(), volume.grid, volume.channels());

    // Of two classes, the second as probable as the voxel is bright. A library that wants an ndarray takes
    // `volume.data` or, for one channel, `volume.channel(0)`.
    let channel = volume.channel(0);
    let (low, high) = channel.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    let bright = channel.mapv(|x| if high > low { (x - low) / (high - low) } else { 0.5 });
    let values = bright.iter().map(|p| 1.0 - p).chain(bright.iter().copied()).collect();
    // 4-D NIfTI, the class last, on the grid of the image: what `segcal evaluate --probabilities` reads.
    nifti::write(&out, &Volume::new(values, 2, volume.grid))?;

    let stored = nifti::read_image(&out)?;
    println!("{}: {}, {} classes", out.display(), stored.grid, stored.channels());
    Ok(())
}

/// A ramp on a grid of 4 x 3 x 2 voxels of 1 x 1 x 3 mm, and a name for the result.
fn made(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let affine = [[1.0, 0.0, 0.0, -2.0], [0.0, 1.0, 0.0, -1.5], [0.0, 0.0, 3.0, 0.0]];
    let ramp = (0..24_u8).map(f32::from).collect();
    let image = folder.join("segcal-example-image.nii.gz");
    nifti::write(&image, &Volume::new(ramp, 1, Grid::new([2, 3, 4], affine, 1)?))?;
    Ok((image, folder.join("segcal-example-probabilities.nii.gz")))
}
