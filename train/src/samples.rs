//! Samples for the network: blocks cut from prepared volumes, in a reproducible order, a few batches ahead.
//!
//! A slice is a block whose extent is 1 along one axis; dropping that axis gives the `[1, h, w]` of a 2-D network. So
//! slices of any axis, 2-D images and 3-D patches share one mechanism.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Builder;

use rayon::prelude::*;
use segcal_core::{Backend, Context, Elem, Error, Result, Rng, Shape, Tensor, memory};

use super::augment::{self, Orientation};
use super::block::{Block, cut_block, flat_last};
use super::prepared::Classes;
use super::settings::{Augment, Operators, SampleKind, Samples};
use super::source::Source;
use segcal_data::hash::Hash;
use segcal_data::{Volume, limits};

/// All slices of all cases, in order; each padded or cropped to the configured size about its centre. With
/// `skip_empty`, only those that show a structure.
fn all_slices(cases: &dyn Source, samples: &Samples) -> Result<Vec<Block>> {
    let along = samples.axis.index();
    let mut blocks = Vec::new();
    for case in 0..cases.len() {
        let prepared = cases.get(case)?;
        let extent = prepared.image.grid.extent;
        let size = samples.block_size();
        let centred: [isize; 3] =
            std::array::from_fn(|axis| (extent[axis] as isize - size[axis] as isize).div_euclid(2));
        for slice in 0..extent[along] {
            let mut start = centred;
            start[along] = slice as isize;
            let block = Block::plain(case, start, size);
            if !samples.skip_empty || shows_a_structure(&prepared.label, &block, cases.classes()) {
                blocks.push(block);
            }
        }
    }
    if blocks.is_empty() && samples.skip_empty {
        return Err(Error::new("no slice shows a structure").at("samples.skip_empty"));
    }
    Ok(blocks)
}

fn shows_a_structure(label: &Volume<i32>, block: &Block, classes: Classes) -> bool {
    let mut labels = Vec::new();
    cut_block(label, block, |class| f32::from(u8::from(classes.is_foreground(class))), &mut labels);
    labels.contains(&1.0)
}

