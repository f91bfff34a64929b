//! Class probabilities and logits of whole volumes, tile by tile.
//!
//! A network trained on slices is run on every slice of its axis, one trained on patches on overlapping patches. These
//! are averaged with a Gaussian window (standard deviation an eighth of the patch, as in nnU-Net), so that voxels near
//! the border of a patch, about which the network knows least, have the least weight.
//!
//! Results arrive plane by plane, so that a caller who keeps none needs memory only for as many planes as a tile is
//! thick, however large the volume and however many its classes.

mod back;
mod mixture;
mod planes;
mod spill;
mod tiles;

use segcal_core::{Backend, Elem, Error, Result, Shape, Tensor, ops, stable};
use segcal_models::{Mode, Network, Parameters};

use crate::augment::Orientation;
use crate::block::{Block, cut_block, flat_last};
use crate::prepared::{Ready, expect_channels};
use crate::samples::expect_room;
use back::Back;
use mixture::Mixture;
pub use planes::Planes;
use segcal_data::Volume;
use segcal_metrics::measure::Nested;
pub use spill::{Mean, Spill};
pub use tiles::Tiling;

/// What the network's outputs represent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// Logits of mutually exclusive classes: probabilities are their softmax.
    Softmax,
    /// Logits of regions, each a binary problem: probabilities are the sigmoid of each.
    Sigmoid,
}

impl Heads {
    /// The heads for these regions, or for classes.
    pub const fn of(regions: Option<&Nested>) -> Self {
        if regions.is_some() { Self::Sigmoid } else { Self::Softmax }
    }

    /// The scores of a voxel that was cropped off: background. The first class has probability 1; every region has
    /// probability 0.
    fn outside(self, scores: Scores, outputs: usize) -> Vec<f32> {
        let all = |first: f32, other: f32| (0..outputs).map(|k| if k == 0 { first } else { other }).collect::<Vec<_>>();
        let [probabilities, logits] = match self {
            Self::Softmax => [all(1.0, 0.0), all(SURE, -SURE)],
            Self::Sigmoid => [all(0.0, 0.0), all(-SURE, -SURE)],
        };
        match scores {
            Scores::Probabilities => probabilities,
            Scores::Logits => logits,
            Scores::Both => [probabilities, logits].concat(),
        }
    }

    fn probabilities<B: Backend>(self, logits: &Tensor<B>) -> Tensor<B> {
        match self {
            Self::Softmax => stable::softmax(logits),
            Self::Sigmoid => ops::map(&[logits], |p| stable::sigmoid(p.input(0))),
        }
    }
}

/// Magnitude of the logits where an image was cropped: their probabilities are 1 and 0 in 32 bits.
const SURE: f32 = 20.0;

/// The scores to compute for each voxel.
///
/// Where tiles overlap, probabilities are the weighted mean of the tiles' probabilities and logits that of their
/// logits, so there the softmax (or sigmoid) of the logits is close but not equal to the probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// The probabilities of the network's output (see [`Heads`]), `k` numbers.
    Probabilities,
    /// The network's output, `k` numbers.
    Logits,
    /// First the probabilities, then the logits: `2 k` numbers.
    Both,
}

/// A network with its parameters on a device.
pub struct Predictor<'a, B: Backend> {
    /// The network.
    pub network: &'a dyn Network<B>,
    /// What its outputs represent.
    pub heads: Heads,
    /// Its parameters.
    pub parameters: &'a Parameters<B>,
    /// The device.
    pub backend: &'a B,
    /// The mirrorings over which scores are averaged.
    mirrorings: Vec<Orientation>,
}

impl<'a, B: Backend> Predictor<'a, B> {
    /// A network whose outputs are these regions, or classes.
    pub fn new(
        network: &'a dyn Network<B>,
        parameters: &'a Parameters<B>,
        regions: Option<&Nested>,
        backend: &'a B,
    ) -> Self {
        Self { network, heads: Heads::of(regions), parameters, backend, mirrorings: vec![Orientation::default()] }
    }

