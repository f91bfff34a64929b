//! `distance`: the exact squared distance, minimised along one axis after the other.
//!
//! Along `w`, two sweeps count the voxels to the nearest mark. Along `h` and `d`, the squared distance is the lower
//! envelope of parabolas (Felzenszwalb and Huttenlocher, Distance Transforms of Sampled Functions, 2012), found in
//! linear time for each line. Everything is computed in f64; only the square root is rounded to f32.

use segcal_core::NO_DISTANCE;

use super::isa::wide;
use super::{Array, CHUNK, Cpu};

/// Number of neighbouring lines in one block: one cache line of f64.
const LINES: usize = 8;
/// Number of neighbouring lines that are gathered together.
const GROUP: usize = 4 * LINES;

/// Distance from each voxel to the nearest marked voxel of its volume.
pub(super) fn distance(cpu: &Cpu, (mask, shape): Array<'_>, spacing: [f64; 3], y: &mut [f32]) {
    let [d, h, w] = shape.spatial();
    let mut scratch = cpu.block(2 * mask.len());
    // SAFETY: any bit pattern is a valid f64, and the block is aligned for all vectors.
    let (_, squared, _) = unsafe { scratch.align_to_mut::<f64>() };
    let slices = CHUNK.div_ceil(h * w);
    cpu.chunks(squared, slices * h * w, |task, squared| {
        let mut envelope = Envelope::new(h, spacing[1]);
        let mut steps = vec![0; w];
        let mask = &mask[task * slices * h * w..];
        for (slice, mask) in squared.chunks_mut(h * w).zip(mask.chunks(h * w)) {
            for (row, mask) in slice.chunks_mut(w).zip(mask.chunks(w)) {
                count_steps(mask, &mut steps);
                square_steps(&steps, spacing[2], row);
            }
            along_h(slice, w, &mut envelope);
        }
    });
    // A task for the last axis has the rows of all depths at one height.
    let mut rows: Vec<Vec<&mut [f32]>> = (0..mask.len() / (d * w)).map(|_| Vec::with_capacity(d)).collect();
    for (row, y) in y.chunks_mut(w).enumerate() {
        rows[row / (d * h) * h + row % h].push(y);
    }
    cpu.for_each_with(
        rows.into_iter().enumerate().collect(),
        || Envelope::new(d, spacing[0]),
        |envelope, (task, mut rows)| {
            let start = task / h * (d * h * w) + task % h * w;
            along_d(&squared[start..], h * w, envelope, &mut rows);
        },
    );
}

/// More steps than any row has.
const FAR: i32 = 1 << 30;

/// Number of voxels to the nearest mark in a row; at least [`FAR`] if there is none.
fn count_steps(mask: &[f32], steps: &mut [i32]) {
    let mut count = FAR;
    for (steps, &mask) in steps.iter_mut().zip(mask) {
        count = if mask == 0.0 { count + 1 } else { 0 };
        *steps = count;
    }
    count = FAR;
    for steps in steps.iter_mut().rev() {
        count = (*steps).min(count + 1);
        *steps = count;
    }
}

wide! {
    fn square_steps(steps: &[i32], spacing: f64, squared: &mut [f64]) {
        for (squared, &steps) in squared.iter_mut().zip(steps) {
            let length = spacing * f64::from(steps);
            *squared = if steps < FAR { length * length } else { f64::INFINITY };
        }
    }
}

/// Minimises down the columns of a slice, in place.
fn along_h(slice: &mut [f64], width: usize, envelope: &mut Envelope) {
    for first in (0..width).step_by(GROUP) {
        let last = width.min(first + GROUP);
        for (i, row) in slice.chunks(width).enumerate() {
            envelope.gather(i, &row[first..last]);
        }
        envelope.minimise(last - first);
        for (i, row) in slice.chunks_mut(width).enumerate() {
            for (values, result) in row[first..last].chunks_mut(LINES).zip(envelope.results(i)) {
                match <&mut [f64; LINES]>::try_from(&mut *values) {
                    Ok(values) => *values = *result,
                    Err(_) => values.copy_from_slice(&result[..values.len()]),
                }
            }
        }
    }
}

/// Minimises along the depth of one row of columns and takes the square root.
fn along_d(squared: &[f64], step: usize, envelope: &mut Envelope, rows: &mut [&mut [f32]]) {
    let width = rows[0].len();
    for first in (0..width).step_by(GROUP) {
        let last = width.min(first + GROUP);
        for i in 0..rows.len() {
            envelope.gather(i, &squared[i * step + first..i * step + last]);
        }
        envelope.minimise(last - first);
        for (i, row) in rows.iter_mut().enumerate() {
            for (values, result) in row[first..last].chunks_mut(LINES).zip(envelope.results(i)) {
                values.copy_from_slice(&lengths(result)[..values.len()]);
            }
        }
    }
}

wide! {
    fn lengths(squared: &[f64; LINES]) -> [f32; LINES] {
        squared.map(|square| if square < f64::INFINITY { square.sqrt() as f32 } else { NO_DISTANCE as f32 })
    }
}

