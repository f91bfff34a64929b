use segcal_core::Rng;
use segcal_data::output::{self, Number};
use segcal_metrics::authors::AuthorsSegmentation;
use segcal_metrics::bootstrap::Bootstrap;
use segcal_metrics::empty::{Emptiness, Policy};

use super::*;
use crate::scores::Scores;
use crate::settings::Settings;
use crate::state::{Authors, CaseState};

const EMPTINESS: [Emptiness; 4] = [Emptiness::Neither, Emptiness::Prediction, Emptiness::Reference, Emptiness::Both];

/// A case with some of the structures 1, 2 and 10, of scores or of a label map.
fn state(number: u64, of_labels: bool) -> CaseState {
    let rng = Rng::new(5).stream(number);
    let metrics = |kind| Convention::Segcal.metrics(kind, "foreground").map(|metric| metric.key.to_owned());
    let outcome = |at: u64| match rng.below(at, 6) {
        which @ 1..=3 => {
            let formula = (rng.below(at + 1, 2) == 0).then_some(0.25);
            Outcome::Empty { which: EMPTINESS[which], formula }
        }
        _ => Outcome::Measured(rng.uniform(at + 2)),
    };
    let structures = ["1", "2", "10"].into_iter().filter(|name| !(number + name.len() as u64).is_multiple_of(3));
    let structure = |name: &str| {
        let figures = (0..).zip(metrics(Kind::Structure)).filter(|(at, _)| rng.below(900 + at, 9) > 0);
        (name.to_owned(), figures.map(|(at, key)| (key, outcome(100 * name.len() as u64 + 3 * at))).collect())
    };
    let regions = ["predicted", "foreground", "structure:10", "structure:2"].into_iter();
    let regions = regions.filter(|name| !of_labels && !(number + name.len() as u64).is_multiple_of(5));
    let region = |name: &str| {
        let from = 1000 * name.len() as u64;
        let value = |at: u64| if rng.below(from, 4) == 0 { f64::NAN } else { rng.uniform(from + at) };
        let figures = (1..).zip(metrics(Kind::Region)).filter(|(at, _)| rng.below(from + 500 + at, 9) > 0);
        (name.to_owned(), figures.map(|(at, key)| (key, Number(value(at)))).collect())
    };
    let authors = |name: &str| (name.to_owned(), AuthorsSegmentation { dsc: rng.uniform(7), hd95: rng.uniform(8) });
    let calibration = ["ece", "tcece"].map(|key| (key.to_owned(), Number(rng.uniform(9))));
    CaseState {
        case: format!("case {}", number * 7 % 11),
        prediction: String::new(),
        reference: String::new(),
        image: None,
        checksums: vec![number.to_string(), "b".into()],
        classes: 3,
        names: BTreeMap::from([(1, format!("name {number}"))]),
        length_unit: LengthUnit::Voxels,
        diagonal: 10.0 + rng.uniform(4),
        ignored: number,
        structures: structures.clone().map(structure).collect(),
        regions: regions.map(region).collect(),
        authors: Some(Authors {
            structures: structures.map(authors).collect(),
            calibration: (!of_labels).then(|| calibration.into()),
        }),
        slices: Vec::new(),
        warnings: number.is_multiple_of(3).then(|| "doubtful".to_owned()).into_iter().collect(),
        counters: None,
        problems: BTreeMap::new(),
    }
}

fn cohort(states: &[CaseState], plan: Plan) -> Cohort {
    let mut collected = Collected::new(plan, 3);
    states.iter().for_each(|state| collected.add(state.clone()));
    let measure = Settings::default().measure(Prediction::Scores(Scores::Probabilities), false).unwrap();
    Cohort::new(collected, measure).unwrap()
}