    /// The same, with scores averaged over all mirrorings along these axes of the volume, `[d, h, w]`. Each tile is
    /// mirrored, and probabilities and logits are averaged separately.
    #[must_use]
    pub fn mirrored(self, axes: &[usize]) -> Self {
        Self { mirrorings: Orientation::mirrorings(axes), ..self }
    }

    /// Probabilities `[k, d, h, w]` of one prepared image.
    ///
    /// # Errors
    /// The device fails, or the network's output is not finite.
    pub fn probabilities(&self, image: &Volume<f32>, tiling: &Tiling<'_>) -> Result<Vec<f32>> {
        self.scores(image, tiling, Scores::Probabilities)
    }

    /// The requested scores of one prepared image, `[k, d, h, w]`; for [`Scores::Both`], the probabilities come first.
    ///
    /// # Errors
    /// As [`Predictor::probabilities`].
    pub fn scores(&self, image: &Volume<f32>, tiling: &Tiling<'_>, scores: Scores) -> Result<Vec<f32>> {
        let planes = tiling.planes(image.grid.extent);
        collected(planes, |each| self.each_plane(image, tiling, scores, each))
    }

    /// The same on the grid of the image's file.
    ///
    /// # Errors
    /// As [`Predictor::probabilities`].
    pub fn scores_of_file(&self, ready: &Ready, tiling: &Tiling<'_>, scores: Scores) -> Result<Vec<f32>> {
        let planes = tiling.planes(ready.frame.whole.extent);
        collected(planes, |each| self.each_plane_of_file(ready, tiling, scores, each))
    }

    /// As [`Predictor::each_plane`], on the grid of the image's file: interpolated linearly between the network's
    /// voxels, and background where the image was cropped.
    ///
    /// # Errors
    /// As [`Predictor::each_plane`].
    pub fn each_plane_of_file(
        &self,
        ready: &Ready,
        tiling: &Tiling<'_>,
        scores: Scores,
        mut each: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let (image, frame) = (&ready.image, &ready.frame);
        if frame.is_whole() {
            return self.each_plane(image, tiling, scores, each);
        }
        let outside = self.heads.outside(scores, self.network.config().classes);
        let mut back = Back::new(frame, tiling.planes(image.grid.extent).axis, outside);
        self.each_plane(image, tiling, scores, |number, plane| back.take(number, plane, &mut each))?;
        back.finish(&mut each)
    }

    /// The same plane by plane, in order: `each` receives the number and the scores `[k][place]` of each of
    /// [`Tiling::planes`].
    ///
    /// # Errors
    /// The device fails, the network's output is not finite, or `each` fails.
    pub fn each_plane(
        &self,
        image: &Volume<f32>,
        tiling: &Tiling<'_>,
        scores: Scores,
        mut each: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let planes = tiling.planes(image.grid.extent);
        let tiles = tiling.tiles(image.grid.extent);
        self.expect_fit(image, tiling, tiles.len())?;
        let window = tiling.weights(tiles.first().map_or([1; 3], |tile| tile.size));
        let mut mixture = Mixture::new(planes, &window);
        for group in tiles.chunks(tiling.batch) {
            let output = self.batch(image, group, scores)?;
            for (tile, output) in group.iter().zip(output.chunks_exact(output.len() / group.len())) {
                mixture.finish_before(tile.start[planes.axis], &mut each)?;
                mixture.add(tile, output);
            }
        }
        mixture.finish_before(isize::MAX, &mut each)
    }

    /// Refuses an image that the network does not accept, or for which one batch of tiles does not fit into memory.
    fn expect_fit(&self, image: &Volume<f32>, tiling: &Tiling<'_>, tiles: usize) -> Result<()> {
        expect_channels(image, self.network.config().in_channels)?;
        let shape = Shape::new(tiling.batch.min(tiles.max(1)), image.channels(), 1, 1, 1);
        let tile = shape.with_spatial(flat_last(tiling.tile_size(image.grid.extent)));
        // Input and output of the first layer are the least that is held at once.
        let features = self.parameters.iter().next().map_or(1, |weight| weight.dims[0]);
        expect_room(tile, (tile.len() / tile.c() * features) as u64)?;
        self.network.accepts(tile.with(0, 1))
    }

