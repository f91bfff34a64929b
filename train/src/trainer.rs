//! The training loop.

use std::sync::Arc;
use std::time::Instant;

use segcal_backends::Watch;
use segcal_core::{Backend, Context, Error, Result, Rng, Tensor};
use segcal_losses::bwcr::TwoViews;
use segcal_losses::{Batch, Criterion, Value};
use segcal_models::{Gradients, Mode, Network, Optimiser, Parameters, Schedule, Stored};

use segcal_data::config::from_table;
use segcal_data::hash::Hash;
use segcal_data::observer::{self, Event, Observer, Steps, is_interruption};
use segcal_data::output::Number;
use segcal_metrics::measure::Nested;

use super::best::{expect_best, offer_best};
use super::chain::{self, Link};
use super::infer::{Predictor, Tiling};
use super::record::EpochRecord;
use super::run::{self, Checkpoint};
use super::run_folder::RunFolder;
use super::samples::{self, HostBatch};
use super::settings::{Samples, Settings};
use super::source::Source;
use super::spacings::Spacings;
use super::stopped::{is_stopped, stopped};
use super::streams::{CHANGES, DROPOUT, EPOCHS, ORIENTATIONS, VIEWS};
use super::term_means::TermMeans;
use super::validation::{self, Judged, Validation};
use super::{divergence, patience, supervision};

/// What a network is trained on and measured by.
#[derive(Clone)]
pub struct Data {
    /// The cases that the weights are fitted to.
    pub training: Arc<dyn Source>,
    /// The cases that choose the best epoch.
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
}

