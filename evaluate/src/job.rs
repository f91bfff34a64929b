//! Evaluates a folder: pairs the files, measures each case into a state, and writes the tables and the report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use segcal_core::{Backend, Error, Result};
use segcal_data::hash;
use segcal_data::observer::{self, Event, Observer, Steps, is_interruption};
use segcal_data::output::{self, OutputFolder, is_write_failure};
use segcal_data::part::Part;
use segcal_metrics::volume::Label;

use super::case;
use super::cohort::{Cohort, Collected, Convention, Plan};
use super::decide::decide;
use super::described::Described;
use super::inputs::{self, Holds, Pair};
use super::layout::Layout;
use super::parts::{self, Record};
#[cfg(feature = "report")]
use super::report;
use super::state::{CaseState, Measure, Prediction, Unions};
use super::states::SUMMARY;
use super::states::{self, Stored};
use super::{Failure, masks, one_a_thread, regional, slices, stamps, structures};

/// Number of cases that a warning names.
const NAMED: usize = 5;

/// An evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Stored predictions, a file or a folder.
    pub predictions: &'a Path,
    /// Reference label maps, a file or a folder; `dataset.json` beside them names the structures.
    pub labels: &'a Path,
    /// The `dataset.json` that names labels, regions and the ignored label [default: that beside the labels].
    pub dataset: Option<&'a Path>,
    /// Images for the overlays, a file or a folder [default: the folder imagesX beside labelsX].
    pub images: Option<&'a Path>,
    /// Folder of the results.
    pub out: &'a Path,
    /// How a case is measured.
    pub measure: &'a Measure,
    /// How the cohort is summarised.
    pub plan: Plan,
    /// Whether references without a prediction are left out, with a warning; otherwise they are cases that failed.
    pub only_predicted: bool,
    /// Whether finished cases whose files have not changed are kept.
    pub resume: bool,
}

/// Evaluates and writes the results.
///
/// # Errors
/// Predictions and references cannot be paired, no case can be evaluated, the results cannot be written, or the
/// observer asks to stop.
pub fn evaluate<B: Backend>(backend: &B, request: &Request<'_>, observer: &dyn Observer) -> Result<Cohort> {
    evaluate_all(backend, request, found(request)?, observer)
}

/// The cases of an evaluation.
struct Found {
    described: Described,
    /// Pairs, sorted by case name.
    pairs: Vec<Pair>,
    /// Cases without a usable pair, with the reason.
    unpaired: Vec<(String, Error)>,
}

fn found(request: &Request<'_>) -> Result<Found> {
    let holds = if request.measure.kind == Prediction::Segmentation { Holds::Labels } else { Holds::Scores };
    let described = described(request)?;
    let by_name = masks::pairs(request.predictions, request.labels, holds, &described.names)?;
    let mut found = by_name.map_or_else(|| inputs::pairs(request.predictions, request.labels, holds), Ok)?;
    let names = if found.names.is_empty() { described.names.clone() } else { std::mem::take(&mut found.names) };
    let described = Described { names, ..described };
    for case in inputs::add_images(&mut found.pairs, request.images, request.labels)? {
        log::warn!("{case}: has no image; the report shows none");
    }
    let unpaired = found.unusable.into_iter().chain(without_prediction(request, found.unpredicted)).collect();
    Ok(Found { described, pairs: found.pairs, unpaired })
}

/// The errors of references without a prediction; none if only predicted cases are wanted.
fn without_prediction(request: &Request<'_>, cases: Vec<String>) -> Vec<(String, Error)> {
    let place = request.predictions.display();
    if request.only_predicted && !cases.is_empty() {
        let (shown, more) = (cases.iter().take(NAMED), if cases.len() > NAMED { ", ..." } else { "" });
        let names = shown.map(String::as_str).collect::<Vec<_>>().join(", ");
        let counted = output::counted(cases.len(), "reference");
        log::warn!("{counted} without a prediction in {place}, left out: {names}{more}");
        return Vec::new();
    }
    let error = |case| (case, Error::new(format!("has a reference but no prediction in {place}")));
    cases.into_iter().map(error).collect()
}

