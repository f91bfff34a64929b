//! The training loop.

use std::sync::Arc;
use std::time::Instant;

use segcal_core::{Backend, Context, Error, Result, Rng, Tensor};
use segcal_losses::bwcr::TwoViews;
use segcal_losses::{Batch, Objective, Value};
use segcal_models::{Gradients, Mode, Network, Optimiser, Parameters, Rule, Schedule};

use super::objective::objective;
use super::run::{self, Checkpoint};
use super::run_folder::{EpochRecord, RunFolder};
use super::samples::{self, Cache, HostBatch};
use super::settings::{Settings, from_table};
use super::validation::{self, Validation};
use crate::Common;
use crate::data::Dataset;
use crate::infer::Tiling;
use crate::output::Number;
use crate::progress;

/// Streams of random numbers, one for each purpose, so that none depends on how many another used.
const EPOCHS: u64 = 1;
/// See [`EPOCHS`].
const VIEWS: u64 = 2;

/// A training run in progress.
pub struct Trainer<'a, B: Backend> {
    backend: &'a B,
    settings: &'a Settings,
    common: &'a Common,
    training: Arc<Cache>,
    validation: Cache,
    class_names: Vec<String>,
    network: Box<dyn Network<B>>,
    parameters: Parameters<B>,
    optimiser: Optimiser<B>,
    objective: Objective,
    learning_rate: f64,
    schedule: Schedule,
    epoch: usize,
}

impl<'a, B: Backend> Trainer<'a, B> {
    /// Builds everything that the settings describe, at its beginning.
    ///
    /// # Errors
    /// A setting is out of range, or the first case cannot be read.
    pub fn new(backend: &'a B, settings: &'a Settings, data: Dataset, common: &'a Common) -> Result<Self> {
        let class_names = data.classes;
        let classes = class_names.len();
        let training = Arc::new(Cache::new(data.train, settings.input.clone(), classes));
        let validation = Cache::new(data.val, settings.input.clone(), classes);
        let channels = training.get(0)?.image.channels();
        let network = run::network(settings, channels, classes)?;
        let sample = segcal_core::Shape::new(settings.batch, channels, 1, 1, 1)
            .with_spatial(samples::flat_last(settings.samples.block_size()));
        network.accepts(sample).at("samples.size")?;
        let parameters = network.parameters(settings.seed, backend);
        let (rule, learning_rate) = rule(settings)?;
        let schedule: Schedule = from_table(settings.schedule.clone()).at("schedule")?;
        schedule.check().at("schedule")?;
        let objective = objective(&settings.loss)?;
        objective.check(classes).at("loss")?;
        let optimiser = Optimiser::new(rule, &parameters).at("optimiser")?;
        Ok(Self {
            backend,
            settings,
            common,
            training,
            validation,
            class_names,
            network,
            parameters,
            optimiser,
            objective,
            learning_rate,
            schedule,
            epoch: 0,
        })
    }

    /// Goes on from the run's last checkpoint, if there is one; gives the number of epochs that are done.
    ///
    /// # Errors
    /// The checkpoint is damaged or belongs to another config.
    pub fn restore(&mut self, folder: &std::path::Path) -> Result<usize> {
        let path = folder.join("last.safetensors");
        if path.exists() {
            self.epoch = run::restore(&path, &mut self.parameters, &mut self.optimiser, &mut self.objective)?;
        }
        Ok(self.epoch)
    }

    /// Trains the epochs that are left, writing logs and checkpoints after each.
    ///
    /// # Errors
    /// A case cannot be read, a number is not finite, the device fails, or the folder cannot be written. All that was
    /// written before stays usable.
    pub fn run(&mut self, folder: &mut RunFolder) -> Result<()> {
        while self.epoch < self.settings.epochs {
            let started = Instant::now();
            let (loss, images) = self.train_epoch()?;
            let seconds = started.elapsed().as_secs_f64();
            self.observe_validation()?;
            let validation = self.validate()?;
            self.epoch += 1;
            let record = self.epoch_record(loss, &validation, seconds, images);
            self.report(&record);
            folder.record(record)?;
            if folder.newest_is_best() {
                self.checkpoint().save(&folder.best()?)?;
            }
            self.checkpoint().save(&folder.last()?)?;
        }
        Ok(())
    }