/// A step that the device works on.
struct Running<B: Backend> {
    number: usize,
    batch: HostBatch,
    terms: Vec<(&'static str, Tensor<B>)>,
    gradients: Gradients<B>,
    norm: Tensor<B>,
}

impl<'a, B: Backend, L: Criterion> Trainer<'a, B, L> {
    /// A training at its beginning: `network` with fresh weights, to minimise `objective` on `data`. Of the settings
    /// count those of the loop: seed, epochs, batch, clip_norm, samples, optimiser and schedule.
    ///
    /// # Errors
    /// A setting is out of range, the network does not take such samples, the objective does not fit the number of
    /// classes, or the first case cannot be read.
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
        })
    }

    /// Begins with the weights of a file instead of fresh ones.
    ///
    /// # Errors
    /// The weights are not those of the network; the message lists what does not fit.
    pub fn beginning_with(self, weights: &Stored) -> Result<Self> {
        Ok(Self { parameters: self.network.import(weights, self.backend)?, ..self })
    }

    /// Says what checkpoints store: voxel sizes of the training images, and regions that are problems of their own.
    #[must_use]
    pub fn described_by(self, spacings: Option<Spacings>, regions: Option<Nested>) -> Self {
        Self { spacings, regions, ..self }
    }

    /// Has what each step asks of a graphics card told, as a message of level info: of the first two steps of an epoch,
    /// and of every step for which something had to be made.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// Goes on from the run's last checkpoint, or from the beginning if no epoch is done.
    ///
    /// # Errors
    /// The checkpoint is damaged, missing or belongs to another config; the log does not fit it (see
    /// [`RunFolder::expect_epochs`]), or the run was begun with other arithmetic than this backend's. The message says whether the checkpoint of the best epoch can take its place.
    pub fn restore(&mut self, folder: &mut RunFolder) -> Result<()> {
        folder.expect_arithmetic(&self.backend.arithmetic())?;
        let path = folder.last()?;
        let mut link = Link::default();
        if path.exists() {
            (self.epoch, link) = run::restore(&path, &mut self.parameters, &mut self.optimiser, &mut self.objective)
                .map_err(|error| offer_best(&error, folder, self.settings))?;
        } else if folder.records().len() > 1 {
            // Killed within its first epoch a run may have one line of the log and no checkpoint yet; not later.
            let what = format!("is missing, but the log holds {} epochs", folder.records().len());
            return Err(offer_best(&Error::new(what).at(path.display()), folder, self.settings));
        }
        folder.expect_epochs(self.epoch, &link)?;
        if self.epoch > 0 {
            expect_best(folder, self.epoch, self.settings)?;
        }
        folder.go_on_after(self.epoch, &self.settings.to_table())
    }

    /// Reads every case once before the first step: a case that does not fit must not end a training of hours.
    ///
    /// # Errors
    /// A case cannot be read, or has other channels than the network takes; or the observer asks to stop.
    pub fn check_cases(&self, observer: &dyn Observer) -> Result<()> {
        let channels = self.network.config().in_channels;
        self.data.training.check(channels, observer)?;
        self.data.validation.check(channels, observer)
    }

    /// The network that is trained.
    pub fn network(&self) -> &dyn Network<B> {
        &*self.network
    }

    /// The weights as they are now.
    pub fn parameters(&self) -> &Parameters<B> {
        &self.parameters
    }

    /// Trains the epochs that are left, and gives the figures of each.
    ///
    /// # Errors
    /// A case cannot be read, a number is not finite, the device fails, or the observer asks to stop.
    pub fn run(&mut self, observer: &dyn Observer) -> Result<Vec<EpochRecord>> {
        let mut records = Vec::new();
        while self.epoch < self.settings.epochs && !patience::is_over(self.settings, &records) {
            records.push(self.run_epoch(observer)?);
            self.epoch += 1;
        }
        Ok(records)
    }

    /// The same, writing logs and checkpoints after each epoch.
    ///
    /// # Errors
    /// As [`Trainer::run`], and the folder cannot be written. All that was written before stays usable; once an epoch is
    /// done, [`is_stopped`] knows the error.
    pub fn run_in(&mut self, folder: &mut RunFolder, observer: &dyn Observer) -> Result<()> {
        let outcome = self.run_epochs(folder, observer);
        let kept = match self.epoch {
            0 => "no epoch was done yet".to_owned(),
            1 => "epoch 1 is kept".to_owned(),
            done => format!("epochs 1 to {done} are kept"),
        };
        outcome.map_err(|error| {
            let go_on = format!("{kept}; the same command with --resume goes on from there");
            if is_interruption(&error) {
                error.help(go_on)
            } else if self.epoch > 0 || is_stopped(&error) {
                stopped(error).help(go_on)
            } else {
                error
            }
        })
    }

    fn run_epochs(&mut self, folder: &mut RunFolder, observer: &dyn Observer) -> Result<()> {
        while self.epoch < self.settings.epochs && !patience::is_over(self.settings, folder.records()) {
            let mut record = self.run_epoch(observer)?;
            record.hashes.weights = chain::weights(&self.parameters, &self.optimiser.state(), &self.objective.state())?;
            let link = folder.record(record)?;
            if folder.newest_is_best() {
                self.checkpoint(&link).save(&folder.best()?)?;
            }
            // Before the last checkpoint, which says that the epoch is done: a finished run has the curves of all epochs.
            folder.draw()?;
            self.checkpoint(&link).save(&folder.last()?)?;
            self.epoch += 1;
        }
        patience::announce(self.settings, self.epoch, observer);
        Ok(())
    }

    /// Trains and validates one epoch: its figures, with the arithmetic and the hash of its batches.
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

    /// One pass over the training samples: the loss terms and the hash of the batches.
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
        // What validation asked for is not part of a step.
        self.watch.look();
        samples::prefetched(&*training, &blocks, (self.settings.batch, augment), |number, batch| {
            observer::check(observer).at(format!("epoch {}, step {}", self.epoch + 1, number + 1))?;
            batch.add_to(&mut hash);
            // The batch moves to the device while that still works on the one before.
            let (images, labels) = batch.upload(self.backend);
            if let Some(before) = running.take() {
                self.finish(before, &mut terms, &bar)?;
            }
            running = Some(self.begin(number, batch, &images, &labels));
            Ok(())
        })?;
        if let Some(last) = running {
            self.finish(last, &mut terms, &bar)?;
        }
        Ok((terms, hash.hex()))
    }

    /// Asks for the loss of a batch and its gradients.
    fn begin(&self, number: usize, batch: HostBatch, images: &Tensor<B>, labels: &Tensor<B>) -> Running<B> {
        let leaves = self.parameters.tracked().with_dropout(self.stream(DROPOUT, number));
        let value = self.loss(number, &leaves, images, labels);
        let mut terms = vec![("loss", value.total.detach())];
        terms.extend(value.terms);
        let mut gradients = leaves.gradients(&value.total.backward());
        let norm = gradients.norm();
        if self.settings.clip_norm > 0.0 {
            gradients = gradients.clipped(self.settings.clip_norm);
        }
        Running { number, batch, terms, gradients, norm }
    }

    /// Waits for the loss of a step, refuses one that is not finite, and moves the weights.
    fn finish(&mut self, step: Running<B>, means: &mut TermMeans, bar: &Steps<'_>) -> Result<()> {
        let Running { number, batch, terms, gradients, norm } = step;
        let values: Vec<_> = terms.iter().map(|(name, term)| Ok((*name, term.item()?))).collect::<Result<_>>()?;
        if !values.iter().all(|(_, value)| value.is_finite()) || !norm.item()?.is_finite() {
            return Err(self.diverged(number, &batch, &values, &gradients));
        }
        let rate = self.learning_rate * self.schedule.factor(self.epoch, self.settings.epochs);
        self.optimiser.step(&mut self.parameters, &gradients, rate);
        if let Some((asked, made)) = self.watch.look()
            && (made || number < 2)
        {
            log::info!("epoch {}, step {}: {asked}", self.epoch + 1, number + 1);
        }
        bar.step(format_args!("loss {:.4}", values[0].1));
        means.add(&values, batch.samples());
        Ok(())
    }

    /// The random numbers of one purpose in a step of the running epoch.
    fn stream(&self, purpose: u64, step: usize) -> Rng {
        Rng::new(self.settings.seed).stream(purpose).stream(self.epoch as u64).stream(step as u64)
    }

    /// The loss of a batch; of two random views of it, where the objective compares two.
    fn loss(&self, step: usize, leaves: &Parameters<B>, images: &Tensor<B>, labels: &Tensor<B>) -> Value<B> {
        if self.objective.views() == 1 {
            return supervision::loss(&self.objective, self.network.outputs(leaves, images), images, labels);
        }
        let forward = |images: &Tensor<B>| self.network.forward(leaves, images, Mode::Train);
        let two = TwoViews::draw(self.stream(VIEWS, step), images.shape().n());
        let [first, second] = two.views.each_ref().map(|view| view.back(&forward(&view.image(images))));
        let mask = two.mask(self.backend, labels.shape());
        let returned = two.views[0].returned(labels);
        let batch = Batch::new(&first, labels).with_second(&second, &mask).with_returned_labels(&returned);
        self.objective.value(&batch)
    }

    /// Says which number of which batch is not finite, and where that began.
    fn diverged(&self, step: usize, batch: &HostBatch, terms: &[(&str, f64)], gradients: &Gradients<B>) -> Error {
        let images = batch.upload(self.backend).0;
        let found = divergence::find(&*self.network, &self.parameters, &images, terms, gradients);
        let location = format!("epoch {}, step {}, cases {}", self.epoch + 1, step + 1, batch.cases().join(" "));
        stopped(Error::new(found).at(location).help("lower the learning rate or set clip_norm"))
    }

    /// Shows the validation samples to a loss that keeps multipliers.
    fn observe_validation(&mut self, observer: &dyn Observer) -> Result<()> {
        if !self.objective.state().is_empty() {
            // Slices without a structure are left out of training alone.
            let all = Samples { skip_empty: false, ..self.settings.samples.clone() };
            let blocks = samples::epoch_blocks(&*self.data.validation, &all, Rng::new(self.settings.seed))?;
            for chunk in blocks.chunks(self.settings.batch) {
                observer::check(observer).at(format!("epoch {}, validation", self.epoch + 1))?;
                let (images, labels) = HostBatch::cut(&*self.data.validation, chunk, None)?.upload(self.backend);
                let logits = self.network.forward(&self.parameters, &images, Mode::Evaluate);
                self.objective.observe(&Batch::new(&logits, &labels))?;
            }
        }
        self.objective.end_epoch();
        Ok(())
    }

    fn validate(&self, observer: &dyn Observer) -> Result<Validation> {
        let tiling =
            Tiling { samples: &self.settings.samples, stride: self.network.stride(), batch: self.settings.batch };
        let predictor = Predictor::new(&*self.network, &self.parameters, self.regions.as_ref(), self.backend);
        validation::validate(&predictor, &*self.data.validation, self.judged(), &tiling, observer)
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

    /// What is stored at the end of the running epoch, whose hashes are `link`.
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
