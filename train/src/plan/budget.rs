//! How large patch and network may be: steps of the actual training are measured on the backend, from small to large.

use std::sync::Arc;

use segcal_core::{Backend, Error, Result, Rng, memory};
use segcal_data::observer::{self, Observer, Silent, Steps};
use segcal_data::{Grid, Volume};
use toml::Value;

use super::fingerprint::Fingerprint;
use super::rules::Frame;
use super::text::{Decision, settings};
use super::topology::Topology;
use crate::objective::target;
use crate::prepared::{Classes, Prepared};
use crate::run;
use crate::source::Memory;
use crate::trainer::{Data, Trainer};

/// Minimum number of steps that a training must have in its time.
const STEPS: f64 = 1000.0;
/// Number of steps above which momentum has the time that it needs.
const MANY_STEPS: f64 = 25_000.0;
/// Widths of the first stage, the smallest first.
const WIDTHS: [usize; 3] = [8, 16, 32];
/// Smallest extent of a patch along an axis, in three and in two dimensions.
const SMALLEST: [usize; 2] = [32, 64];
/// A doubled batch is accepted if a step takes less than this factor of the time.
const WORTH: f64 = 1.5;
/// Maximum number of epochs, as in nnU-Net.
const MOST_EPOCHS: f64 = 1000.0;
/// Number of measured steps, after one that is not measured.
const MEASURED: usize = 3;
/// Patches of the same shape shrink by this factor along each axis.
const SHRINK: f64 = 0.85;
/// Measured sizes differ by at least this factor.
const GROWTH: f64 = 1.4;

/// A network on patches of an extent.
#[derive(Clone)]
struct Candidate {
    topology: Topology,
    width: usize,
    batch: usize,
}

/// What candidates share.
struct Fit<'a, B: Backend> {
    backend: &'a B,
    seen: &'a Fingerprint,
    frame: &'a Frame,
    minutes: f64,
}

/// Chooses the patch, the network, the batch and the epochs, and returns all decisions.
pub(super) fn fit<B: Backend>(
    backend: &B,
    seen: &Fingerprint,
    frame: &Frame,
    minutes: f64,
    observer: &dyn Observer,
) -> Result<Vec<Decision>> {
    let fit = Fit { backend, seen, frame, minutes };
    let allowed = minutes * 60.0 / STEPS;
    let ladder = fit.ladder();
    let bar = Steps::begin(observer, "measuring steps", ladder.len());
    let (mut best, mut seconds) = (None, 0.0);
    let mut last: Option<(f64, f64)> = None;
    for candidate in ladder {
        observer::check(observer)?;
        bar.step(format_args!("patch {:?}, width {}", candidate.topology.patch, candidate.width));
        // Time grows at least in proportion to the work; candidates that cannot fit are skipped.
        let work = candidate.work();
        if last.is_some_and(|(before, time)| time * work / before > 2.0 * allowed) {
            break;
        }
        let measured = match fit.seconds(&candidate) {
            Err(error) if best.is_some() && memory::is_shortage(&error) => break,
            measured => measured?,
        };
        if best.is_some() && measured > allowed {
            break;
        }
        last = Some((work, measured));
        (best, seconds) = (Some(candidate), measured);
    }
    let candidate = best.ok_or_else(|| Error::new("no network fits these images"))?;
    let (candidate, seconds) = fit.larger_batch(candidate, seconds)?;
    Ok(fit.decisions(&candidate, seconds))
}

impl Candidate {
    /// Relative work of a step.
    fn work(&self) -> f64 {
        (self.topology.patch.iter().product::<usize>() * self.width * self.width * self.batch) as f64
    }
}

