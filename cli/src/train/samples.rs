//! What a network is shown: blocks cut from prepared volumes, in a repeatable order, a few batches ahead.
//!
//! A slice is a block whose extent is 1 along one axis; dropping that axis gives the `[1, h, w]` of a 2-D network. So
//! slices of any axis, 2-D images and 3-D patches are one mechanism.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use segcal_core::{Backend, Context, Elem, Error, Result, Rng, Shape, Tensor};

use super::chain::Hash;
use super::settings::{Input, SampleKind, Samples};
use crate::data::{self, Case, Grid, Volume};

/// A volume ready for the network, with its label.
pub struct Prepared {
    /// Name of the case.
    pub name: String,
    /// Normalised image, `[channels, d, h, w]`.
    pub image: Volume<f32>,
    /// Classes, one channel; 0 everywhere if the case has no label.
    pub label: Volume<i32>,
}

/// Reads and normalises one image: its channels, checked to lie on one grid.
///
/// # Errors
/// A file is malformed, holds NaN or infinity, or the channels lie on different grids.
pub fn prepare_image(paths: &[PathBuf], input: &Input) -> Result<Volume<f32>> {
    let mut values = Vec::new();
    let mut first: Option<(Grid, &PathBuf)> = None;
    let mut channels = 0;
    for path in paths {
        let volume = data::read_image(path)?;
        if let Some(bad) = volume.values().iter().find(|x| !x.is_finite()) {
            return Err(Error::new(format!("holds the value {bad}"))
                .at(path.display())
                .help("replace NaN and infinity in the image before training or predicting"));
        }
        match &first {
            None => first = Some((volume.grid.clone(), path)),
            Some((grid, other)) => grid.expect_same("the first channel", &volume.grid, "this one").at(format!(
                "{} and {}",
                other.display(),
                path.display()
            ))?,
        }
        let voxels = volume.grid.extent.iter().product();
        channels += volume.channels();
        let mut data = volume.data.into_raw_vec_and_offset().0;
        data.chunks_mut(voxels).for_each(|channel| normalise(channel, input.clip_percentiles));
        values.append(&mut data);
    }
    let Some((grid, _)) = first else { return Err(Error::new("the case has no image")) };
    Ok(Volume::new(values, channels, grid))
}

/// Shifts and scales to `[0, 1]` between two percentiles; values beyond are clipped. A constant image becomes 0.
fn normalise(values: &mut [f32], [low, high]: [f64; 2]) {
    let (low, high) = percentiles(values, low, high);
    let (range, scale) = if high > low { (high - low, 1.0 / (high - low)) } else { (0.0, 0.0) };
    if range.is_finite() && scale.is_finite() {
        values.iter_mut().for_each(|value| *value = ((*value - low) * scale).clamp(0.0, 1.0));
    } else {
        // At the ends of f32 the range or its inverse overflows, and infinity times 0 is no number.
        let (low, range) = (f64::from(low), f64::from(high) - f64::from(low));
        values.iter_mut().for_each(|value| *value = ((f64::from(*value) - low) / range).clamp(0.0, 1.0) as f32);
    }
}

/// The values at two percentiles, interpolated between ranks as NumPy does; 0 and 100 are minimum and maximum.
fn percentiles(values: &[f32], low: f64, high: f64) -> (f32, f32) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mut sorted = values.to_vec();
    let mut at = |percent: f64| {
        let rank = percent / 100.0 * (values.len() - 1) as f64;
        let (_, &mut lower, above) = sorted.select_nth_unstable_by(rank as usize, f32::total_cmp);
        let upper = above.iter().copied().fold(f32::INFINITY, f32::min);
        match rank.fract() {
            0.0 => lower,
            share if (upper - lower).is_finite() => lower + (upper - lower) * share as f32,
            share => (f64::from(lower) + (f64::from(upper) - f64::from(lower)) * share) as f32,
        }
    };
    (at(low), at(high))
}

/// Reads a labelled case.
///
/// # Errors
/// Those of [`prepare_image`]; there is no label, it lies on another grid, or it holds neither a class of `classes` nor
/// the label to ignore.
pub fn prepare(case: &Case, input: &Input, classes: &Classes) -> Result<Prepared> {
    let image = prepare_image(&case.images, input).at(&case.name)?;
    let path = case.label.as_ref().ok_or_else(|| Error::new("has no label").at(&case.name))?;
    let label = data::read_labels(path)?;
    image.grid.expect_same("the image", &label.grid, "the label").at(path.display()).at(&case.name)?;
    if let Some(bad) = label.values().iter().find(|&&label| !classes.holds(label)) {
        let count = classes.count;
        return Err(Error::new(format!("holds the label {bad}, but there are {count} classes, 0 to {}", count - 1))
            .at(path.display())
            .help("mend the label, or the list of labels in dataset.json"));
    }
    Ok(Prepared { name: case.name.clone(), image, label })
}

