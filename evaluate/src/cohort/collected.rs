//! The states of a cohort, reduced to what its results need: the name of each case, and ten bytes for each of its
//! metrics. States are taken in one at a time, in any order, so that memory never holds many of them.

use std::collections::BTreeMap;

use segcal_metrics::empty::{Emptiness, Outcome};
use segcal_metrics::metric::Metric;
use segcal_metrics::volume::Label;

use super::plan::{Convention, Kind, Plan};
use crate::pooled::Pooled;
use crate::state::{CaseState, Figures, absent, authors_absent};
use crate::structures::Sides;
use crate::units::LengthUnit;

/// The states of some cases, from which [`Cohort::new`](super::Cohort::new) computes the results.
#[derive(Debug)]
pub struct Collected {
    pub(super) plan: Plan,
    /// Number of cases to reserve memory for.
    expected: usize,
    /// The cases in the order of their arrival.
    pub(super) cases: Vec<Case>,
    /// The metrics of each structure, by name.
    pub(super) structures: BTreeMap<String, Vec<Column>>,
    /// The metrics of each region, by name.
    pub(super) regions: BTreeMap<String, Vec<Column>>,
    /// The counters of all cases.
    pub(super) pooled: Pooled,
    /// For each label, the first case by name that knows its name, and that name.
    names: BTreeMap<Label, (Box<str>, String)>,
    sides: Sides,
    /// The largest number of classes.
    pub(crate) classes: usize,
}

/// What the results need of a case besides its metrics.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: Box<str>,
    /// Number of voxels that are excluded from all metrics.
    pub ignored: u64,
    /// Warnings about its files.
    pub warnings: Box<[String]>,
    /// Checksums of its files, one a line.
    pub checksums: Box<str>,
    /// The unit of lengths.
    pub length_unit: LengthUnit,
    /// Diagonal of the grid in that unit.
    pub(super) diagonal: f64,
    /// Whether the prediction was a label map.
    of_labels: bool,
    /// Whether the state has the metrics of the authors' convention.
    pub(super) has_authors: bool,
    /// Number of cases that arrived before it.
    pub(super) arrival: usize,
}

impl Collected {
    /// No case yet of about `expected`.
    pub fn new(plan: Plan, expected: usize) -> Self {
        Self {
            plan,
            expected,
            cases: Vec::with_capacity(expected),
            structures: BTreeMap::new(),
            regions: BTreeMap::new(),
            pooled: Pooled::default(),
            names: BTreeMap::new(),
            sides: Sides::default(),
            classes: 0,
        }
    }

    /// Takes in the state of a case.
    pub fn add(&mut self, mut state: CaseState) {
        let arrival = self.cases.len();
        self.pooled.add_all(arrival, state.take_counters());
        self.sides.add(&state);
        self.classes = self.classes.max(state.classes);
        for of in state.structures.keys() {
            let columns = columns(&mut self.structures, (Kind::Structure, of), self.plan.convention, self.expected);
            columns
                .iter_mut()
                .for_each(|column| column.push(arrival, of_structure(&state, of, column.metric, self.plan)));
        }
        for (of, figures) in &state.regions {
            let columns = columns(&mut self.regions, (Kind::Region, of), self.plan.convention, self.expected);
            columns
                .iter_mut()
                .for_each(|column| column.push(arrival, of_region(&state, figures, column.metric, self.plan)));
        }
        let of_labels = state.of_labels();
        for (label, name) in state.names {
            let first = self.names.get(&label).is_none_or(|(case, _)| state.case.as_str() < &**case);
            if first {
                self.names.insert(label, (state.case.as_str().into(), name));
            }
        }
        self.cases.push(Case {
            name: state.case.into(),
            ignored: state.ignored,
            warnings: state.warnings.into(),
            checksums: state.checksums.join("\n").into(),
            length_unit: state.length_unit,
            diagonal: state.diagonal,
            of_labels,
            has_authors: state.authors.is_some(),
            arrival,
        });
    }