    /// Scores `[tile][k][voxel of the tile]`: the mean over the mirrorings.
    fn batch(&self, image: &Volume<f32>, tiles: &[Block], scores: Scores) -> Result<Vec<f32>> {
        let mut mean: Vec<f32> = Vec::new();
        for (number, mirroring) in self.mirrorings.iter().enumerate() {
            let mut own = self.mirrored_batch(image, tiles, scores, *mirroring)?;
            mirroring.apply(&mut own, tiles[0].size);
            if number == 0 {
                mean = own;
            } else {
                mean.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            }
        }
        if self.mirrorings.len() > 1 {
            let share = 1.0 / self.mirrorings.len() as f32;
            mean.iter_mut().for_each(|sum| *sum *= share);
        }
        Ok(mean)
    }

    /// The scores of mirrored tiles, in the mirrored orientation.
    fn mirrored_batch(
        &self,
        image: &Volume<f32>,
        tiles: &[Block],
        scores: Scores,
        mirroring: Orientation,
    ) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for tile in tiles {
            let start = values.len();
            cut_block(image, tile, |x| x, &mut values);
            mirroring.apply(&mut values[start..], tile.size);
        }
        let shape = Shape::new(tiles.len(), image.channels(), 1, 1, 1).with_spatial(flat_last(tiles[0].size));
        let input = Tensor::new(self.backend, shape, values.iter().map(|&x| B::Elem::of(f64::from(x))).collect());
        let logits = self.network.forward(self.parameters, &input, Mode::Evaluate);
        let values = |scores: &Tensor<B>| -> Result<Vec<f32>> {
            Ok(scores.to_vec()?.into_iter().map(|p| p.f64() as f32).collect())
        };
        let output = match scores {
            Scores::Probabilities => values(&self.heads.probabilities(&logits))?,
            Scores::Logits => values(&logits)?,
            Scores::Both => {
                let [probabilities, logits] = [values(&self.heads.probabilities(&logits))?, values(&logits)?];
                let tile = logits.len() / tiles.len();
                let pairs = probabilities.chunks_exact(tile).zip(logits.chunks_exact(tile));
                pairs.flat_map(|(probabilities, logits)| [probabilities, logits]).flatten().copied().collect()
            }
        };
        if output.iter().all(|p| p.is_finite()) { Ok(output) } else { Err(self.not_finite(&input)) }
    }

    /// Reports that the network's output for this input is not finite, and the first layer whose output is not.
    fn not_finite(&self, input: &Tensor<B>) -> Error {
        let watched = self.parameters.watched();
        self.network.forward(&watched, input, Mode::Evaluate);
        let first = watched.passed_layers().into_iter().find(|(_, finite)| !finite);
        let place = first.map(|(layer, _)| format!(", first in the output of {layer}")).unwrap_or_default();
        Error::new(format!("the network's output is not finite{place}"))
            .help("the training diverged: train with a lower learning rate or with clip_norm")
    }
}

/// Collects consecutive planes into one array `[k, d, h, w]`.
fn collected(
    planes: Planes,
    all: impl FnOnce(&mut dyn FnMut(usize, &[f32]) -> Result<()>) -> Result<()>,
) -> Result<Vec<f32>> {
    let volume = planes.extent.iter().product::<usize>();
    let mut values = Vec::new();
    all(&mut |number, plane| {
        values.resize(plane.len() / planes.voxels() * volume, 0.0);
        for (class, plane) in plane.chunks_exact(planes.voxels()).enumerate() {
            let class = &mut values[class * volume..][..volume];
            plane.iter().enumerate().for_each(|(place, &p)| class[planes.voxel(number, place)] = p);
        }
        Ok(())
    })?;
    Ok(values)
}