/// Random patches of all cases, a fraction of them centred on a foreground voxel.
fn random_patches(cases: &dyn Source, samples: &Samples, rng: Rng) -> Result<Vec<Block>> {
    let size = samples.block_size();
    let mut blocks = Vec::new();
    for case in 0..cases.len() {
        let prepared = cases.get(case)?;
        let extent = prepared.image.grid.extent;
        let labels = prepared.label.values();
        let mut structures: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for voxel in (0..labels.len()).filter(|&voxel| cases.classes().is_foreground(labels[voxel])) {
            structures.entry(if samples.by_class { labels[voxel] } else { 1 }).or_default().push(voxel);
        }
        let structures: Vec<Vec<usize>> = structures.into_values().collect();
        for number in 0..samples.per_volume {
            let rng = rng.stream(case as u64).stream(number as u64);
            let on_foreground = !structures.is_empty() && rng.uniform(0) < samples.foreground_share;
            let start = if on_foreground {
                let structure = &structures[rng.below(5, structures.len())];
                let voxel = structure[rng.below(1, structure.len())];
                let at = [voxel / (extent[1] * extent[2]), voxel / extent[2] % extent[1], voxel % extent[2]];
                // Not moved into the volume: the voxel would not be in the centre.
                std::array::from_fn(|axis| at[axis] as isize - size[axis] as isize / 2)
            } else {
                std::array::from_fn(|axis| {
                    let room = extent[axis].saturating_sub(size[axis]);
                    clamp_start(rng.below(2 + axis as u64, room + 1) as isize, extent[axis], size[axis])
                })
            };
            blocks.push(Block::plain(case, start, size));
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

/// The blocks of one epoch in random order.
///
/// # Errors
/// A case cannot be read.
pub fn epoch_blocks(cases: &dyn Source, samples: &Samples, rng: Rng) -> Result<Vec<Block>> {
    let blocks = match samples.kind {
        SampleKind::Slices => all_slices(cases, samples)?,
        SampleKind::Patches => random_patches(cases, samples, rng.stream(1))?,
    };
    Ok(rng.stream(0).permutation(blocks.len()).into_iter().map(|number| blocks[number]).collect())
}

/// Gives each block of an epoch a random orientation, and its own random numbers for the operators of `augment`.
pub fn vary(blocks: &mut [Block], augment: &Augment, [orientations, changes]: [Rng; 2]) {
    for (block, number) in blocks.iter_mut().zip(0..) {
        block.orientation = Orientation::draw(augment, orientations.stream(number));
        block.changes = augment.operators.is_some().then(|| changes.stream(number));
    }
}

/// The shape of the images of one step.
pub fn batch_shape(samples: &Samples, batch: usize, channels: usize) -> Shape {
    Shape::new(batch, channels, 1, 1, 1).with_spatial(flat_last(samples.block_size()))
}

/// Refuses samples if one step does not fit into memory: image, label, and the `numbers` of the network are the least
/// that it holds at once.
///
/// # Errors
/// The machine reports less free memory.
pub fn expect_room(samples: Shape, numbers: u64) -> Result<()> {
    // Programs on the device count numbers in 32 bits.
    if limits::count(&samples.dims()).at("samples.size")? > 1 << 31 {
        let problem = format!("{:?} are more than {} values", samples.dims(), 1_u64 << 31);
        return Err(Error::new(problem).help("lower batch or samples.size")).at("samples.size");
    }
    let numbers = numbers.saturating_add(2 * samples.len() as u64);
    memory::expect(numbers.saturating_mul(4), "one step at least")
        .map_err(|error| error.help("lower batch, samples.size or the widths of the network"))
        .at("samples.size")
}

/// Refuses a number of patches per volume if the list for an epoch does not fit into memory.
///
/// # Errors
/// Less memory is free.
pub fn expect_room_for_blocks(cases: usize, samples: &Samples) -> Result<()> {
    if samples.kind == SampleKind::Slices {
        return Ok(());
    }
    let blocks = (cases as u64).saturating_mul(samples.per_volume as u64);
    // In order, in random order, and the random order itself.
    let each = 2 * size_of::<Block>() as u64 + size_of::<usize>() as u64;
    memory::expect(blocks.saturating_mul(each), "the list of an epoch's patches")
        .map_err(|error| error.help("lower samples.per_volume"))
        .at("samples.per_volume")
}

/// A block that has been cut out of its case.
struct Cut {
    image: Vec<f32>,
    label: Vec<f32>,
    channels: usize,
    case: String,
}

impl Cut {
    fn of(cases: &dyn Source, block: &Block, operators: Option<&Operators>) -> Result<Self> {
        let prepared = cases.get(block.case)?;
        let (mut image, mut label) = match operators.zip(block.changes) {
            Some((operators, rng)) => augment::changed(&prepared, block, operators, rng),
            None => block.cut(&prepared),
        };
        block.orientation.apply(&mut image, block.size);
        block.orientation.apply(&mut label, block.size);
        Ok(Self { image, label, channels: prepared.image.channels(), case: prepared.name.clone() })
    }
}

/// Images and labels of one step, on the host.
pub struct HostBatch {
    images: Vec<f32>,
    labels: Vec<f32>,
    shape: Shape,
    cases: Vec<String>,
}

impl HostBatch {
    /// Cuts the blocks out of their volumes in parallel; those that have random numbers are changed by the operators.
    ///
    /// # Errors
    /// A case cannot be read.
    pub fn cut(cases: &dyn Source, blocks: &[Block], operators: Option<&Operators>) -> Result<Self> {
        let cut: Vec<Result<Cut>> = blocks.par_iter().map(|block| Cut::of(cases, block, operators)).collect();
        let (mut images, mut labels, mut channels) = (Vec::new(), Vec::new(), 0);
        let mut names = Vec::with_capacity(blocks.len());
        for cut in cut {
            let mut cut = cut?;
            channels = cut.channels;
            images.append(&mut cut.image);
            labels.append(&mut cut.label);
            names.push(cut.case);
        }
        let spatial = flat_last(blocks.first().map_or([0; 3], |block| block.size));
        let shape = Shape::new(blocks.len(), channels, 1, 1, 1).with_spatial(spatial);
        if images.len() != shape.len() {
            return Err(Error::new("the cases of one batch differ in their number of channels").at(names.join(", ")));
        }
        Ok(Self { images, labels, shape, cases: names })
    }

    /// The shape of the images; the labels have one channel.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Images, `[n, c, d, h, w]`.
    pub fn images(&self) -> &[f32] {
        &self.images
    }

    /// Labels, `[n, 1, d, h, w]`.
    pub fn labels(&self) -> &[f32] {
        &self.labels
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

/// Cuts batches in the background, two ahead of their use, and passes them to `consume` one after the other.
///
/// # Errors
/// A case cannot be read or `consume` fails (either stops both sides); or the system cannot start a thread.
pub fn prefetched(
    cases: &dyn Source,
    blocks: &[Block],
    (batch, augment): (usize, &Augment),
    mut consume: impl FnMut(usize, HostBatch) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, batches) = sync_channel(2);
        let cutting = move || {
            for chunk in blocks.chunks(batch) {
                let cut = HostBatch::cut(cases, chunk, augment.operators.as_ref());
                let failed = cut.is_err();
                // The consumer stops listening when it fails; then there is nothing left to do here.
                if sender.send(cut).is_err() || failed {
                    return;
                }
            }
        };
        // Lack of memory, or of thread ids: the system does not say which.
        Builder::new()
            .spawn_scoped(scope, cutting)
            .map_err(|error| memory::shortage(format!("cannot start a thread for the batches: {error}")))?;
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
    use segcal_data::Grid;

    #[test]
    fn a_step_that_cannot_fit_is_refused_before_it_begins() {
        let samples = |height: usize| Shape::new(1, 1, 1, height, 46_340);
        assert!(expect_room(samples(16), 32).is_ok());
        let message = expect_room(samples(1 << 20), 32).unwrap_err().to_string();
        assert!(message.starts_with("samples.size: ") && message.contains("values"), "{message}");
        #[cfg(target_os = "linux")]
        {
            let message = expect_room(samples(46_340), 1 << 52).unwrap_err().to_string();
            assert!(message.contains("GiB") && message.contains("lower batch"), "{message}");
        }
    }

    fn one_case(label: &[(usize, i32)]) -> crate::source::Memory {
        let grid = Grid::unknown([3, 4, 5]);
        let mut labels = vec![0; 60];
        label.iter().for_each(|&(voxel, class)| labels[voxel] = class);
        let image = Volume::new(vec![0.5; 60], 1, grid.clone());
        let prepared = crate::prepared::Prepared { name: "a".into(), image, label: Volume::new(labels, 1, grid) };
        crate::source::Memory::new(vec![prepared], Classes { count: 2, ignored: Some(7) }).unwrap()
    }

    fn samples(keys: &[&str]) -> Samples {
        crate::settings::Settings::with(keys).unwrap().samples
    }

    #[test]
    fn slices_without_a_structure_are_left_out_where_that_is_asked_for() {
        // Slice 0 shows nothing, slice 1 what nobody judged, slice 2 a structure.
        let cases = one_case(&[(25, 7), (47, 1)]);
        let starts = |keys: &[&str]| -> Vec<isize> {
            all_slices(&cases, &samples(keys)).unwrap().iter().map(|block| block.start[0]).collect()
        };
        assert_eq!(starts(&["samples.size=[4,8]"]), [0, 1, 2]);
        assert_eq!(starts(&["samples.size=[4,8]", "samples.skip_empty=true"]), [2]);
        let empty = all_slices(&one_case(&[]), &samples(&["samples.skip_empty=true"])).unwrap_err();
        assert!(empty.to_string().contains("no slice shows a structure"));
    }

    #[test]
    fn a_patch_on_a_structure_has_it_in_its_middle_at_the_border_too() {
        for corner in [0, 59, 23] {
            let keys = ["samples.kind=patches", "samples.size=[2,4,4]", "samples.foreground_share=1.0"];
            for block in random_patches(&one_case(&[(corner, 1)]), &samples(&keys), Rng::new(3)).unwrap() {
                let at = [corner / 20, corner / 5 % 4, corner % 5];
                let middle: [isize; 3] = std::array::from_fn(|axis| block.start[axis] + block.size[axis] as isize / 2);
                assert_eq!(middle, at.map(|x| x as isize));
            }
        }
    }

    #[test]
    fn by_class_each_structure_is_as_often_in_the_middle_however_small() {
        // Three voxels of the class 1, nine of the class 2.
        let label: Vec<(usize, i32)> = (0..12).map(|voxel| (5 * voxel, if voxel < 3 { 1 } else { 2 })).collect();
        let grid = Grid::unknown([3, 4, 5]);
        let mut labels = vec![0; 60];
        label.iter().for_each(|&(voxel, class)| labels[voxel] = class);
        let image = Volume::new(vec![0.5; 60], 1, grid.clone());
        let prepared = crate::prepared::Prepared { name: "a".into(), image, label: Volume::new(labels, 1, grid) };
        let cases = crate::source::Memory::new(vec![prepared], Classes { count: 3, ignored: None }).unwrap();
        let small = |by_class: &str| {
            let size = ["samples.kind=patches", "samples.size=[1,1,1]", "samples.per_volume=2000"];
            let keys = [&size[..], &["samples.foreground_share=1.0", by_class]].concat();
            let blocks = random_patches(&cases, &samples(&keys), Rng::new(3)).unwrap();
            blocks.iter().filter(|block| (block.start[0] * 4 + block.start[1]) < 3).count()
        };
        // 1000 and 500 of 2000 expected, standard deviations 22 and 19.
        assert!((890..=1110).contains(&small("samples.by_class=true")));
        assert!((405..=595).contains(&small("samples.by_class=false")));
    }

    #[test]
    fn a_patch_stays_inside_or_is_centred() {
        assert_eq!(clamp_start(-3, 10, 4), 0);
        assert_eq!(clamp_start(9, 10, 4), 6);
        assert_eq!(clamp_start(5, 3, 8), -3);
    }
}