    /// The names of the cases, in the order of their arrival.
    pub fn cases(&self) -> impl Iterator<Item = &str> {
        self.cases.iter().map(|case| &*case.name)
    }

    /// A warning if label maps and references have no label in common; see [`Sides::apart`].
    pub fn apart(&self) -> Option<String> {
        self.sides.apart()
    }

    /// The names of the labels, as far as known.
    pub(super) fn names(&self) -> BTreeMap<Label, String> {
        self.names.iter().map(|(label, (_, name))| (*label, name.clone())).collect()
    }
}

/// The columns of a structure or region, which are empty when it first occurs.
fn columns<'a>(
    all: &'a mut BTreeMap<String, Vec<Column>>,
    (kind, of): (Kind, &str),
    convention: Convention,
    expected: usize,
) -> &'a mut Vec<Column> {
    if !all.contains_key(of) {
        let new = convention.metrics(kind, of).map(|metric| Column::new(metric, expected)).collect();
        all.insert(of.to_owned(), new);
    }
    all.entry(of.to_owned()).or_default()
}

/// One metric of one structure or region, case by case.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) metric: &'static Metric,
    /// The value of the formula; NaN if it has none.
    numbers: Vec<f64>,
    kinds: Vec<u8>,
    notes: Vec<Note>,
}

/// One metric of one case.
#[derive(Clone, Copy, Debug)]
struct Figure {
    number: f64,
    kind: u8,
    note: Note,
}

/// The kind of a number that a case does not have, although it has the structure or region.
const NONE: u8 = 0;
/// The kind of a measured number.
const MEASURED: u8 = 1;
/// The first of the kinds of outcomes with an empty mask: for each [`Emptiness`] without and with a value.
const EMPTY: u8 = 2;
/// The kind for a case that lacks the structure or region.
const GAP: u8 = u8::MAX;

const EMPTINESS: [Emptiness; 4] = [Emptiness::Neither, Emptiness::Prediction, Emptiness::Reference, Emptiness::Both];

/// Why a case has no value, or one that was not measured between two masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// There is nothing to say.
    Nothing,
    /// The prediction is empty.
    Prediction,
    /// The reference is empty.
    Reference,
    /// Both are empty.
    Both,
    /// The scores have no class for the structure or region.
    NoClass,
    /// The region has no voxel.
    NoVoxel,
    /// The region has voxels, but none with foreground in the reference.
    NoForeground,
}

impl Note {
    /// The note in `cases.csv`.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Prediction => "prediction empty",
            Self::Reference => "reference empty",
            Self::Both => "both empty",
            Self::NoClass => "no class in the prediction",
            Self::NoVoxel => "no voxel in the region",
            Self::NoForeground => "no foreground in the reference",
        }
    }

    /// The note for a structure.
    fn of_structure(outcome: Option<Outcome>) -> Self {
        match outcome.map(|outcome| outcome.emptiness()) {
            None => Self::NoClass,
            Some(Emptiness::Neither) => Self::Nothing,
            Some(Emptiness::Prediction) => Self::Prediction,
            Some(Emptiness::Reference) => Self::Reference,
            Some(Emptiness::Both) => Self::Both,
        }
    }

    /// The note for a region in which a metric is undefined.
    fn of_region(figures: &Figures) -> Self {
        match figures.get("accuracy") {
            None => Self::NoClass,
            Some(accuracy) if accuracy.0.is_nan() => Self::NoVoxel,
            Some(_) => Self::NoForeground,
        }
    }
}

/// A metric of a structure that the state has.
fn of_structure(state: &CaseState, of: &str, metric: &Metric, plan: Plan) -> Figure {
    let own = state.outcome(of, metric.key);
    let outcome = match plan.convention {
        Convention::Segcal => own,
        Convention::Authors => state.authors_outcome(of, metric.key),
    };
    let (number, kind) = packed(outcome);
    Figure { number, kind, note: Note::of_structure(own) }
}

