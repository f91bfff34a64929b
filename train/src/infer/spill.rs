//! Class probabilities on disk: written in the order in which planes are done, read back in the order of a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use segcal_core::{Context, Result};

use super::planes::Planes;
use segcal_data::output::write_failure;

/// Numbers that are read back at a time, about.
const PIECE: usize = 1 << 20;

/// The planes of a volume in a file without a name, which the system removes however the process ends.
pub struct Spill {
    file: File,
    planes: Planes,
    /// Numbers written so far.
    written: usize,
}

impl Spill {
    /// An empty file on the disk of `folder`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(folder: &Path, planes: Planes) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).map_err(|error| write_failure(&error)).at(folder.display())?;
        Ok(Self { file, planes, written: 0 })
    }

    /// Writes the next plane, `[class][place]`.
    ///
    /// # Errors
    /// The disk is full.
    pub fn push(&mut self, plane: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = plane.iter().flat_map(|x| x.to_ne_bytes()).collect();
        self.written += plane.len();
        self.file.write_all(&bytes).map_err(|error| write_failure(&error)).at("temporary probabilities")
    }

    /// Number of classes, once every plane is there.
    pub fn classes(&self) -> usize {
        self.written / self.planes.extent.iter().product::<usize>().max(1)
    }

    /// Hands on all numbers in the order `[class, d, h, w]`, a few slices at a time.
    ///
    /// # Errors
    /// The disk cannot be read, or `each` fails.
    pub fn read(&mut self, each: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let [depth, height, width] = self.planes.extent;
        let step = (PIECE / (height * width).max(1)).clamp(1, depth.max(1));
        let mut piece = Vec::new();
        for class in 0..self.classes() {
            for start in (0..depth).step_by(step) {
                let slices = start..depth.min(start + step);
                piece.resize(slices.len() * height * width, 0.0);
                self.gather(class, slices, &mut piece).at("temporary probabilities")?;
                each(&piece)?;
            }
        }
        Ok(())
    }

    /// Hands on all numbers in the order `[d, h, w, class]`, a few slices at a time.
    ///
    /// # Errors
    /// The disk cannot be read, or `each` fails.
    pub fn read_together(&mut self, each: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let ([depth, height, width], classes) = (self.planes.extent, self.classes());
        let step = (PIECE / (height * width * classes).max(1)).clamp(1, depth.max(1));
        let (mut piece, mut together) = (Vec::new(), Vec::new());
        for start in (0..depth).step_by(step) {
            let slices = start..depth.min(start + step);
            piece.resize(slices.len() * height * width, 0.0);
            together.resize(piece.len() * classes, 0.0);
            for class in 0..classes {
                self.gather(class, slices.clone(), &mut piece).at("temporary probabilities")?;
                let own = together.iter_mut().skip(class).step_by(classes);
                own.zip(&piece).for_each(|(to, &p)| *to = p);
            }
            each(&together)?;
        }
        Ok(())
    }

    fn gather(&mut self, class: usize, slices: std::ops::Range<usize>, to: &mut [f32]) -> io::Result<()> {
        let (planes, classes) = (self.planes, self.classes());
        let first = slices.start * planes.extent[1] * planes.extent[2];
        let mut bytes = Vec::new();
        for (plane, places) in planes.parts(slices) {
            let at = (plane * classes + class) * planes.voxels() + places.start;
            bytes.resize(4 * places.len(), 0);
            self.file.seek(SeekFrom::Start(4 * at as u64))?;
            self.file.read_exact(&mut bytes)?;
            for (place, x) in places.zip(bytes.chunks_exact(4)) {
                to[planes.voxel(plane, place) - first] = f32::from_ne_bytes([x[0], x[1], x[2], x[3]]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_of_any_axis_come_back_in_the_order_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (extent, classes) = ([3, 700, 600], 2);
        let volume: usize = extent.iter().product();
        for axis in 0..3 {
            let planes = Planes { axis, extent };
            let mut spill = Spill::create(folder.path(), planes).unwrap();
            for plane in 0..extent[axis] {
                let number = |class: usize, place| (class * volume + planes.voxel(plane, place)) as f32;
                let values = (0..classes).flat_map(|class| (0..planes.voxels()).map(move |place| number(class, place)));
                spill.push(&values.collect::<Vec<_>>()).unwrap();
            }
            let mut next = 0;
            let mut pieces = 0;
            spill
                .read(&mut |piece| {
                    pieces += 1;
                    assert!(piece.iter().enumerate().all(|(i, &x)| x == (next + i) as f32), "axis {axis}");
                    next += piece.len();
                    Ok(())
                })
                .unwrap();
            assert_eq!((next, spill.classes(), pieces), (classes * volume, classes, 4));
            let mut next = 0;
            let number = |at: usize| (at % classes * volume + at / classes) as f32;
            spill
                .read_together(&mut |piece| {
                    assert!(piece.iter().enumerate().all(|(i, &x)| x == number(next + i)), "axis {axis}");
                    next += piece.len();
                    Ok(())
                })
                .unwrap();
            assert_eq!(next, classes * volume);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    }
}