/// What labels of a data set may be.
#[derive(Clone, Copy, Debug)]
pub struct Classes {
    /// Number of classes, the background included.
    pub count: usize,
    /// The label of voxels that count nowhere.
    pub ignored: Option<i32>,
}

impl Classes {
    fn holds(&self, label: i32) -> bool {
        Some(label) == self.ignored || usize::try_from(label).is_ok_and(|class| class < self.count)
    }

    /// Whether a label is of a structure.
    fn is_foreground(&self, label: i32) -> bool {
        label != 0 && Some(label) != self.ignored
    }
}

/// Prepared volumes, read on first use and kept while they fit.
pub struct Cache {
    cases: Vec<Case>,
    input: Input,
    /// What their labels may be.
    pub classes: Classes,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    volumes: HashMap<usize, Arc<Prepared>>,
    bytes: usize,
}

impl Cache {
    /// A cache over these cases.
    pub fn new(cases: Vec<Case>, input: Input, classes: Classes) -> Self {
        Self { cases, input, classes, kept: Mutex::default() }
    }

    /// Number of cases.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is no case.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// The prepared volume of a case.
    ///
    /// # Errors
    /// Those of [`prepare`].
    pub fn get(&self, case: usize) -> Result<Arc<Prepared>> {
        if let Some(volume) = self.kept.lock().expect("no panic while it is held").volumes.get(&case) {
            return Ok(volume.clone());
        }
        let volume = Arc::new(prepare(&self.cases[case], &self.input, &self.classes)?);
        let bytes = volume.image.values().len() * 4 + volume.label.values().len() * 4;
        let mut kept = self.kept.lock().expect("no panic while it is held");
        // Once full, later cases are read anew each time: no eviction, so no thrashing when all are visited in turn.
        if kept.bytes + bytes <= (self.input.cache_gib * f64::from(1 << 30)) as usize {
            kept.bytes += bytes;
            kept.volumes.insert(case, volume.clone());
        }
        Ok(volume)
    }
}

/// A block of a case: `size` voxels from `start`, which may lie outside, where image and label are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number of the case.
    pub case: usize,
    /// First voxel along `[d, h, w]`.
    pub start: [isize; 3],
    /// Extent along `[d, h, w]`.
    pub size: [usize; 3],
}

/// All slices of all cases, in order; each padded or cropped to the configured size about its centre.
fn all_slices(cache: &Cache, samples: &Samples) -> Result<Vec<Block>> {
    let along = samples.axis.index();
    let mut blocks = Vec::new();
    for case in 0..cache.len() {
        let extent = cache.get(case)?.image.grid.extent;
        let size = samples.block_size();
        let centred: [isize; 3] =
            std::array::from_fn(|axis| (extent[axis] as isize - size[axis] as isize).div_euclid(2));
        for slice in 0..extent[along] {
            let mut start = centred;
            start[along] = slice as isize;
            blocks.push(Block { case, start, size });
        }
    }
    Ok(blocks)
}

/// Random patches of all cases, a share of them centred on a foreground voxel.
fn random_patches(cache: &Cache, samples: &Samples, rng: Rng) -> Result<Vec<Block>> {
    let size = samples.block_size();
    let mut blocks = Vec::new();
    for case in 0..cache.len() {
        let prepared = cache.get(case)?;
        let extent = prepared.image.grid.extent;
        let labels = prepared.label.values();
        let foreground: Vec<usize> =
            (0..labels.len()).filter(|&voxel| cache.classes.is_foreground(labels[voxel])).collect();
        for number in 0..samples.per_volume {
            let rng = rng.stream(case as u64).stream(number as u64);
            let on_foreground = !foreground.is_empty() && rng.uniform(0) < samples.foreground_share;
            let start = if on_foreground {
                let voxel = foreground[rng.below(1, foreground.len())];
                let at = [voxel / (extent[1] * extent[2]), voxel / extent[2] % extent[1], voxel % extent[2]];
                std::array::from_fn(|axis| {
                    clamp_start(at[axis] as isize - size[axis] as isize / 2, extent[axis], size[axis])
                })
            } else {
                std::array::from_fn(|axis| {
                    let room = extent[axis].saturating_sub(size[axis]);
                    clamp_start(rng.below(2 + axis as u64, room + 1) as isize, extent[axis], size[axis])
                })
            };
            blocks.push(Block { case, start, size });
        }
    }
    Ok(blocks)
}

