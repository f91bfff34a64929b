//! A training run, from its settings to its run folder.

use std::path::Path;
use std::sync::Arc;

use segcal_backends::Watch;
use segcal_core::{Backend, Context, Error, Result};
use segcal_data::observer::Event;
use segcal_data::{Case, Dataset, Observer};
use segcal_losses::Criterion;

use super::cases::Cases;
use super::objective::{Target, target};
use super::prepared::Classes;
use super::ranks::passport::Passport;
use super::ranks::{Alone, Ranks, agree};
use super::record::Finished;
use super::regions;
use super::run;
use super::run_folder::{LAST, RunFolder};
use super::samples;
use super::settings::{Input, Settings};
use super::sheet;
use super::source::{Cache, Source};
use super::spacings::Spacings;
use super::trainer::{Data, Trainer};

/// Trains according to the settings and fills the run folder; with `resume`, continues the run in that folder. Returns
/// the figures of all epochs.
///
/// # Errors
/// A setting or a case is malformed, the run folder is in use or belongs to other settings or cases, training diverges,
/// a file cannot be written, or the observer asks to stop.
pub fn train<B: Backend>(
    backend: &B,
    watch: Watch,
    settings: &Settings,
    resume: bool,
    observer: &dyn Observer,
) -> Result<Finished> {
    let ranks: Arc<dyn Ranks> = Arc::new(Alone);
    train_among(&ranks, backend, watch, settings, resume, observer)
}

/// Trains as one of several ranks, all of which call this with the same settings and data. Only rank 0 writes and
/// returns the figures.
///
/// # Errors
/// As [`train()`], with the same outcome on all ranks before the first step; or a rank differs from the others or has
/// ended.
pub fn train_among<B: Backend>(
    ranks: &Arc<dyn Ranks>,
    backend: &B,
    watch: Watch,
    settings: &Settings,
    resume: bool,
    observer: &dyn Observer,
) -> Result<Finished> {
    let (leads, hushed) = (ranks.rank() == 0, Hushed(observer));
    let observer = if leads { observer } else { &hushed };
    let (trainer, cases) = agree(&**ranks, begun(ranks, backend, settings, observer))?;
    let (mut trainer, config) = (trainer.watched(watch), settings.to_table());
    let (version, arithmetic) = (env!("CARGO_PKG_VERSION").to_owned(), backend.arithmetic());
    Passport { version, arithmetic, config, cases: cases.clone(), resume }.expect_same(&**ranks)?;
    let folder = leads.then(|| folder(&mut trainer, settings, &cases, resume)).transpose();
    let Some(mut folder) = agree(&**ranks, folder)? else {
        let beside = if resume { trainer.restore_beside(&settings.out.join(LAST)) } else { Ok(()) };
        beside.and_then(|()| trainer.run_beside(observer)).at(settings.out.display())?;
        ranks.finish();
        return Ok(Finished { best_epoch: None, epochs: Vec::new() });
    };
    trainer.run_in(&mut folder, observer).at(settings.out.display())?;
    ranks.finish();
    Ok(Finished { best_epoch: folder.best_epoch(), epochs: folder.records().to_vec() })
}

/// Drops the events that rank 0 reports for all ranks, but forwards its own times and requests to stop.
struct Hushed<'a>(&'a dyn Observer);

impl Observer for Hushed<'_> {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Span(_)) {
            self.0.event(event);
        }
    }

    fn stop(&self) -> Option<Error> {
        self.0.stop()
    }
}

/// The trainer for the settings, and the checksums of its cases, all of which have been checked.
fn begun<'a, B: Backend>(
    ranks: &Arc<dyn Ranks>,
    backend: &'a B,
    settings: &'a Settings,
    observer: &dyn Observer,
) -> Result<(Trainer<'a, B, Target>, Cases)> {
    let data = open(settings)?;
    if data.val.is_empty() {
        let what = format_args!("{}: no validation cases: the last epoch is kept", settings.data.display());
        observer.event(Event::Line(&what));
    }
    if let Some(nested) = regions::nested(&data)? {
        let what = format_args!("{}: {}", settings.data.display(), regions::described(&nested));
        observer.event(Event::Line(&what));
    }
    let cases = Cases::of(&data, observer)?;
    let parts = format!(
        "{}: {} training and {} validation cases, {} classes",
        settings.data.display(),
        data.train.len(),
        data.val.len(),
        data.classes.len()
    );
    let trainer = trainer(backend, settings, data)?.among(ranks.clone())?;
    observer.event(Event::Line(&format_args!("{parts}; {}", described(&trainer, backend, settings))));
    trainer.check_cases(observer)?;
    Ok((trainer, cases))
}

