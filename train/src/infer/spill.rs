//! Class scores on disk: written in the order in which planes are finished, read back in the order of a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use segcal_core::{Context, Result};

use super::planes::Planes;
use segcal_data::output::write_failure;

/// Approximate number of values that are read back at a time.
const PIECE: usize = 1 << 20;

/// Name of the unnamed file in messages.
const TEMPORARY: &str = "temporary scores";

/// The planes of a volume in a file without a name, which the system removes however the process ends.
pub struct Spill {
    file: File,
    planes: Planes,
    /// Numbers written so far.
    written: usize,
}

impl Spill {
    /// Creates an empty file on the disk of `folder`.
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
        self.file.write_all(&bytes).map_err(|error| write_failure(&error)).at(TEMPORARY)
    }

    /// Number of classes, once every plane has been written.
    pub fn classes(&self) -> usize {
        self.written / self.planes.extent.iter().product::<usize>().max(1)
    }

    fn gather(&mut self, class: usize, slices: Range<usize>, to: &mut [f32]) -> io::Result<()> {
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

/// The mean of spills of one volume, for a range of their classes; for a single spill, its own numbers.
pub struct Mean<'a> {
    spills: &'a mut [Spill],
    classes: Range<usize>,
    /// The sums of a piece.
    sums: Vec<f64>,
}

impl<'a> Mean<'a> {
    /// The mean of these spills, which belong to one volume and have at least these classes.
    pub fn of(spills: &'a mut [Spill], classes: Range<usize>) -> Self {
        Self { spills, classes, sums: Vec::new() }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// Passes on all numbers in the order `[class, d, h, w]`, a few slices at a time.
    ///
    /// # Errors
    /// The disk cannot be read, or `each` fails.
    pub fn read(&mut self, each: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let mut piece = Vec::new();
        for class in self.classes.clone() {
            for slices in self.pieces(1) {
                self.gather(class, slices, &mut piece)?;
                each(&piece)?;
            }
        }
        Ok(())
    }

    /// Passes on all numbers in the order `[d, h, w, class]`, a few slices at a time.
    ///
    /// # Errors
    /// The disk cannot be read, or `each` fails.
    pub fn read_together(&mut self, each: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let classes = self.classes();
        let (mut piece, mut together) = (Vec::new(), Vec::new());
        for slices in self.pieces(classes) {
            for (number, class) in self.classes.clone().enumerate() {
                self.gather(class, slices.clone(), &mut piece)?;
                together.resize(piece.len() * classes, 0.0);
                let own = together.iter_mut().skip(number).step_by(classes);
                own.zip(&piece).for_each(|(to, &p)| *to = p);
            }
            each(&together)?;
        }
        Ok(())
    }

    /// The slices to read at a time, for this many classes together.
    fn pieces(&self, classes: usize) -> Vec<Range<usize>> {
        let [depth, height, width] = self.spills.first().map_or([0; 3], |spill| spill.planes.extent);
        let step = (PIECE / (height * width * classes).max(1)).clamp(1, depth.max(1));
        (0..depth).step_by(step).map(|start| start..depth.min(start + step)).collect()
    }

    fn gather(&mut self, class: usize, slices: Range<usize>, piece: &mut Vec<f32>) -> Result<()> {
        let [_, height, width] = self.spills.first().map_or([0; 3], |spill| spill.planes.extent);
        piece.resize(slices.len() * height * width, 0.0);
        if let [spill] = self.spills {
            return spill.gather(class, slices, piece).at(TEMPORARY);
        }
        self.sums.clear();
        self.sums.resize(piece.len(), 0.0);
        for spill in &mut *self.spills {
            spill.gather(class, slices.clone(), piece).at(TEMPORARY)?;
            self.sums.iter_mut().zip(&*piece).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let count = self.spills.len() as f64;
        piece.iter_mut().zip(&self.sums).for_each(|(to, sum)| *to = (sum / count) as f32);
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
            let mut spills = [spill];
            Mean::of(&mut spills, 0..classes)
                .read(&mut |piece| {
                    pieces += 1;
                    assert!(piece.iter().enumerate().all(|(i, &x)| x == (next + i) as f32), "axis {axis}");
                    next += piece.len();
                    Ok(())
                })
                .unwrap();
            assert_eq!((next, pieces), (classes * volume, 4));
            let mut next = 0;
            let number = |at: usize| (at % classes * volume + at / classes) as f32;
            Mean::of(&mut spills, 0..classes)
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

    #[test]
    fn the_mean_of_spills_whose_planes_lie_along_other_axes() {
        let folder = tempfile::tempdir().unwrap();
        let extent = [2, 3, 4];
        let number = |run: usize, class: usize, voxel: usize| (100 * class + voxel) as f32 + [0.0, 1.0, 5.0][run];
        let mut spills = [0, 1, 2].map(|run| {
            let planes = Planes { axis: run, extent };
            let mut spill = Spill::create(folder.path(), planes).unwrap();
            for plane in 0..extent[run] {
                let values = (0..2).flat_map(|class| {
                    (0..planes.voxels()).map(move |place| number(run, class, planes.voxel(plane, place)))
                });
                spill.push(&values.collect::<Vec<_>>()).unwrap();
            }
            spill
        });
        let mut found = Vec::new();
        Mean::of(&mut spills, 1..2)
            .read(&mut |piece| {
                found.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!(found, (0..24).map(|voxel| (100 + voxel) as f32 + 2.0).collect::<Vec<_>>());
    }
}