/// Measures the cases of one part, and writes their states and a record of them to the output folder, which all parts
/// share. [`merge`](crate::merge::merge) then makes the tables and the report.
///
/// # Errors
/// As [`evaluate`], except that it is no error if no case of the part can be evaluated.
pub fn evaluate_part<B: Backend>(
    backend: &B,
    request: &Request<'_>,
    part: Part,
    observer: &dyn Observer,
) -> Result<Record> {
    let mut found = found(request)?;
    let measure = &checked(request, &found)?;
    let unpaired = found.unpaired.iter().map(|(case, _)| case.as_str());
    let all: BTreeSet<String> =
        found.pairs.iter().map(|pair| pair.case.as_str()).chain(unpaired).map(str::to_owned).collect();
    found.unpaired.sort_by(|a, b| a.0.cmp(&b.0));
    let (pairs, unpaired) = (part.of(found.pairs), part.of(found.unpaired));
    let layout = Layout::of(all.len());
    if request.resume {
        states::expect_own_of(request.out, layout, &pairs, measure)?;
    }
    let folder = OutputFolder::for_part(request.out, part)?;
    remove_results(&folder)?;
    parts::begin(&folder, part)?;
    let mut failed: Vec<Failure> = unpaired.into_iter().map(|(case, error)| fail(&case, error, observer)).collect();
    let names = found.described.names;
    let job = Job { backend, pairs: &pairs, measure, names, folder: &folder, layout, resume: request.resume };
    let (measured, more) = job.run(request.plan, observer)?;
    failed.extend(more);
    failed.sort();
    let states = hashes(&folder, measured.cases().map(|case| states::name_of(layout, case)).collect())?;
    let record = Record::new(part, all.iter().map(String::as_str), request.plan, states, failed);
    record.write(&folder)?;
    Ok(record)
}

/// Evaluates the given pairs, wherever their files are, and writes the results. The only paths of the request that are
/// used are those of the labels, beside which `dataset.json` names the structures, and of the results.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_pairs<B: Backend>(
    backend: &B,
    request: &Request<'_>,
    pairs: &[Pair],
    observer: &dyn Observer,
) -> Result<Cohort> {
    let found = Found { described: described(request)?, pairs: pairs.to_vec(), unpaired: Vec::new() };
    evaluate_all(backend, request, found, observer)
}

/// The settings of the measurement, after what is decided for all cases, checked against the number of classes.
fn checked(request: &Request<'_>, found: &Found) -> Result<Measure> {
    let measure = decided(request, found.described.clone(), &found.pairs)?;
    if let (Prediction::Scores(_), None) = (measure.kind, &measure.nested) {
        structures::expect_classes(&measure.unions, &found.pairs, &measure.reading)?;
    }
    Ok(measure)
}

/// Evaluates the pairs. Cases without a pair are reported together with those that fail.
fn evaluate_all<B: Backend>(
    backend: &B,
    request: &Request<'_>,
    found: Found,
    observer: &dyn Observer,
) -> Result<Cohort> {
    let resume = request.resume;
    let measure = &checked(request, &found)?;
    let Found { described: Described { names, .. }, pairs, unpaired } = found;
    if resume {
        states::expect_own(request.out, &pairs, &unpaired, measure)?;
    }
    let folder = OutputFolder::exclusive(request.out)?;
    remove_results(&folder)?;
    parts::remove(&folder)?;
    let kept = if resume { pairs.iter().map(|pair| pair.case.as_str()).collect() } else { BTreeSet::new() };
    let layout = Layout::of(pairs.len() + unpaired.len());
    states::keep_only(&folder, layout, &kept)?;
    let mut failed: Vec<Failure> = unpaired.into_iter().map(|(case, error)| fail(&case, error, observer)).collect();
    let job = Job { backend, pairs: &pairs, measure, names, folder: &folder, layout, resume };
    let (measured, more) = job.run(request.plan, observer)?;
    failed.extend(more);
    if measured.cases().next().is_none() {
        return Err(Error::new("no case could be evaluated").at(request.predictions.display()));
    }
    if measure.kind == Prediction::Segmentation {
        if let Some(doubt) = measured.apart() {
            log::warn!("{}: {doubt}", request.predictions.display());
        }
        for (name, label) in structures::beyond(&measure.unions, measured.classes) {
            log::warn!("regions.{name}: no label map contains the label {label}");
        }
    }
    let cohort = Cohort::new(measured, measure.clone())?.without(failed);
    write(&cohort, &folder)?;
    Ok(cohort)
}