/// The value, the outcome or number, and the note of a metric of one case, from its whole state.
fn figure(state: &CaseState, row: &Row, plan: Plan) -> (f64, Option<Outcome>, &'static str) {
    let (of, key) = (row.of.as_str(), row.metric.key);
    if row.kind == Kind::Structure {
        let outcome = match plan.convention {
            Convention::Segcal => state.outcome(of, key),
            Convention::Authors => state.authors_outcome(of, key),
        };
        let value = outcome.map_or(f64::NAN, |outcome| plan.empty.resolve(outcome, row.metric, state.diagonal));
        let note = match state.outcome(of, key).map(|outcome| outcome.emptiness()) {
            None => "no class in the prediction",
            Some(Emptiness::Neither) => "",
            Some(Emptiness::Prediction) => "prediction empty",
            Some(Emptiness::Reference) => "reference empty",
            Some(Emptiness::Both) => "both empty",
        };
        return (value, outcome, note);
    }
    let figures = match plan.convention {
        Convention::Segcal => state.regions.get(of),
        Convention::Authors => state.authors.as_ref().and_then(|authors| authors.calibration.as_ref()),
    };
    let value = figures.and_then(|figures| figures.get(key)).map(|value| value.0);
    let note = match state.regions.get(of).and_then(|figures| figures.get("accuracy")) {
        _ if value.is_some_and(|value| !value.is_nan()) => "",
        None => "no class in the prediction",
        Some(accuracy) if accuracy.0.is_nan() => "no voxel in the region",
        Some(_) => "no foreground in the reference",
    };
    (value.unwrap_or(f64::NAN), value.map(Outcome::Measured), note)
}

/// Every row against all states in memory.
#[test]
fn collected_states_give_what_whole_states_give() {
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for (convention, of_labels) in [
        (Convention::Segcal, false),
        (Convention::Segcal, true),
        (Convention::Authors, false),
        (Convention::Authors, true),
    ] {
        for empty in Policy::ALL {
            let plan = Plan { empty, convention, seed: 4 };
            // The authors' convention expects the region of every case with scores.
            let mut states: Vec<CaseState> = (0..9).map(|number| state(number, of_labels)).collect();
            states.retain(|state| {
                of_labels || convention == Convention::Segcal || state.regions.contains_key("foreground")
            });
            let cohort = cohort(&states, plan);
            states.sort_by(|a, b| a.case.cmp(&b.case));
            for row in &cohort.rows {
                let figures: Vec<_> = states.iter().map(|state| figure(state, row, plan)).collect();
                let values: Vec<f64> = figures.iter().map(|figure| figure.0).collect();
                assert_eq!(bits(&row.values), bits(&values), "{} of {}", row.metric.key, row.of);
                assert!(row.notes.iter().map(|note| note.text()).eq(figures.iter().map(|figure| figure.2)));
                let of_each = figures.iter().zip(&states);
                let outcomes: Vec<(Outcome, f64)> =
                    of_each.filter_map(|(figure, state)| Some((figure.1?, state.diagonal))).collect();
                let summary = match row.kind {
                    Kind::Structure => Summary::new(row.metric, &outcomes, empty),
                    Kind::Region => {
                        let defined = outcomes.iter().map(|(outcome, _)| outcome.formula().unwrap_or(f64::NAN));
                        Summary::of_defined(&defined.collect::<Vec<_>>())
                    }
                };
                assert_eq!(format!("{:?}", row.summary), format!("{summary:?}"));
                let defined: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
                let interval = (defined.len() > 1 && summary.mean.is_finite())
                    .then(|| Bootstrap::of_mean(&defined, DEFAULT_REPLICATES, 4).bca(0.95));
                let ends = interval.map(|interval| [interval.lower, interval.upper]);
                assert_eq!(row.interval, ends, "{} of {}", row.metric.key, row.of);
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_order_of_the_states() {
    let plan = Plan { empty: Policy::Nan, convention: Convention::Segcal, seed: 0 };
    let states: Vec<CaseState> = (0..9).map(|number| state(number, false)).collect();
    let backwards: Vec<CaseState> = states.iter().rev().cloned().collect();
    let written = |states: &[CaseState]| {
        let (cohort, mut csv, mut json) = (cohort(states, plan), Vec::new(), Vec::new());
        cohort.write_cases_csv(&mut csv).unwrap();
        output::write_json(&mut json, &cohort.to_json()).unwrap();
        (cohort.name("1"), cohort.summary_csv(), String::from_utf8(csv).unwrap(), String::from_utf8(json).unwrap())
    };
    let forth = written(&states);
    assert_eq!(forth, written(&backwards));
    assert_eq!(forth.0, "1 name 0", "the name by the first case");
    assert!(forth.3.contains("\"case 0: doubtful\"") && forth.3.contains("\"ignored\": {\n    \"case 0\": 0,"));
}