impl<B: Backend> Fit<'_, B> {
    /// Patches from the smallest to the largest with the narrowest network, then the largest with wider ones.
    fn ladder(&self) -> Vec<Candidate> {
        let (spacing, largest) = (self.frame.seen_spacing(), self.frame.largest_patch());
        let (smallest, batch) = if largest.len() == 3 { (SMALLEST[0], 2) } else { (SMALLEST[1], 8) };
        let scaled = |share: f64| -> Vec<usize> {
            largest.iter().map(|&voxels| ((voxels as f64 * share) as usize).max(smallest.min(voxels))).collect()
        };
        let mut ladder: Vec<Candidate> = Vec::new();
        let mut share = 1.0;
        loop {
            let topology = Topology::of(&spacing, &scaled(share));
            let candidate = Candidate { topology, width: WIDTHS[0], batch };
            if ladder.last().is_none_or(|last| last.work() >= GROWTH * candidate.work()) {
                ladder.push(candidate);
            }
            if scaled(share) == scaled(share * SHRINK) {
                break;
            }
            share *= SHRINK;
        }
        ladder.reverse();
        let widest = ladder.last().cloned();
        let wider = |one: Candidate| WIDTHS[1..].iter().map(move |&width| Candidate { width, ..one.clone() });
        ladder.extend(widest.into_iter().flat_map(wider));
        ladder
    }

    /// Doubles the batch while that is worth its time, on devices that can process more at once.
    fn larger_batch(&self, mut candidate: Candidate, mut seconds: f64) -> Result<(Candidate, f64)> {
        let patches = self.patches(&candidate) * self.seen.extents.len();
        while 2 * candidate.batch <= (patches / 20).max(1) {
            let doubled = Candidate { batch: 2 * candidate.batch, ..candidate.clone() };
            match self.seconds(&doubled) {
                Ok(measured) if measured < WORTH * seconds => (candidate, seconds) = (doubled, measured),
                Err(error) if !memory::is_shortage(&error) => return Err(error),
                _ => break,
            }
        }
        Ok((candidate, seconds))
    }

    /// Number of patches that cover the median image once.
    fn patches(&self, candidate: &Candidate) -> usize {
        let image: f64 = self.frame.extent.iter().product();
        (image / candidate.topology.patch.iter().product::<usize>() as f64).ceil() as usize
    }

    /// Seconds per step of the actual training on one image of random numbers: the minimum of a few steps after the
    /// first, since other load on the machine only adds time.
    fn seconds(&self, candidate: &Candidate) -> Result<f64> {
        let mut settings = settings(&self.network_and_samples(candidate, true))?;
        (settings.epochs, settings.samples.per_volume) = (1 + MEASURED, candidate.batch);
        let grid = Grid::unknown(settings.samples.block_size());
        let (rng, voxels) = (Rng::new(0), grid.extent.iter().product::<usize>());
        let channels = self.seen.channel_count;
        let image = (0..(voxels * channels) as u64).map(|voxel| rng.uniform(voxel) as f32 - 0.5).collect();
        let label = (0..voxels as u64).map(|voxel| rng.below(voxel, self.seen.classes.len()) as i32).collect();
        let (image, label) = (Volume::new(image, channels, grid.clone()), Volume::new(label, 1, grid));
        let classes = Classes { count: self.seen.classes.len(), ignored: self.seen.ignored };
        let case = Prepared { name: "measured".into(), image, label };
        let memory = |cases| Ok::<_, Error>(Arc::new(Memory::new(cases, classes)?));
        let data = Data {
            training: memory(vec![case])?,
            validation: memory(Vec::new())?,
            class_names: self.seen.classes.clone(),
        };
        let network = run::network(&settings, channels, classes.count)?;
        let objective = target(&settings.loss, channels, None, None)?;
        let records = Trainer::new(self.backend, network, objective, data, &settings)?.run(&Silent)?;
        Ok(records.iter().skip(1).map(|record| record.seconds).fold(f64::INFINITY, f64::min))
    }

    /// The decisions that determine the time of a step.
    fn network_and_samples(&self, candidate: &Candidate, fits: bool) -> Vec<Decision> {
        let Candidate { topology, width, batch } = candidate;
        let (patch, extent) = (&topology.patch, self.frame.largest_patch());
        let whole = patch.iter().zip(&extent).all(|(patch, extent)| patch >= extent);
        let minutes = self.minutes;
        let why = match (whole, fits) {
            (true, _) => "the median image, padded to a multiple of the strides".to_owned(),
            (false, true) => format!("the largest of its shape whose {STEPS} steps fit into {minutes} minutes"),
            (false, false) => {
                format!("the smallest that is tried: {STEPS} of its steps do not fit into {minutes} minutes")
            }
        };
        let most = if patch.len() == 3 { 320 } else { 512 };
        let widths: Vec<Value> =
            (0..topology.strides.len()).map(|stage| Value::from((width << stage.min(20)).min(most) as i64)).collect();
        let list = |rows: &[Vec<usize>]| -> Vec<Value> { rows.iter().map(|row| whole_numbers(row)).collect() };
        let mut decisions = self.frame.decisions.clone();
        decisions.extend([
            Decision::new("samples.size", whole_numbers(patch), why),
            Decision::new("batch", *batch as i64, "doubled only while that costs less than 1.5 times the time"),
            Decision::new("augment.preset", "nnunet", "probabilities and ranges of nnU-Net: segcal list augmentations"),
            Decision::new("network.name", "nnunet", "nnU-Net's plain network"),
            Decision::new(
                "network.widths",
                widths,
                format!("doubled at each stage, up to {most}; the first as wide as the time allows"),
            ),
            Decision::new(
                "network.kernels",
                list(&topology.kernels),
                "1 along axes whose voxels are still twice as long as others",
            ),
            Decision::new(
                "network.strides",
                list(&topology.strides),
                "axes are halved while 8 voxels are left, except axes with long voxels",
            ),
            Decision::new("network.deep_supervision", true, "coarser heads are trained too, as in nnU-Net"),
            Decision::new(
                "loss.name",
                "ce-dice",
                "overlap and likelihood; for losses that limit confidence see segcal list losses",
            ),
        ]);
        decisions
    }

    /// All decisions, including those that follow from the measured step.
    fn decisions(&self, candidate: &Candidate, seconds: f64) -> Vec<Decision> {
        let cases = self.seen.extents.len();
        let per_volume = self.patches(candidate).clamp(1, 16);
        let steps = (cases * per_volume).div_ceil(candidate.batch) as f64;
        // Prediction takes about a third of a step, on tiles that overlap by half along the axes that the patch does
        // not span.
        let overlapping: f64 =
            self.frame.axes().iter().zip(&candidate.topology.patch).fold(1.0, |tiles, (&axis, &patch)| {
                let beyond = (self.frame.extent[axis] - patch as f64).max(0.0);
                tiles * (1.0 + (2.0 * beyond / patch as f64).ceil())
            });
        let planes = self.frame.across.map_or(1.0, |axis| self.frame.extent[axis]);
        let validation = self.seen.validation as f64 * overlapping * planes / candidate.batch as f64 / 3.0;
        let epochs = (self.minutes * 60.0 / (seconds * (steps + validation))).clamp(1.0, MOST_EPOCHS).floor();
        let mut decisions = vec![Decision::new(
            "epochs",
            epochs as i64,
            format!(
                "{steps} steps of {seconds:.2} s each, measured on this machine, and validation: {} minutes in all",
                self.minutes
            ),
        )];
        let fits = seconds * STEPS <= self.minutes * 60.0;
        decisions.extend(self.network_and_samples(candidate, fits));
        decisions.extend([
            Decision::new("samples.per_volume", per_volume as i64, "patches that cover the median image about once"),
            Decision::new(
                "samples.foreground_share",
                0.33,
                "a third of the patches are centred on a foreground voxel, as in nnU-Net",
            ),
        ]);
        if self.seen.classes.len() > 2 {
            let why = "on each structure equally often, however small, as in nnU-Net";
            decisions.push(Decision::new("samples.by_class", true, why));
        }
        decisions.extend(optimiser(epochs * steps));
        decisions
    }
}