/// The run folder: a new one, or that of the run that the trainer resumes.
fn folder<B: Backend>(
    trainer: &mut Trainer<'_, B, Target>,
    settings: &Settings,
    cases: &Cases,
    resume: bool,
) -> Result<RunFolder> {
    let table = settings.to_table();
    if resume {
        let mut folder = RunFolder::resume(&settings.out, &table)?;
        folder.expect_cases(cases)?;
        trainer.restore(&mut folder)?;
        return Ok(folder);
    }
    let folder = RunFolder::create(&settings.out, &table)?;
    folder.expect_cases(cases)?;
    Ok(folder)
}

/// Network, device and size of a step, in words.
fn described<B: Backend>(trainer: &Trainer<'_, B, Target>, backend: &B, settings: &Settings) -> String {
    let network = trainer.network();
    let config = network.config();
    let sample = samples::batch_shape(&settings.samples, settings.batch, config.in_channels);
    let bytes = network.step_numbers(sample).saturating_mul(size_of::<B::Elem>() as u64);
    format!(
        "{} with {} parameters on {}; a step of {sample} holds at least {} MiB",
        config.name,
        network.parameter_count(),
        backend.arithmetic(),
        bytes.div_ceil(1 << 20)
    )
}

/// Checks whether the settings describe a training run that can start: builds everything that it needs, but writes
/// nothing.
///
/// # Errors
/// A setting is out of range, or the data set or its first case cannot be read.
pub fn check<B: Backend>(backend: &B, settings: &Settings) -> Result<()> {
    trainer(backend, settings, open(settings)?).map(drop)
}

/// Reads every case of both parts, and the labelled cases `more`, as training with these settings would.
///
/// # Errors
/// A file is malformed or contains NaN, infinity or a label that is not a class; image and label are on different
/// grids; or the channels differ from those of the first training case. The message names the case. Or the observer
/// asks to stop.
pub fn check_cases(settings: &Settings, more: &[Case], observer: &dyn Observer) -> Result<()> {
    let data = open(settings)?;
    let classes = Classes { count: data.classes.len(), ignored: data.ignore_label };
    let input = Input { cache_gib: 0.0, ..settings.input.clone() };
    let cases = data.train.into_iter().chain(data.val).chain(more.iter().cloned()).collect();
    let source = Cache::new(cases, input, classes);
    let channels = source.get(0)?.image.channels();
    source.check(channels, observer)
}

/// The trainer that the settings describe, on the cases of a data set.
///
/// # Errors
/// As [`Trainer::new`]; the network or the loss of the settings is unknown or malformed.
pub fn trainer<'a, B: Backend>(
    backend: &'a B,
    settings: &'a Settings,
    data: Dataset,
) -> Result<Trainer<'a, B, Target>> {
    let classes = Classes { count: data.classes.len(), ignored: data.ignore_label };
    let regions = regions::nested(&data)?;
    let spacings = Spacings::of(&data.train);
    let seen = spacings.as_ref().filter(|_| !settings.input.resamples());
    if let Some(mixed) = seen.and_then(Spacings::mixed) {
        log::warn!("{}: {mixed}", settings.data.display());
    }
    let cache = |cases| Arc::new(Cache::new(cases, settings.input.clone(), classes));
    let (training, validation) = (cache(data.train), cache(data.val));
    let channels = training.get(0)?.image.channels();
    let outputs = regions.as_ref().map_or(classes.count, |nested| nested.regions.len());
    let network = run::network(settings, channels, outputs)?;
    let objective = target(&settings.loss, channels, data.ignore_label, regions.as_ref())?;
    if validation.is_empty() && !objective.state().is_empty() {
        let error = Error::new("learns its multipliers on validation cases, but the data set has none");
        return Err(error.at("loss").at(settings.data.display()).help("list some under \"val\" in splits.json"));
    }
    if validation.is_empty() && settings.patience > 0 {
        let error = Error::new("waits for a better validation DSC, but the data set has no validation cases");
        return Err(error.at("patience").at(settings.data.display()).help("list some under \"val\" in splits.json"));
    }
    let data = Data { training, validation, class_names: data.classes };
    let trainer = Trainer::new(backend, network, objective, data, settings)?.described_by(spacings, regions);
    if settings.init.as_os_str().is_empty() {
        return Ok(trainer);
    }
    trainer.beginning_with(&segcal_data::checkpoint::load(&settings.init).at("init")?).at("init")
}

/// Writes a picture of samples, augmented as in training with these settings; see [`sheet`].
///
/// # Errors
/// The data set or a case cannot be read, or the file cannot be written.
pub fn draw_samples(settings: &Settings, path: &Path) -> Result<()> {
    let data = open(settings)?;
    let classes = Classes { count: data.classes.len(), ignored: data.ignore_label };
    sheet::write(&Cache::new(data.train, settings.input.clone(), classes), settings, path)
}

fn open(settings: &Settings) -> Result<Dataset> {
    let data = Dataset::open_fold(&settings.data, settings.fold)?;
    data.expect_classes()?;
    if data.train.is_empty() {
        return Err(Error::new("there are no training cases")
            .at(settings.data.display())
            .help("list them in splits.json as {\"train\": […], \"val\": […]}"));
    }
    Ok(data)
}
