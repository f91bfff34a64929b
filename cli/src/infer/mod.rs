//! Class probabilities of whole volumes, tile by tile.
//!
//! A network that sees slices is run over every slice of its axis; one that sees patches over overlapping patches,
//! mixed with a Gaussian window (standard deviation an eighth of the patch, as nnU-Net does), so that voxels near the
//! rim of a patch, which the network knows least about, weigh least.

use segcal_core::{Backend, Elem, Error, Result, Shape, Tensor, stable};
use segcal_models::{Mode, Network, Parameters};

use crate::data::Volume;
use crate::train::samples::{Block, cut_block, flat_last};
use crate::train::settings::{SampleKind, Samples};

/// How a volume is cut into tiles.
pub struct Tiling<'a> {
    /// What the network was trained on.
    pub samples: &'a Samples,
    /// What the spatial extents of an input must be multiples of, `[d, h, w]`.
    pub stride: [usize; 3],
    /// Tiles that go through the network together.
    pub batch: usize,
}

/// Softmax probabilities `[k, d, h, w]` of one prepared image.
///
/// # Errors
/// The device fails, or the network's output is not finite.
pub fn probabilities<B: Backend>(
    network: &dyn Network<B>,
    parameters: &Parameters<B>,
    backend: &B,
    image: &Volume<f32>,
    tiling: &Tiling<'_>,
) -> Result<Vec<f32>> {
    let tiles = tiles(image.grid.extent, tiling);
    let weights = tiling.weights(tiles.first().map_or([1; 3], |tile| tile.size));
    let mut mixture = Mixture::new(image.grid.extent);
    for group in tiles.chunks(tiling.batch) {
        let mut values = Vec::new();
        group.iter().for_each(|tile| cut_block(image, tile, |x| x, &mut values));
        let shape = Shape::new(group.len(), image.channels(), 1, 1, 1).with_spatial(flat_last(group[0].size));
        let input = Tensor::new(backend, shape, values.iter().map(|&x| B::Elem::of(f64::from(x))).collect());
        let output = stable::softmax(&network.forward(parameters, &input, Mode::Evaluate));
        let classes = output.shape().c();
        let output: Vec<f32> = output.to_vec()?.into_iter().map(|p| p.f64() as f32).collect();
        if !output.iter().all(|p| p.is_finite()) {
            return Err(not_finite(network, parameters, &input));
        }
        for (tile, output) in group.iter().zip(output.chunks_exact(output.len() / group.len())) {
            mixture.add(tile, classes, output, &weights);
        }
    }
    Ok(mixture.finish())
}

/// Says that the network's output for this input is not finite, and which layer's output is the first that is not.
fn not_finite<B: Backend>(network: &dyn Network<B>, parameters: &Parameters<B>, input: &Tensor<B>) -> Error {
    let watched = parameters.watched();
    network.forward(&watched, input, Mode::Evaluate);
    let first = watched.passed_layers().into_iter().find(|(_, finite)| !finite);
    let place = first.map(|(layer, _)| format!(", first in the output of {layer}")).unwrap_or_default();
    Error::new(format!("the network's output is not finite{place}"))
        .help("the training diverged: train with a lower learning rate or with clip_norm")
}

/// The tiles of a volume: all of one size, a multiple of the stride, together covering every voxel.
fn tiles(extent: [usize; 3], tiling: &Tiling<'_>) -> Vec<Block> {
    let size = tiling.tile_size(extent);
    let starts: [Vec<isize>; 3] = std::array::from_fn(|axis| starts(extent[axis], size[axis]));
    let mut tiles = Vec::new();
    for &d in &starts[0] {
        for &h in &starts[1] {
            for &w in &starts[2] {
                tiles.push(Block { case: 0, start: [d, h, w], size });
            }
        }
    }
    tiles
}

/// Starts along one axis, evenly spread, at most half a tile apart; one centred tile where it covers the whole axis,
/// and every place in turn for tiles of extent 1.
fn starts(extent: usize, size: usize) -> Vec<isize> {
    if size >= extent {
        return vec![(extent as isize - size as isize).div_euclid(2)];
    }
    let room = extent - size;
    let steps = room.div_ceil((size / 2).max(1));
    (0..=steps).map(|step| (step * room / steps) as isize).collect()
}

