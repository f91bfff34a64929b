//! The training loop.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use segcal_backends::Watch;
use segcal_core::{Backend, Context, Error, Result, Rng, Tensor};
use segcal_losses::Criterion;
use segcal_models::{Gradients, Network, Optimiser, Parameters, Schedule, Stored};

use segcal_data::config::from_table;
use segcal_data::hash::Hash;
use segcal_data::observer::{self, Event, Observer, Span, Steps, is_interruption};
use segcal_data::output::Number;
use segcal_metrics::measure::Nested;

use super::best::{expect_best, offer_best};
use super::chain::{self, Link};
use super::divergence;
use super::infer::{Predictor, Tiling};
use super::ranks::share::Share;
use super::ranks::{Alone, Ranks};
use super::record::EpochRecord;
use super::run::{self, Checkpoint};
use super::run_folder::RunFolder;
use super::samples::{self, HostBatch};
use super::settings::Settings;
use super::source::Source;
use super::spacings::Spacings;
use super::step::Step;
use super::stopped::stopped;
use super::streams::{CHANGES, DROPOUT, EPOCHS, ORIENTATIONS, VIEWS};
use super::term_means::TermMeans;
use super::validation::{self, Judged, Validation};

mod epochs;
mod observation;

/// The cases that a network is trained and validated on.
#[derive(Clone)]
pub struct Data {
    /// The cases used to fit the weights.
    pub training: Arc<dyn Source>,
    /// The cases used to choose the best epoch.
    pub validation: Arc<dyn Source>,
    /// Names of the classes, the background first.
    pub class_names: Vec<String>,
}

/// A training run in progress.
pub struct Trainer<'a, B: Backend, L> {
    backend: &'a B,
    settings: &'a Settings,
    data: Data,
    network: Box<dyn Network<B>>,
    parameters: Parameters<B>,
    optimiser: Optimiser<B>,
    objective: L,
    learning_rate: f64,
    schedule: Schedule,
    epoch: usize,
    watch: Watch,
    spacings: Option<Spacings>,
    regions: Option<Nested>,
    ranks: Arc<dyn Ranks>,
}

/// A step that the device is working on.
struct Running<B: Backend> {
    number: usize,
    batch: HostBatch,
    terms: Vec<(&'static str, Tensor<B>)>,
    gradients: Gradients<B>,
    norm: Tensor<B>,
}

impl<'a, B: Backend, L: Criterion> Trainer<'a, B, L> {
    /// A new training run: `network` with freshly initialised weights, to minimise `objective` on `data`. Only the
    /// settings of the loop are used: seed, epochs, batch, clip_norm, samples, optimiser and schedule.
    ///
    /// # Errors
    /// A setting is out of range, the network does not accept samples of this shape, the objective does not fit the
    /// number of classes, or the first case cannot be read.
    pub fn new(
        backend: &'a B,
        network: Box<dyn Network<B>>,
        objective: L,
        data: Data,
        settings: &'a Settings,
    ) -> Result<Self> {
        let channels = data.training.get(0)?.image.channels();
        let sample = samples::batch_shape(&settings.samples, settings.batch, channels);
        network.accepts(sample).at("samples.size")?;
        samples::expect_room_for_blocks(data.training.len().max(data.validation.len()), &settings.samples)?;
        samples::expect_room(sample, network.step_numbers(sample))?;
        let parameters = network.parameters(settings.seed, backend);
        let (rule, learning_rate) = settings.rule()?;
        let schedule: Schedule = from_table(settings.schedule.clone()).at("schedule")?;
        schedule.check().at("schedule")?;
        objective.check(network.config().classes).at("loss")?;
        let optimiser = Optimiser::new(rule, &parameters).at("optimiser")?;
        Ok(Self {
            backend,
            settings,
            data,
            network,
            parameters,
            optimiser,
            objective,
            learning_rate,
            schedule,
            epoch: 0,
            watch: Watch::default(),
            spacings: None,
            regions: None,
            ranks: Arc::new(Alone),
        })
    }

    /// Starts from stored weights instead of freshly initialised ones.
    ///
    /// # Errors
    /// The weights do not match the network; the message lists the differences.
    pub fn beginning_with(self, weights: &Stored) -> Result<Self> {
        Ok(Self { parameters: self.network.import(weights, self.backend)?, ..self })
    }

    /// Sets what checkpoints store in addition: the voxel sizes of the training images, and regions that are separate
    /// binary problems.
    #[must_use]
    pub fn described_by(self, spacings: Option<Spacings>, regions: Option<Nested>) -> Self {
        Self { spacings, regions, ..self }
    }

    /// Trains together with other ranks, each of which has a trainer with the same settings and data. All end with
    /// bit-identical weights.
    ///
    /// # Errors
    /// There are several ranks, but `micro_batch` is 0.
    pub fn among(self, ranks: Arc<dyn Ranks>) -> Result<Self> {
        if ranks.size() > 1 && self.settings.micro_batch == 0 {
            let error =
                Error::new("is 0, but several ranks divide a batch into parts of a fixed size").at("micro_batch");
            return Err(error.help("set micro_batch=1"));
        }
        Ok(Self { ranks, ..self })
    }