    /// One pass over the training samples: mean loss terms and the number of samples.
    fn train_epoch(&mut self) -> Result<(Vec<(String, f64)>, usize)> {
        let rng = Rng::new(self.settings.seed).stream(EPOCHS).stream(self.epoch as u64);
        let training = self.training.clone();
        let blocks = samples::epoch_blocks(&training, &self.settings.samples, rng)?;
        let steps = blocks.len().div_ceil(self.settings.batch);
        let bar = self.common.progress(&format!("epoch {}/{}", self.epoch + 1, self.settings.epochs), steps);
        let mut terms = TermMeans::default();
        samples::prefetched(&training, &blocks, self.settings.batch, |number, batch| {
            let values = self.step(number, &batch)?;
            bar.step(format_args!("loss {:.4}", values[0].1));
            terms.add(&values, batch.samples());
            Ok(())
        })?;
        Ok((terms.means(), blocks.len()))
    }

    /// One optimiser step; the loss and its terms.
    fn step(&mut self, number: usize, batch: &HostBatch) -> Result<Vec<(&'static str, f64)>> {
        let (images, labels) = batch.upload(self.backend);
        let leaves = self.parameters.tracked();
        let value = self.loss(number, &leaves, &images, &labels);
        let mut scalars = vec![("loss", value.total.detach())];
        scalars.extend(value.terms);
        let mut gradients = leaves.gradients(&value.total.backward());
        let norm = gradients.norm();
        if self.settings.clip_norm > 0.0 {
            gradients = gradients.clipped(self.settings.clip_norm);
        }
        let values: Vec<_> = scalars.iter().map(|(name, term)| Ok((*name, term.item()?))).collect::<Result<_>>()?;
        if !values.iter().all(|(_, value)| value.is_finite()) || !norm.item()?.is_finite() {
            return Err(self.diverged(number, batch, &values, &gradients));
        }
        let rate = self.learning_rate * self.schedule.factor(self.epoch, self.settings.epochs);
        self.optimiser.step(&mut self.parameters, &gradients, rate);
        Ok(values)
    }

    /// The loss of a batch; of two random views of it, where the objective compares two.
    fn loss(&self, step: usize, leaves: &Parameters<B>, images: &Tensor<B>, labels: &Tensor<B>) -> Value<B> {
        let forward = |images: &Tensor<B>| self.network.forward(leaves, images, Mode::Train);
        if !self.objective.compares_views() {
            let logits = forward(images);
            let batch = Batch::new(&logits, labels);
            let batch = if images.shape().c() == 1 { batch.with_image(images) } else { batch };
            return self.objective.value(&batch);
        }
        let rng = Rng::new(self.settings.seed).stream(VIEWS).stream(self.epoch as u64).stream(step as u64);
        let two = TwoViews::draw(rng, images.shape().n());
        let [first, second] = two.views.each_ref().map(|view| view.back(&forward(&view.image(images))));
        let mask = two.mask(self.backend, labels.shape());
        self.objective.value(&Batch::new(&first, labels).with_second(&second, &mask))
    }

    /// Says where a number that is not finite came from first.
    fn diverged(&self, step: usize, batch: &HostBatch, terms: &[(&str, f64)], gradients: &Gradients<B>) -> Error {
        let term = terms.iter().rev().find(|(_, value)| !value.is_finite());
        // Gradients flow from the last layer to the first: the last one hit is where it began.
        let hit = self.parameters.iter().enumerate().filter(|(number, _)| {
            let numbers = gradients.get(*number).and_then(|gradient| gradient.to_f64().ok()).unwrap_or_default();
            numbers.iter().any(|x| !x.is_finite())
        });
        let hit = hit.last();
        let mut what = match term {
            Some((name, value)) => format!("the loss term {name} is {value}"),
            None => "a gradient is not finite".to_owned(),
        };
        if let Some((_, parameter)) = hit {
            what += &format!(", first in the gradient of {}", parameter.name);
        }
        let place = format!("epoch {}, step {}, cases {}", self.epoch + 1, step + 1, batch.cases().join(" "));
        Error::new(what).at(place).help("the last checkpoint is kept; lower the learning rate or set clip_norm")
    }