fn described(request: &Request<'_>) -> Result<Described> {
    if let Some(file) = request.dataset {
        return Described::read(file);
    }
    let (beside, within) = (Described::beside(request.labels), Described::within(request.predictions));
    if beside != Described::default() {
        if let Some(doubt) = within.differs(&beside) {
            log::warn!("{}: {doubt}", request.predictions.display());
        }
        return Ok(beside);
    }
    if !within.is_silent() {
        log::warn!(
            "{}: its dataset.json names regions or an ignored label and is used, since there is none beside the labels",
            request.predictions.display()
        );
    }
    Ok(within)
}

/// The settings of the measurement, with the reading of the files decided for all cases.
fn decided(request: &Request<'_>, described: Described, pairs: &[Pair]) -> Result<Measure> {
    let measure = request.measure;
    let Described { ignored, regions, nested, .. } = described;
    let nested = match measure.kind {
        Prediction::Scores(kind) => regional::decide(nested, pairs, kind, &measure.reading)?,
        Prediction::Segmentation => None,
    };
    let measure = &Measure { nested, ..measure.clone() };
    let reading = decide(pairs, measure.content(), &measure.reading)?;
    reading.warn_of_spacings(pairs);
    let mut unions = measure.unions.clone();
    for (name, labels) in regions {
        // A region whose name is already taken in the tables is only measured if the config gives it another name.
        let own = Unions::from([(name.clone(), labels.clone())]);
        if !labels.is_empty() && structures::expect_names(&own).is_ok() {
            unions.entry(name).or_insert(labels);
        }
    }
    Ok(Measure {
        ignored: measure.ignored.or(ignored),
        unions,
        authors: measure.authors || request.plan.convention == Convention::Authors,
        reading,
        ..measure.clone()
    })
}

/// Reports the error of a case, and returns it for the results.
fn fail(case: &str, error: Error, observer: &dyn Observer) -> Failure {
    let failure = Failure::new(case, &error);
    observer.event(Event::CaseFailed(&error.at(case)));
    failure
}

/// The tables and the page of an evaluation. `summary.json` is written last and contains the SHA-256 of the others.
const RESULTS: [&str; 4] = [SUMMARY, "report.html", "cases.csv", "summary.csv"];

/// Removes the results in the folder, so that an evaluation that stops early leaves no results of another one beside
/// its own files.
///
/// # Errors
/// The folder cannot be written.
pub fn remove_results(folder: &OutputFolder) -> Result<()> {
    RESULTS.iter().try_for_each(|name| output::remove_file(&folder.file(name)?))
}

/// Writes every file of an evaluation except the states, which are already written.
///
/// # Errors
/// The folder cannot be written.
pub fn write(cohort: &Cohort, folder: &OutputFolder) -> Result<()> {
    output::write_atomic(&folder.file("cases.csv")?, |out| cohort.write_cases_csv(out))?;
    output::write_text(&folder.file("summary.csv")?, &cohort.summary_csv())?;
    #[cfg(feature = "report")]
    report::write(cohort, folder)?;
    let results = RESULTS.iter().filter(|name| folder.path().join(name).is_file()).map(|name| (*name).to_owned());
    let states = cohort.cases.iter().map(|case| states::name_of(cohort.layout(), &case.name));
    let mut summary = cohort.to_json();
    summary.files = Some(hashes(folder, results.chain(states).collect())?);
    output::write_atomic(&folder.file(SUMMARY)?, |out| output::write_json(out, &summary))
}