    /// Logs, at info level, what a step requests from a graphics card: for the first two steps of an epoch, and for
    /// every step for which something had to be created.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// Continues from the run's last checkpoint, or from the beginning if no epoch is finished.
    ///
    /// # Errors
    /// The checkpoint is damaged, missing or belongs to another config; the log does not match it (see
    /// [`RunFolder::expect_epochs`]), or the run was started with arithmetic other than this backend's. The message
    /// says whether the checkpoint of the best epoch can take its place.
    pub fn restore(&mut self, folder: &mut RunFolder) -> Result<()> {
        folder.expect_arithmetic(&self.backend.arithmetic())?;
        let path = folder.last()?;
        let mut link = Link::default();
        if path.exists() {
            (self.epoch, link) = run::restore(&path, &mut self.parameters, &mut self.optimiser, &mut self.objective)
                .map_err(|error| offer_best(&error, folder, self.settings))?;
        } else if folder.records().len() > 1 {
            // A run killed within its first epoch may have one log line and no checkpoint yet; later this cannot
            // happen.
            let what = format!("is missing, but the log holds {} epochs", folder.records().len());
            return Err(offer_best(&Error::new(what).at(path.display()), folder, self.settings));
        }
        folder.expect_epochs(self.epoch, &link)?;
        if self.epoch > 0 {
            expect_best(folder, self.epoch, self.settings)?;
        }
        folder.go_on_after(self.epoch, &self.settings.to_table())
    }

    /// Reads the same checkpoint on any rank but rank 0, which calls [`Trainer::restore`] instead.
    ///
    /// # Errors
    /// The checkpoint cannot be read on this rank.
    pub fn restore_beside(&mut self, last: &Path) -> Result<()> {
        if last.exists() {
            let (network, optimiser, objective) = (&mut self.parameters, &mut self.optimiser, &mut self.objective);
            (self.epoch, _) = run::restore(last, network, optimiser, objective)?;
        }
        Ok(())
    }

    /// Reads every case once before the first step, so that an unusable case does not end a training run after hours.
    ///
    /// # Errors
    /// A case cannot be read or has a different number of channels than the network takes, or the observer asks to
    /// stop.
    pub fn check_cases(&self, observer: &dyn Observer) -> Result<()> {
        let channels = self.network.config().in_channels;
        self.data.training.check(channels, observer)?;
        self.data.validation.check(channels, observer)
    }

    /// The network being trained.
    pub fn network(&self) -> &dyn Network<B> {
        &*self.network
    }

    /// The current weights.
    pub fn parameters(&self) -> &Parameters<B> {
        &self.parameters
    }

    /// Trains and validates one epoch. Returns its figures, with the arithmetic and the hash of its batches.
    fn run_epoch(&mut self, observer: &dyn Observer) -> Result<EpochRecord> {
        let started = Instant::now();
        let (terms, batches) = self.train_epoch(observer)?;
        let seconds = started.elapsed().as_secs_f64();
        self.observe_validation(observer)?;
        let validation = self.validate(observer)?;
        let hashes = Link { arithmetic: self.backend.arithmetic(), batches, ..Link::default() };
        let record = EpochRecord { hashes, ..self.epoch_record(&terms, &validation, seconds) };
        observer.event(Event::Line(&format_args!(
            "epoch {}/{}: {}",
            record.epoch,
            self.settings.epochs,
            record.line()
        )));
        Ok(record)
    }

    /// Makes one pass over the training samples. Returns the loss terms and the hash of the batches.
    fn train_epoch(&mut self, observer: &dyn Observer) -> Result<(TermMeans, String)> {
        let rng = Rng::new(self.settings.seed).stream(EPOCHS).stream(self.epoch as u64);
        let training = self.data.training.clone();
        let mut blocks = samples::epoch_blocks(&*training, &self.settings.samples, rng)?;
        let augment = &self.settings.augment;
        samples::vary(&mut blocks, augment, [ORIENTATIONS, CHANGES].map(|purpose| self.stream(purpose, 0)));
        let steps = blocks.len().div_ceil(self.settings.batch);
        let bar = Steps::begin(observer, format!("epoch {}/{}", self.epoch + 1, self.settings.epochs), steps);
        let (mut terms, mut hash) = (TermMeans::default(), Hash::default());
        let mut running: Option<Running<B>> = None;
        // What validation requested is not part of a step.
        self.watch.look();
        samples::prefetched(&*training, &blocks, (self.settings.batch, augment), |number, batch| {
            observer::check(observer).at(format!("epoch {}, step {}", self.epoch + 1, number + 1))?;
            batch.add_to(&mut hash);
            // The batch moves to the device while the device is still working on the previous one.
            let (images, labels) = batch.upload(self.backend);
            if let Some(before) = running.take() {
                self.finish(before, &mut terms, &bar)?;
            }
            running = Some(self.begin(number, batch, [&images, &labels], observer)?);
            Ok(())
        })?;
        if let Some(last) = running {
            self.finish(last, &mut terms, &bar)?;
        }
        Ok((terms, hash.hex()))
    }