/// Keeps a block inside the volume; centred where the volume is smaller.
fn clamp_start(start: isize, extent: usize, size: usize) -> isize {
    if size >= extent {
        (extent as isize - size as isize).div_euclid(2)
    } else {
        start.clamp(0, (extent - size) as isize)
    }
}

/// The blocks of one epoch in their random order.
///
/// # Errors
/// A case cannot be read.
pub fn epoch_blocks(cache: &Cache, samples: &Samples, rng: Rng) -> Result<Vec<Block>> {
    let blocks = match samples.kind {
        SampleKind::Slices => all_slices(cache, samples)?,
        SampleKind::Patches => random_patches(cache, samples, rng.stream(1))?,
    };
    Ok(rng.stream(0).permutation(blocks.len()).into_iter().map(|number| blocks[number]).collect())
}

/// Images and labels of one step, on the host.
pub struct HostBatch {
    images: Vec<f32>,
    labels: Vec<f32>,
    shape: Shape,
    cases: Vec<String>,
}

impl HostBatch {
    /// Cuts the blocks out of their volumes.
    ///
    /// # Errors
    /// A case cannot be read.
    pub fn cut(cache: &Cache, blocks: &[Block]) -> Result<Self> {
        let (mut images, mut labels, mut channels) = (Vec::new(), Vec::new(), 0);
        let mut cases = Vec::with_capacity(blocks.len());
        for block in blocks {
            let prepared = cache.get(block.case)?;
            channels = prepared.image.channels();
            cut_block(&prepared.image, block, |x| x, &mut images);
            cut_block(&prepared.label, block, |class| class as f32, &mut labels);
            cases.push(prepared.name.clone());
        }
        let spatial = flat_last(blocks.first().map_or([0; 3], |block| block.size));
        let shape = Shape::new(blocks.len(), channels, 1, 1, 1).with_spatial(spatial);
        if images.len() != shape.len() {
            return Err(Error::new("the cases of one batch differ in their number of channels").at(cases.join(", ")));
        }
        Ok(Self { images, labels, shape, cases })
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.shape.n()
    }

    /// Adds cases, images and labels to a hash.
    pub fn add_to(&self, hash: &mut Hash) {
        self.cases.iter().for_each(|case| hash.text(case));
        hash.extents(&self.shape.dims());
        hash.numbers(&self.images);
        hash.numbers(&self.labels);
    }

    /// Names of the cases, for messages.
    pub fn cases(&self) -> &[String] {
        &self.cases
    }

    /// Moves image and labels to a backend.
    pub fn upload<B: Backend>(&self, backend: &B) -> (Tensor<B>, Tensor<B>) {
        let convert = |values: &[f32]| values.iter().map(|&x| B::Elem::of(f64::from(x))).collect();
        let labels = Tensor::new(backend, self.shape.with(1, 1), convert(&self.labels));
        (Tensor::new(backend, self.shape, convert(&self.images)), labels)
    }
}

/// Appends the block's numbers, channel by channel; 0 outside the volume.
pub fn cut_block<T: Copy>(volume: &Volume<T>, block: &Block, convert: impl Fn(T) -> f32, out: &mut Vec<f32>) {
    let extent = volume.grid.extent;
    let inside = |axis: usize, offset: usize| {
        let at = block.start[axis] + offset as isize;
        (at >= 0 && (at as usize) < extent[axis]).then_some(at as usize)
    };
    // The run of columns that lies inside is the same for every row.
    let before = (-block.start[2]).clamp(0, block.size[2] as isize) as usize;
    let first = (block.start[2].max(0) as usize).min(extent[2]);
    let run = (extent[2] - first).min(block.size[2] - before);
    for channel in 0..volume.channels() {
        let plane = &volume.values()[channel * extent.iter().product::<usize>()..];
        for d in 0..block.size[0] {
            for h in 0..block.size[1] {
                let filled = out.len();
                out.resize(filled + block.size[2], 0.0);
                let (Some(z), Some(y)) = (inside(0, d), inside(1, h)) else { continue };
                let row = (z * extent[1] + y) * extent[2] + first;
                let target = &mut out[filled + before..filled + before + run];
                target.iter_mut().zip(&plane[row..row + run]).for_each(|(to, &from)| *to = convert(from));
            }
        }
    }
}