/// The SHA-256 of files in the folder, by name.
fn hashes(folder: &OutputFolder, names: Vec<String>) -> Result<BTreeMap<String, String>> {
    let hashes = one_a_thread(&names, |name| hash::of_file(&folder.path().join(name)));
    names.into_iter().zip(hashes).map(|(name, hash)| Ok((name, hash?))).collect()
}

struct Job<'a, B> {
    backend: &'a B,
    pairs: &'a [Pair],
    measure: &'a Measure,
    names: BTreeMap<Label, String>,
    folder: &'a OutputFolder,
    layout: Layout,
    resume: bool,
}

impl<B: Backend> Job<'_, B> {
    /// Measures every pair, with one case per thread in memory at a time.
    fn run(&self, plan: Plan, observer: &dyn Observer) -> Result<(Collected, Vec<Failure>)> {
        let collected = Mutex::new(Collected::new(plan, self.pairs.len()));
        let steps = Steps::begin(observer, "evaluate", self.pairs.len());
        let measured = one_a_thread(self.pairs, |pair| {
            observer::check(observer)?;
            // Added at once, so that only the state of one case per thread is in memory.
            let add = |state| collected.lock().unwrap_or_else(PoisonError::into_inner).add(state);
            let added = self.state(pair).map(add);
            steps.step(&pair.case);
            added
        });
        drop(steps);
        let mut failed = Vec::new();
        for (pair, measured) in self.pairs.iter().zip(measured) {
            match measured {
                Ok(()) => {}
                Err(error) if is_interruption(&error) || is_write_failure(&error) => return Err(error),
                Err(error) => failed.push(fail(&pair.case, error, observer)),
            }
        }
        Ok((collected.into_inner().unwrap_or_else(PoisonError::into_inner), failed))
    }

    /// The stored state of a finished case, or else a new one. A case that cannot be measured leaves no state behind.
    fn state(&self, pair: &Pair) -> Result<CaseState> {
        if let Some(state) = self.done(pair)? {
            return Ok(state);
        }
        states::remove(self.folder, self.layout, &pair.case)?;
        let stamps = stamps::of(pair);
        let (mut state, slices) = case::measure(self.backend, pair, self.measure)?;
        let names = self.names.iter().filter(|(label, _)| usize::from(**label) < state.classes);
        state.names = names.map(|(label, name)| (*label, name.clone())).collect();
        let stored = Stored::new(self.measure.clone(), state);
        // The state marks the case as finished, so it is written last.
        slices::write(&states::slices_of(self.folder, self.layout, &pair.case)?, &slices)?;
        stored.write(self.folder, self.layout)?;
        stamps::note(self.folder, (self.layout, &pair.case), stamps, &stored.state.checksums)?;
        Ok(stored.state)
    }

    /// The state of a finished case, if its files have not changed since.
    fn done(&self, pair: &Pair) -> Result<Option<CaseState>> {
        let path = states::state_of(self.folder, self.layout, &pair.case)?;
        if !self.resume || !path.exists() {
            return Ok(None);
        }
        let state = Stored::read(&path)?.state;
        let image = pair.image.as_deref().map(states::located);
        if state.image != image {
            return Ok(None);
        }
        if stamps::stand(self.folder, self.layout, pair, &state.checksums) {
            return Ok(Some(state));
        }
        let stamps = stamps::of(pair);
        // A file that cannot be read is reported when the case is measured.
        if states::checksums(pair).is_ok_and(|now| now == state.checksums) {
            stamps::note(self.folder, (self.layout, &pair.case), stamps, &state.checksums)?;
            return Ok(Some(state));
        }
        Ok(None)
    }
}