    /// Queues the loss of a batch and its gradients.
    fn begin(
        &self,
        number: usize,
        batch: HostBatch,
        [images, labels]: [&Tensor<B>; 2],
        observer: &dyn Observer,
    ) -> Result<Running<B>> {
        let began = Instant::now();
        let share = Share::new(&self.ranks, batch.samples(), self.settings.micro_batch);
        let step = Step::new(&*self.network, &self.parameters, self.stream(DROPOUT, number), share);
        let value = step.loss(&self.objective, self.stream(VIEWS, number), images, labels)?;
        let mut terms = vec![("loss", value.total.detach())];
        terms.extend(value.terms);
        observer.event(Event::Span(Span::of_computing("forward", began)));
        let mut gradients = step.gradients(value.total, observer)?;
        let norm = gradients.norm();
        if self.settings.clip_norm > 0.0 {
            gradients = gradients.clipped(self.settings.clip_norm);
        }
        Ok(Running { number, batch, terms, gradients, norm })
    }

    /// Waits for the loss of a step, refuses one that is not finite, and updates the weights.
    fn finish(&mut self, step: Running<B>, means: &mut TermMeans, bar: &Steps<'_>) -> Result<()> {
        let began = Instant::now();
        let Running { number, batch, terms, gradients, norm } = step;
        let values: Vec<_> = terms.iter().map(|(name, term)| Ok((*name, term.item()?))).collect::<Result<_>>()?;
        if !values.iter().all(|(_, value)| value.is_finite()) || !norm.item()?.is_finite() {
            return Err(self.diverged(number, &batch, &values, &gradients));
        }
        let rate = self.learning_rate * self.schedule.factor(self.epoch, self.settings.epochs);
        self.optimiser.step(&mut self.parameters, &gradients, rate);
        bar.observer().event(Event::Span(Span::of_computing("update", began)));
        if let Some((asked, made)) = self.watch.look()
            && (made || number < 2)
        {
            log::info!("epoch {}, step {}: {asked}", self.epoch + 1, number + 1);
        }
        bar.step(format_args!("loss {:.4}", values[0].1));
        means.add(&values, batch.samples());
        Ok(())
    }

    /// The random numbers for one purpose in a step of the current epoch.
    fn stream(&self, purpose: u64, step: usize) -> Rng {
        Rng::new(self.settings.seed).stream(purpose).stream(self.epoch as u64).stream(step as u64)
    }

    /// The error that reports which number of which batch is not finite, and where it first arose.
    fn diverged(&self, step: usize, batch: &HostBatch, terms: &[(&str, f64)], gradients: &Gradients<B>) -> Error {
        let images = batch.upload(self.backend).0;
        let found = divergence::find(&*self.network, &self.parameters, &images, terms, gradients);
        let location = format!("epoch {}, step {}, cases {}", self.epoch + 1, step + 1, batch.cases().join(" "));
        stopped(Error::new(found).at(location).help("lower the learning rate or set clip_norm"))
    }

    fn validate(&self, observer: &dyn Observer) -> Result<Validation> {
        let tiling =
            Tiling { samples: &self.settings.samples, stride: self.network.stride(), batch: self.settings.batch };
        let predictor = Predictor::new(&*self.network, &self.parameters, self.regions.as_ref(), self.backend);
        validation::validate(&predictor, &*self.data.validation, self.judged(), &tiling, (&*self.ranks, observer))
            .map_err(|error| if is_interruption(&error) { error } else { stopped(error) })
            .at(format!("epoch {}", self.epoch + 1))
    }

    fn judged(&self) -> Judged<'_> {
        self.regions.as_ref().map_or(Judged::Classes(&self.data.class_names), Judged::Regions)
    }

    fn epoch_record(&self, terms: &TermMeans, validation: &Validation, seconds: f64) -> EpochRecord {
        let names = self.judged().names().into_iter();
        EpochRecord {
            epoch: self.epoch + 1,
            learning_rate: self.learning_rate * self.schedule.factor(self.epoch, self.settings.epochs),
            loss: terms.means(),
            dsc: Number(validation.mean_dsc()),
            dsc_by_structure: names.zip(validation.dsc.iter().copied().map(Number)).collect(),
            ece: Number(validation.ece),
            state: self.objective.state(),
            seconds,
            images_per_second: terms.samples as f64 / seconds,
            hashes: Link::default(),
        }
    }

    /// The hash of everything that determines the rest of the run.
    pub(crate) fn weights_hash(&self) -> Result<String> {
        chain::weights(&self.parameters, &self.optimiser.state(), &self.objective.state())
    }

    /// The checkpoint at the end of the current epoch, whose hashes are `link`.
    fn checkpoint<'b>(&'b self, link: &'b Link) -> Checkpoint<'b, B, L> {
        Checkpoint {
            parameters: &self.parameters,
            optimiser: &self.optimiser,
            objective: &self.objective,
            epoch: self.epoch + 1,
            link,
            network: self.network.config(),
            class_names: &self.data.class_names,
            spacings: self.spacings.as_ref(),
            regions: self.regions.as_ref(),
        }
    }
}