/// A metric of a region that the state has.
fn of_region(state: &CaseState, figures: &Figures, metric: &Metric, plan: Plan) -> Figure {
    let figure = match plan.convention {
        Convention::Segcal => figures.get(metric.key),
        Convention::Authors => state.authors.as_ref().and_then(|own| own.calibration.as_ref()?.get(metric.key)),
    };
    let number = figure.map_or(f64::NAN, |figure| figure.0);
    let note = if number.is_nan() { Note::of_region(figures) } else { Note::Nothing };
    Figure { number, kind: if figure.is_some() { MEASURED } else { NONE }, note }
}

fn packed(outcome: Option<Outcome>) -> (f64, u8) {
    match outcome {
        None => (f64::NAN, NONE),
        Some(Outcome::Measured(value)) => (value, MEASURED),
        Some(Outcome::Empty { which, formula }) => {
            let number = (0..).zip(EMPTINESS).find(|(_, other)| *other == which).map_or(0, |(number, _)| number);
            (formula.unwrap_or(f64::NAN), EMPTY + 2 * number + u8::from(formula.is_some()))
        }
    }
}

fn unpacked(number: f64, kind: u8) -> Option<Outcome> {
    match kind {
        NONE => None,
        MEASURED => Some(Outcome::Measured(number)),
        kind => {
            let which = EMPTINESS[usize::from((kind - EMPTY) / 2)];
            Some(Outcome::Empty { which, formula: ((kind - EMPTY) % 2 == 1).then_some(number) })
        }
    }
}

impl Column {
    fn new(metric: &'static Metric, expected: usize) -> Self {
        let numbers = Vec::with_capacity(expected);
        Self { metric, numbers, kinds: Vec::with_capacity(expected), notes: Vec::with_capacity(expected) }
    }

    /// Appends the metric of a case; cases that arrived since the last one lack it.
    fn push(&mut self, arrival: usize, Figure { number, kind, note }: Figure) {
        self.numbers.resize(arrival, f64::NAN);
        self.kinds.resize(arrival, GAP);
        self.notes.resize(arrival, Note::NoClass);
        self.numbers.push(number);
        self.kinds.push(kind);
        self.notes.push(note);
    }

    fn kind(&self, case: &Case) -> u8 {
        self.kinds.get(case.arrival).copied().unwrap_or(GAP)
    }

    /// The outcome of a case, for a structure.
    pub(super) fn outcome(&self, case: &Case, convention: Convention) -> Option<Outcome> {
        match (self.kind(case), convention) {
            (GAP, Convention::Segcal) => absent(case.of_labels),
            (GAP, Convention::Authors) => authors_absent(case.of_labels, self.metric.key),
            (kind, _) => unpacked(self.numbers[case.arrival], kind),
        }
    }

    /// The number of a case, for a region; `None` if it has none.
    pub(super) fn number(&self, case: &Case) -> Option<f64> {
        (self.kind(case) == MEASURED).then(|| self.numbers[case.arrival])
    }

    /// The note beside the value of a case.
    pub(super) fn note(&self, kind: Kind, case: &Case) -> Note {
        match (self.kind(case), kind) {
            (GAP, Kind::Structure) => Note::of_structure(absent(case.of_labels)),
            (GAP, Kind::Region) => Note::NoClass,
            _ => self.notes[case.arrival],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_kept_exactly() {
        let empty = |formula| EMPTINESS.map(|which| Some(Outcome::Empty { which, formula }));
        let all = [None, Some(Outcome::Measured(0.1)), Some(Outcome::Measured(f64::INFINITY))].into_iter();
        for outcome in all.chain(empty(None)).chain(empty(Some(0.25))) {
            let (number, kind) = packed(outcome);
            assert_eq!(unpacked(number, kind), outcome);
        }
    }
}
