//! Maps scores from the network's grid back to that of the file, plane by plane.

use segcal_core::Result;
use segcal_data::resample::Line;

use super::planes::Planes;
use crate::frame::Frame;

/// Takes the planes of the network's grid in order, and emits those of the file's: interpolated linearly between two
/// planes, or the nearest. Voxels that were cropped off are background. Two planes are kept in memory.
pub(super) struct Back<'a> {
    frame: &'a Frame,
    lines: [Line; 3],
    axis: usize,
    /// The latest two planes in the file's voxels of the box, and the number of the last one.
    held: [Vec<f32>; 2],
    newest: usize,
    /// The next plane to be emitted.
    next: usize,
    /// The scores of a voxel that was cropped off.
    outside: Vec<f32>,
}

impl<'a> Back<'a> {
    /// Maps back to this frame, along this axis; `outside` are the scores of a voxel that was cropped off.
    pub(super) fn new(frame: &'a Frame, axis: usize, outside: Vec<f32>) -> Self {
        Self { frame, lines: frame.back(), axis, held: Default::default(), newest: 0, next: 0, outside }
    }

    /// Takes plane `number`, `[k][place]`, and emits the planes that it completes.
    pub(super) fn take(
        &mut self,
        number: usize,
        plane: &[f32],
        each: &mut impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let enlarged = self.in_plane(plane);
        self.held.swap(0, 1);
        self.held[1] = enlarged;
        self.newest = number;
        let (start, extent) = (self.frame.start[self.axis], self.frame.extent[self.axis]);
        while self.next < start + extent {
            if self.next >= start {
                let taps = self.lines[self.axis].taps(self.next - start);
                if taps.iter().any(|&(at, _)| at > self.newest) {
                    return Ok(());
                }
            }
            each(self.next, &self.plane())?;
            self.next += 1;
        }
        Ok(())
    }

    /// Emits the planes after the last one that the network saw.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        while self.next < self.frame.whole.extent[self.axis] {
            each(self.next, &self.plane())?;
            self.next += 1;
        }
        Ok(())
    }

    /// A plane of the network in the file's voxels: each score is resampled along the plane's two axes.
    fn in_plane(&self, plane: &[f32]) -> Vec<f32> {
        let voxels = plane.len() / self.outside.len();
        let resampled = plane.chunks_exact(voxels).flat_map(|score| {
            let mut extent = self.frame.size();
            extent[self.axis] = 1;
            let mut values = score.to_vec();
            for axis in (0..3).filter(|&axis| axis != self.axis) {
                values = self.lines[axis].along(axis, &values, extent);
                extent[axis] = self.frame.extent[axis];
            }
            values
        });
        resampled.collect()
    }

    /// The next plane of the file, `[k][place]`.
    fn plane(&self) -> Vec<f32> {
        let whole = Planes { axis: self.axis, extent: self.frame.whole.extent };
        let boxed = Planes { axis: self.axis, extent: self.frame.extent };
        let mut plane: Vec<f32> =
            self.outside.iter().flat_map(|&score| std::iter::repeat_n(score, whole.voxels())).collect();
        let Some(inside) = self.next.checked_sub(self.frame.start[self.axis]) else { return plane };
        if inside >= self.frame.extent[self.axis] {
            return plane;
        }
        let places = self.places(whole, boxed);
        for score in 0..self.outside.len() {
            let own = &mut plane[score * whole.voxels()..][..whole.voxels()];
            places.iter().for_each(|&place| own[place] = 0.0);
            for &(at, weight) in self.lines[self.axis].taps(inside) {
                let held = &self.held[usize::from(at == self.newest)];
                if weight != 0.0 {
                    let from = &held[score * boxed.voxels()..];
                    places.iter().zip(from).for_each(|(&place, value)| own[place] += weight * value);
                }
            }
        }
        plane
    }

    /// The places of the box in a plane of the file.
    fn places(&self, whole: Planes, boxed: Planes) -> Vec<usize> {
        (0..boxed.voxels())
            .map(|place| {
                let voxel = boxed.voxel(0, place);
                let [_, h, w] = boxed.extent;
                let mut at = [voxel / (h * w), voxel / w % h, voxel % w];
                at.iter_mut().zip(self.frame.start).for_each(|(at, start)| *at += start);
                at[self.axis] = 0;
                whole.place(at).1
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use segcal_core::Rng;
    use segcal_data::{Grid, Volume};

    /// A frame with a cut and other voxels along every axis, or thick slices.
    fn frame(spacing: &str, depth_mm: f64) -> Frame {
        let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, depth_mm, 0.0]];
        let grid = Grid::new([9, 10, 11], affine, 1).unwrap();
        let mut values = vec![0.0; 990];
        for voxel in [(2 * 10 + 1) * 11 + 3, (7 * 10 + 8) * 11 + 9] {
            values[voxel] = 1.0;
        }
        let input = Settings::with(&["input.crop=true", spacing]).unwrap().input;
        Frame::of(&Volume::new(values, 1, grid), &input).unwrap()
    }

    /// Plane by plane, along any axis, the result equals all three maps of the whole array, placed in the file's grid.
    #[test]
    fn planes_come_back_as_the_whole_would() {
        let frames = ["[1.7,0.6,1.3]", "[0.4,2.5,0.9]", "[0,0,0]"].map(|mm| frame(&format!("input.spacing={mm}"), 1.0));
        let thick = frame("input.spacing=[3,1.5,0.8]", 5.0);
        for frame in frames.iter().chain([&thick]) {
            let size = frame.size();
            let voxels = size.iter().product::<usize>();
            let scores: Vec<f32> = (0..2 * voxels as u64).map(|i| Rng::new(1).uniform(i) as f32).collect();
            let expected = whole(frame, &scores);
            for axis in 0..3 {
                let (own, all) = (Planes { axis, extent: size }, Planes { axis, extent: frame.whole.extent });
                let mut found = vec![f32::NAN; 2 * 990];
                let mut seen = Vec::new();
                let mut each = |number: usize, plane: &[f32]| {
                    seen.push(number);
                    for (place, &score) in plane.iter().enumerate() {
                        let (class, place) = (place / all.voxels(), place % all.voxels());
                        found[class * 990 + all.voxel(number, place)] = score;
                    }
                    Ok(())
                };
                let mut back = Back::new(frame, axis, vec![1.0, 0.0]);
                for number in 0..size[axis] {
                    let place =
                        |place: usize| scores[place / own.voxels() * voxels + own.voxel(number, place % own.voxels())];
                    let plane: Vec<f32> = (0..2 * own.voxels()).map(place).collect();
                    back.take(number, &plane, &mut each).unwrap();
                }
                back.finish(&mut each).unwrap();
                assert_eq!(seen, (0..frame.whole.extent[axis]).collect::<Vec<_>>());
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "axis {axis}");
            }
        }
    }

    fn whole(frame: &Frame, scores: &[f32]) -> Vec<f32> {
        let mut expected: Vec<f32> = [vec![1.0; 990], vec![0.0; 990]].concat();
        for (class, own) in scores.chunks_exact(frame.size().iter().product()).enumerate() {
            let (mut values, mut extent) = (own.to_vec(), frame.size());
            for (axis, line) in frame.back().iter().enumerate() {
                values = line.along(axis, &values, extent);
                extent[axis] = frame.extent[axis];
            }
            for (place, value) in values.into_iter().enumerate() {
                let [_, h, w] = frame.extent;
                let [z, y, x] = frame.start;
                let at = ((place / (h * w) + z) * 10 + place / w % h + y) * 11 + place % w + x;
                expected[class * 990 + at] = value;
            }
        }
        expected
    }
}