impl Tiling<'_> {
    fn tile_size(&self, extent: [usize; 3]) -> [usize; 3] {
        let block = self.samples.block_size();
        let whole_slices = self.samples.kind == SampleKind::Slices;
        let along = self.samples.axis.index();
        // The network's own axes: a slice has no depth, so its two axes follow the stride's `h` and `w`.
        let mut flat = (1..3).map(|axis| self.stride[axis]);
        std::array::from_fn(|axis| match whole_slices {
            true if axis == along => 1,
            // At least the extent of training: instance norm sees how much of a slice is padding.
            true => extent[axis].max(block[axis]).next_multiple_of(flat.next().expect("two axes lie in a slice")),
            false => block[axis].next_multiple_of(self.stride[axis]),
        })
    }

    /// Weight of each voxel of a tile.
    fn weights(&self, size: [usize; 3]) -> Vec<f32> {
        if self.samples.kind == SampleKind::Slices {
            return vec![1.0; size.iter().product()];
        }
        let profile: [Vec<f64>; 3] = size.map(|extent| {
            let (centre, sigma) = ((extent as f64 - 1.0) / 2.0, extent as f64 / 8.0);
            (0..extent).map(|i| (-0.5 * ((i as f64 - centre) / sigma).powi(2)).exp().max(1e-3)).collect()
        });
        let mut weights = Vec::with_capacity(size.iter().product());
        for d in &profile[0] {
            for h in &profile[1] {
                weights.extend(profile[2].iter().map(|w| (d * h * w) as f32));
            }
        }
        weights
    }
}

/// A weighted mean of overlapping tiles.
struct Mixture {
    extent: [usize; 3],
    sums: Vec<f32>,
    weights: Vec<f32>,
}

impl Mixture {
    fn new(extent: [usize; 3]) -> Self {
        Self { extent, sums: Vec::new(), weights: vec![0.0; extent.iter().product()] }
    }

    fn add(&mut self, tile: &Block, classes: usize, output: &[f32], window: &[f32]) {
        let (voxels, inside) = (self.weights.len(), window.len());
        self.sums.resize(classes * voxels, 0.0);
        let [depth, height, width] = tile.size;
        for place in 0..depth * height {
            let (d, h) = (place / height, place % height);
            let (Some(z), Some(y)) = (self.place(tile, 0, d), self.place(tile, 1, h)) else { continue };
            for w in 0..width {
                let Some(x) = self.place(tile, 2, w) else { continue };
                let to = (z * self.extent[1] + y) * self.extent[2] + x;
                let from = place * width + w;
                self.weights[to] += window[from];
                for class in 0..classes {
                    self.sums[class * voxels + to] += window[from] * output[class * inside + from];
                }
            }
        }
    }

    fn place(&self, tile: &Block, axis: usize, offset: usize) -> Option<usize> {
        let at = tile.start[axis] + offset as isize;
        (at >= 0 && (at as usize) < self.extent[axis]).then_some(at as usize)
    }

    fn finish(mut self) -> Vec<f32> {
        for class in self.sums.chunks_exact_mut(self.weights.len()) {
            class.iter_mut().zip(&self.weights).for_each(|(sum, weight)| *sum /= weight);
        }
        self.sums
    }
}

/// The class of the largest probability at each voxel, the first of equals.
pub fn labels(probabilities: &[f32], voxels: usize) -> Vec<u8> {
    let mut best = probabilities[..voxels].to_vec();
    let mut labels = vec![0; voxels];
    for (class, values) in probabilities.chunks_exact(voxels).enumerate().skip(1) {
        for voxel in 0..voxels {
            if values[voxel] > best[voxel] {
                best[voxel] = values[voxel];
                labels[voxel] = class as u8;
            }
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_voxel() {
        for (extent, size) in [(5, 8), (8, 8), (9, 8), (100, 16), (7, 1), (17, 16)] {
            let starts = starts(extent, size);
            for voxel in 0..extent as isize {
                assert!(starts.iter().any(|&start| start <= voxel && voxel < start + size as isize), "{extent} {size}");
            }
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= (size as isize / 2).max(1)), "{starts:?}");
        }
        assert_eq!(starts(3, 1), [0, 1, 2]);
    }

    #[test]
    fn a_mixture_of_equal_tiles_is_the_tile() {
        let mut mixture = Mixture::new([1, 1, 3]);
        for start in [-1, 0, 1] {
            let tile = Block { case: 0, start: [0, 0, start], size: [1, 1, 3] };
            mixture.add(&tile, 2, &[0.25, 0.25, 0.25, 0.75, 0.75, 0.75], &[0.5, 1.0, 0.5]);
        }
        assert_eq!(mixture.finish(), [0.25, 0.25, 0.25, 0.75, 0.75, 0.75]);
    }

    #[test]
    fn the_first_of_equal_probabilities_wins() {
        assert_eq!(labels(&[0.5, 0.1, 0.5, 0.9], 2), [0, 1]);
    }
}
