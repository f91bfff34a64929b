//! Entry points to the libraries, called with the backend and the observer that the shared options select. Verbs,
//! `compare` and `demo` use these.

use std::path::Path;
use std::sync::Arc;

use segcal_backends::{Device, Visitor, Watch};
use segcal_core::{Backend, Result};
use segcal_data::observer::Observer;
use segcal_data::part::Part;
use segcal_evaluate::calibrate::job::{self, AppliedAll, ApplyRequest, FitRequest};
use segcal_evaluate::calibrate::local::Local;
use segcal_evaluate::calibrate::map::MapFile;
use segcal_evaluate::calibrate::recipe::Training;
use segcal_evaluate::cohort::Cohort;
use segcal_evaluate::inputs::Pair;
use segcal_evaluate::parts::Record;
use segcal_train::plan;
use segcal_train::predict::Predicted;
use segcal_train::ranks::{Alone, Ranks};
use segcal_train::record::Finished;
use segcal_train::settings::Settings;

use crate::Common;
use crate::options::BackendName;
use crate::signals::Listening;

/// Trains as the settings say, or continues the run with `resume`; SIGINT and SIGTERM end it at its next step.
///
/// # Errors
/// Those of [`segcal_train::train()`]; the backend is not available.
pub fn train(settings: &Settings, resume: bool, common: &Common) -> Result<Finished> {
    let ranks: Arc<dyn Ranks> = Arc::new(Alone);
    train_among(&ranks, settings, resume, &common.observer(), common)
}

/// The same as one of several ranks, followed by this observer.
///
/// # Errors
/// Those of [`segcal_train::job::train_among`]; the backend is not available.
pub fn train_among(
    ranks: &Arc<dyn Ranks>,
    settings: &Settings,
    resume: bool,
    observer: &dyn Observer,
    common: &Common,
) -> Result<Finished> {
    let device = common.device(BackendName::Cpu)?;
    let watch = device.watch();
    let _listening = Listening::start()?;
    device.run(Train { ranks, settings, resume, observer, watch })
}

struct Train<'a> {
    ranks: &'a Arc<dyn Ranks>,
    settings: &'a Settings,
    resume: bool,
    observer: &'a dyn Observer,
    watch: Watch,
}

impl Visitor for Train<'_> {
    type Output = Result<Finished>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        segcal_train::job::train_among(self.ranks, &backend, self.watch, self.settings, self.resume, self.observer)
    }
}

/// Makes a training config from a data set, measured on the backend.
///
/// # Errors
/// Those of [`segcal_train::plan::plan`]; the backend is not available.
pub fn plan(request: &plan::Request<'_>, common: &Common) -> Result<plan::Plan> {
    let _listening = Listening::start()?;
    common.device(BackendName::Cpu)?.run(MakePlan { request, common })
}

struct MakePlan<'a> {
    request: &'a plan::Request<'a>,
    common: &'a Common,
}

impl Visitor for MakePlan<'_> {
    type Output = Result<plan::Plan>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        plan::plan(&backend, self.request, &self.common.observer())
    }
}

/// What the bits of results depend on besides the inputs ([`Backend::arithmetic`]).
///
/// # Errors
/// The backend is not available.
pub fn arithmetic(common: &Common) -> Result<String> {
    Ok(common.device(BackendName::Cpu)?.run(Arithmetic))
}

struct Arithmetic;

impl Visitor for Arithmetic {
    type Output = String;

    fn visit<B: Backend>(self, backend: B) -> String {
        backend.arithmetic()
    }
}

/// Checks that training can begin with these settings.
///
/// # Errors
/// Those of [`segcal_train::job::check`].
pub fn check_training(settings: &Settings) -> Result<()> {
    Device::open("cpu", None)?.run(Check(settings))
}

struct Check<'a>(&'a Settings);

impl Visitor for Check<'_> {
    type Output = Result<()>;

    fn visit<B: Backend>(self, backend: B) -> Result<()> {
        segcal_train::job::check(&backend, self.0)
    }
}

/// Predicts images with a run.
///
/// # Errors
/// Those of [`segcal_train::predict()`]; the backend is not available.
pub fn predict(request: &segcal_train::predict::Request<'_>, common: &Common) -> Result<Predicted> {
    common.device(BackendName::Cpu)?.run(Predict { request, common })
}

struct Predict<'a> {
    request: &'a segcal_train::predict::Request<'a>,
    common: &'a Common,
}

impl Visitor for Predict<'_> {
    type Output = Result<Predicted>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        segcal_train::predict(&backend, self.request, &self.common.observer())
    }
}

/// Evaluates stored predictions: those of the request's paths, or of these `pairs`.
///
/// # Errors
/// Those of [`segcal_evaluate::evaluate`]; the backend is not available.
pub fn evaluate(request: &segcal_evaluate::Request<'_>, pairs: Option<&[Pair]>, common: &Common) -> Result<Cohort> {
    common.device(BackendName::Cpu)?.run(Evaluate { request, pairs, common })
}

struct Evaluate<'a> {
    request: &'a segcal_evaluate::Request<'a>,
    pairs: Option<&'a [Pair]>,
    common: &'a Common,
}

impl Visitor for Evaluate<'_> {
    type Output = Result<Cohort>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let observer = self.common.observer();
        match self.pairs {
            Some(pairs) => segcal_evaluate::job::evaluate_pairs(&backend, self.request, pairs, &observer),
            None => segcal_evaluate::evaluate(&backend, self.request, &observer),
        }
    }
}

/// Evaluates one part of the cases at the request's paths.
///
/// # Errors
/// Those of [`segcal_evaluate::job::evaluate_part`]; the backend is not available.
pub fn evaluate_part(request: &segcal_evaluate::Request<'_>, part: Part, common: &Common) -> Result<Record> {
    common.device(BackendName::Cpu)?.run(EvaluatePart { request, part, common })
}

struct EvaluatePart<'a> {
    request: &'a segcal_evaluate::Request<'a>,
    part: Part,
    common: &'a Common,
}

impl Visitor for EvaluatePart<'_> {
    type Output = Result<Record>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        segcal_evaluate::job::evaluate_part(&backend, self.request, self.part, &self.common.observer())
    }
}

/// Fits local temperatures.
///
/// # Errors
/// Those of [`job::fit_local`]; the backend is not available.
pub fn fit_local(
    request: &FitRequest<'_>,
    images: Option<&Path>,
    training: Training,
    common: &Common,
) -> Result<MapFile<Local>> {
    common.device(BackendName::Cpu)?.run(FitLocal { request, images, training, common })
}

struct FitLocal<'a> {
    request: &'a FitRequest<'a>,
    images: Option<&'a Path>,
    training: Training,
    common: &'a Common,
}

impl Visitor for FitLocal<'_> {
    type Output = Result<MapFile<Local>>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        job::fit_local(&backend, self.request, self.images, self.training, &self.common.observer())
    }
}

/// Applies a map to stored scores.
///
/// # Errors
/// Those of [`job::apply_all`]; the backend is not available.
pub fn apply(request: &ApplyRequest<'_>, common: &Common) -> Result<AppliedAll> {
    common.device(BackendName::Cpu)?.run(Apply { request, common })
}

struct Apply<'a> {
    request: &'a ApplyRequest<'a>,
    common: &'a Common,
}

impl Visitor for Apply<'_> {
    type Output = Result<AppliedAll>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        job::apply_all(backend, self.request, &self.common.observer())
    }
}