/// The extents with one axis of extent 1 moved to the front: a slice of any axis as `[1, h, w]`.
pub fn flat_last(size: [usize; 3]) -> [usize; 3] {
    match size {
        [a, 1, b] | [a, b, 1] => [1, a, b],
        other => other,
    }
}

/// Cuts batches on a thread of its own, two ahead of their use, and hands them to `consume` one after the other.
///
/// # Errors
/// A case cannot be read, or `consume` fails; either ends both.
pub fn prefetched(
    cache: &Cache,
    blocks: &[Block],
    batch: usize,
    mut consume: impl FnMut(usize, HostBatch) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, batches) = sync_channel(2);
        scope.spawn(move || {
            for chunk in blocks.chunks(batch) {
                let cut = HostBatch::cut(cache, chunk);
                let failed = cut.is_err();
                // The consumer stops listening when it fails; then there is nothing left to do here.
                if sender.send(cut).is_err() || failed {
                    return;
                }
            }
        });
        consume_all(batches, &mut consume)
    })
}

fn consume_all(
    batches: Receiver<Result<HostBatch>>,
    consume: &mut impl FnMut(usize, HostBatch) -> Result<()>,
) -> Result<()> {
    batches.into_iter().enumerate().try_for_each(|(number, batch)| consume(number, batch?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> Volume<f32> {
        Volume::new((0..24).map(|x| x as f32 + 1.0).collect(), 1, Grid::unknown([2, 3, 4]))
    }

    fn cut(start: [isize; 3], size: [usize; 3]) -> Vec<f32> {
        let mut out = Vec::new();
        cut_block(&volume(), &Block { case: 0, start, size }, |x| x, &mut out);
        out
    }

    #[test]
    fn a_block_inside_is_copied_and_outside_is_zero() {
        assert_eq!(cut([1, 1, 1], [1, 2, 2]), [18.0, 19.0, 22.0, 23.0]);
        assert_eq!(cut([0, -1, -1], [1, 2, 3]), [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!(cut([0, 2, 2], [1, 2, 4]), [11.0, 12.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(cut([5, 0, 9], [1, 1, 2]), [0.0, 0.0]);
        assert_eq!(cut([0, 0, -5], [1, 1, 2]), [0.0, 0.0]);
    }

    #[test]
    fn a_slice_of_any_axis_is_flat() {
        assert_eq!(flat_last([1, 5, 6]), [1, 5, 6]);
        assert_eq!(flat_last([5, 1, 6]), [1, 5, 6]);
        assert_eq!(flat_last([5, 6, 1]), [1, 5, 6]);
        assert_eq!(flat_last([4, 5, 6]), [4, 5, 6]);
    }

    #[test]
    fn normalising_maps_the_percentiles_to_zero_and_one() {
        let mut values: Vec<f32> = (0..=100).map(|x| x as f32).collect();
        normalise(&mut values, [10.0, 90.0]);
        assert_eq!((values[0], values[10], values[50], values[90], values[100]), (0.0, 0.0, 0.5, 1.0, 1.0));
        assert_eq!(percentiles(&[4.0, 1.0, 2.0], 25.0, 100.0), (1.5, 4.0));
        let mut flat = vec![3.0; 4];
        normalise(&mut flat, [0.0, 100.0]);
        assert_eq!(flat, [0.0; 4]);
    }

    #[test]
    fn normalising_the_largest_and_smallest_numbers_gives_numbers() {
        let mut large = vec![-3e38_f32, 0.0, 3e38];
        normalise(&mut large, [0.0, 100.0]);
        assert_eq!(large, [0.0, 0.5, 1.0]);
        let mut small = vec![0.0_f32, 1e-45, 2.8e-45];
        normalise(&mut small, [0.0, 100.0]);
        assert_eq!(small, [0.0, 0.5, 1.0]);
        let mut between = vec![-3e38_f32, 3e38];
        normalise(&mut between, [25.0, 75.0]);
        assert_eq!(between, [0.0, 1.0]);
    }

    #[test]
    fn a_patch_stays_inside_or_is_centred() {
        assert_eq!(clamp_start(-3, 10, 4), 0);
        assert_eq!(clamp_start(9, 10, 4), 6);
        assert_eq!(clamp_start(5, 3, 8), -3);
    }
}