    /// Shows the validation samples to a loss that keeps multipliers.
    fn observe_validation(&mut self) -> Result<()> {
        if !self.objective.state().is_empty() {
            let blocks = samples::epoch_blocks(&self.validation, &self.settings.samples, Rng::new(self.settings.seed))?;
            for chunk in blocks.chunks(self.settings.batch) {
                let (images, labels) = HostBatch::cut(&self.validation, chunk)?.upload(self.backend);
                let logits = self.network.forward(&self.parameters, &images, Mode::Evaluate);
                self.objective.observe(&Batch::new(&logits, &labels))?;
            }
        }
        self.objective.end_epoch();
        Ok(())
    }

    fn validate(&self) -> Result<Validation> {
        let tiling =
            Tiling { samples: &self.settings.samples, stride: self.network.stride(), batch: self.settings.batch };
        let (network, classes) = (&*self.network, self.class_names.len());
        validation::validate(network, &self.parameters, self.backend, &self.validation, classes, &tiling)
    }

    fn epoch_record(
        &self,
        loss: Vec<(String, f64)>,
        validation: &Validation,
        seconds: f64,
        images: usize,
    ) -> EpochRecord {
        let names = self.class_names.iter().skip(1).cloned();
        EpochRecord {
            epoch: self.epoch,
            learning_rate: self.learning_rate * self.schedule.factor(self.epoch - 1, self.settings.epochs),
            loss,
            dsc: Number(validation.mean_dsc()),
            dsc_by_structure: names.zip(validation.dsc.iter().copied().map(Number)).collect(),
            ece: Number(validation.ece),
            state: self.objective.state(),
            seconds,
            images_per_second: images as f64 / seconds,
        }
    }

    /// One line an epoch.
    fn report(&self, record: &EpochRecord) {
        if self.common.quiet {
            return;
        }
        let terms: Vec<String> = record.loss.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        progress::line(&format!(
            "epoch {}/{}: {}, DSC {:.4}, ECE {:.4}, {:.1} s, {:.0} images/s",
            record.epoch,
            self.settings.epochs,
            terms.join(", "),
            record.dsc.0,
            record.ece.0,
            record.seconds,
            record.images_per_second
        ));
    }

    fn checkpoint(&self) -> Checkpoint<'_, B> {
        Checkpoint {
            parameters: &self.parameters,
            optimiser: &self.optimiser,
            objective: &self.objective,
            epoch: self.epoch,
            network: self.network.config(),
            class_names: &self.class_names,
        }
    }
}

/// The optimiser's rule and learning rate.
fn rule(settings: &Settings) -> Result<(Rule, f64)> {
    let mut table = settings.optimiser.clone();
    let rate = table.remove("learning_rate");
    let rate = rate.and_then(|rate| rate.as_float().or(rate.as_integer().map(|whole| whole as f64)));
    match rate {
        Some(rate) if rate > 0.0 && rate.is_finite() => Ok((from_table(table).at("optimiser")?, rate)),
        _ => Err(Error::new("is not a positive number").at("optimiser.learning_rate").help("0.001 suits Adam")),
    }
}

/// Means of the loss terms over the samples of an epoch.
#[derive(Default)]
struct TermMeans {
    sums: Vec<(&'static str, f64)>,
    samples: usize,
}

impl TermMeans {
    fn add(&mut self, values: &[(&'static str, f64)], samples: usize) {
        if self.sums.is_empty() {
            self.sums = values.iter().map(|(name, _)| (*name, 0.0)).collect();
        }
        self.sums.iter_mut().zip(values).for_each(|(sum, (_, value))| sum.1 += value * samples as f64);
        self.samples += samples;
    }

    fn means(&self) -> Vec<(String, f64)> {
        self.sums.iter().map(|(name, sum)| ((*name).to_owned(), sum / self.samples as f64)).collect()
    }
}