/// Optimiser, learning rate and schedule for this many steps.
fn optimiser(steps: f64) -> Vec<Decision> {
    let schedule = Decision::new("schedule.name", "polynomial", "polynomial decay to 0 with power 0.9, as in nnU-Net");
    if steps < MANY_STEPS {
        let why = format!("{steps} steps: an adaptive optimiser needs fewer than momentum 0.99");
        return vec![
            Decision::new("optimiser.name", "adamw", why),
            Decision::new("optimiser.learning_rate", 1e-3, "the usual rate of Adam"),
            schedule,
        ];
    }
    vec![
        Decision::new("optimiser.name", "sgd", format!("{steps} steps: nnU-Net's rule")),
        Decision::new("optimiser.learning_rate", 1e-2, "nnU-Net's"),
        Decision::new("optimiser.momentum", 0.99, "nnU-Net's"),
        Decision::new("optimiser.nesterov", true, "nnU-Net's"),
        Decision::new("optimiser.weight_decay", 3e-5, "nnU-Net's"),
        Decision::new("clip_norm", 12.0, "nnU-Net's"),
        schedule,
    ]
}

fn whole_numbers(list: &[usize]) -> Value {
    list.iter().map(|&number| Value::from(number as i64)).collect::<Vec<_>>().into()
}