/// Scratch memory for the lower envelopes of a group of neighbouring lines.
struct Envelope {
    extent: usize,
    spacing: f64,
    /// The heights of the parabolas as `[block of lines, position][line]`: neighbours in the volume stay neighbours.
    heights: Vec<[f64; LINES]>,
    /// The minima, in the same layout.
    results: Vec<[f64; LINES]>,
    /// `1 / (2 spacing^2 k)`, so that finding the intersection of two parabolas needs no division.
    reciprocals: Vec<f64>,
    /// Apexes of the parabolas in the envelope of one line, and the position from which each is the lowest.
    apexes: Vec<u32>,
    begins: Vec<f64>,
}

impl Envelope {
    fn new(extent: usize, spacing: f64) -> Self {
        let numbers = || vec![[0.0; LINES]; GROUP / LINES * extent];
        Self {
            extent,
            spacing,
            heights: numbers(),
            results: numbers(),
            reciprocals: (0..extent).map(|k| 0.5 / (spacing * spacing * k as f64)).collect(),
            apexes: vec![0; extent],
            begins: vec![0.0; extent],
        }
    }

    /// Stores the values at position `i` of each line.
    fn gather(&mut self, i: usize, values: &[f64]) {
        for (values, heights) in values.chunks(LINES).zip(self.heights.iter_mut().skip(i).step_by(self.extent)) {
            match <&[f64; LINES]>::try_from(values) {
                Ok(values) => *heights = *values,
                Err(_) => heights[..values.len()].copy_from_slice(values),
            }
        }
    }

    /// The results at position `i` of each line, block by block.
    fn results(&self, i: usize) -> impl Iterator<Item = &[f64; LINES]> {
        self.results.iter().skip(i).step_by(self.extent)
    }

    /// `results[i] = min over j of heights[j] + (spacing (i - j))^2` for the first lines of the group.
    fn minimise(&mut self, lines: usize) {
        for line in 0..lines {
            let block = line / LINES * self.extent;
            let count = self.find_envelope(block, line % LINES);
            self.read_envelope(block, line % LINES, count);
        }
    }

    /// Finds the parabolas that are the lowest somewhere, and returns their number.
    fn find_envelope(&mut self, block: usize, line: usize) -> usize {
        let heights = &self.heights[block..block + self.extent];
        let mut count = 0;
        for place in 0..heights.len() {
            let height = heights[place][line];
            if height == f64::INFINITY {
                continue;
            }
            let mut begin = f64::NEG_INFINITY;
            while count > 0 {
                let apex = self.apexes[count - 1] as usize;
                let between = 0.5 * f64::from((place + apex) as u32);
                begin = (height - heights[apex][line]) * self.reciprocals[place - apex] + between;
                if begin > self.begins[count - 1] {
                    break;
                }
                count -= 1;
                begin = f64::NEG_INFINITY;
            }
            (self.apexes[count], self.begins[count]) = (place as u32, begin);
            count += 1;
        }
        count
    }

    fn read_envelope(&mut self, block: usize, line: usize, count: usize) {
        let range = block..block + self.extent;
        let (heights, results) = (&self.heights[range.clone()], &mut self.results[range]);
        let (mut place, mut position) = (0, 0.0);
        for current in 0..count {
            let apex = self.apexes[current];
            let (height, centre) = (heights[apex as usize][line], f64::from(apex));
            let end = if current + 1 < count { self.begins[current + 1] } else { f64::INFINITY };
            while place < results.len() && position < end {
                let offset = self.spacing * (position - centre);
                results[place][line] = height + offset * offset;
                place += 1;
                position += 1.0;
            }
        }
        if count == 0 {
            results.iter_mut().for_each(|result| result[line] = f64::INFINITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::{Backend, Shape};

    use super::*;

    #[test]
    fn three_four_five() {
        let cpu = Cpu::default();
        let shape = Shape::new(1, 1, 1, 5, 4);
        let mask = cpu.upload((0..20).map(|i| f32::from(i == 0)).collect::<Vec<_>>());
        let y = cpu.distance((&mask, shape), [1.0; 3]);
        assert_eq!((y[0], y[3], y[19]), (0.0, 3.0, 5.0));
    }

    #[test]
    fn spacing_weighs_the_axes() {
        let cpu = Cpu::default();
        let mask = cpu.upload(vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let y = cpu.distance((&mask, Shape::new(1, 1, 2, 1, 3)), [3.0, 1.0, 2.0]);
        assert_eq!(y.to_vec(), [4.0, 2.0, 0.0, 5.0, 13f32.sqrt(), 3.0]);
    }

    #[test]
    fn volumes_do_not_see_each_other_and_an_empty_one_has_no_distance() {
        let cpu = Cpu::default();
        let mask = cpu.upload(vec![0.0, -2.0, 0.0, 0.0]);
        let y = cpu.distance((&mask, Shape::new(2, 1, 1, 1, 2)), [1.0; 3]);
        assert_eq!(y.to_vec(), [1.0, 0.0, NO_DISTANCE as f32, NO_DISTANCE as f32]);
    }
}
