//! Empty masks: the value of a metric if the reference, the prediction or both contain no voxel of a structure.
//!
//! A metric returns an [`Outcome`], which records which masks are empty in addition to the number. A [`Policy`] later
//! turns it into a number. [`Summary`] counts the cases with empty masks and bounds the mean over all policies.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::stats::mean;

/// Which masks of a case are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emptiness {
    /// Neither mask is empty.
    Neither,
    /// Only the prediction is empty: a missed structure.
    Prediction,
    /// Only the reference is empty: a false alarm.
    Reference,
    /// Both masks are empty: they agree that the structure is absent.
    Both,
}

impl Emptiness {
    /// Determines it from the number of voxels in each mask.
    pub const fn of(prediction: u64, reference: u64) -> Self {
        match (prediction, reference) {
            (0, 0) => Self::Both,
            (0, _) => Self::Prediction,
            (_, 0) => Self::Reference,
            _ => Self::Neither,
        }
    }
}

/// The value of a metric for one case, and which masks were empty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Neither mask is empty; the value of the metric's formula.
    Measured(f64),
    /// A mask is empty.
    Empty {
        /// Which one.
        which: Emptiness,
        /// The value of the formula if it is defined nevertheless (a DSC of 0 for a missed structure), or `None` if it
        /// is not (0 / 0, a distance to an empty mask).
        formula: Option<f64>,
    },
}

impl Outcome {
    /// Combines the formula's value with the emptiness of the masks.
    pub const fn new(which: Emptiness, formula: Option<f64>) -> Self {
        match (which, formula) {
            (Emptiness::Neither, Some(value)) => Self::Measured(value),
            _ => Self::Empty { which, formula },
        }
    }

    /// Which mask is empty.
    pub const fn emptiness(&self) -> Emptiness {
        match *self {
            Self::Measured(_) => Emptiness::Neither,
            Self::Empty { which, .. } => which,
        }
    }

    /// The formula's value, or `None` if it is undefined.
    pub const fn formula(&self) -> Option<f64> {
        match *self {
            Self::Measured(value) => Some(value),
            Self::Empty { formula, .. } => formula,
        }
    }
}

/// How empty masks are scored.
///
/// | masks | `nan` | `papers` | `worst` | `penalise` |
/// |---|---|---|---|---|
/// | only the prediction empty | formula, else NaN | formula, else 0 | formula, else worst | formula, else penalty |
/// | only the reference empty | formula, else NaN | best value | formula, else worst | formula, else penalty |
/// | both empty | NaN | best value | best value | best value |
///
/// The best value is 1 for overlaps and 0 for distances and errors; the worst is 0 for overlaps and infinity for
/// distances and errors. The penalty is the worst value if that is finite, the diagonal of the grid for distances and 1
/// for the volume error, so that means stay finite. `papers` is the rule of the authors' test evaluator, which gives a
/// missed structure a distance of 0: it exists for comparison with published tables, not because it is sensible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Undefined values are NaN and excluded from means (but counted).
    Nan,
    /// The rule of the authors' evaluator: 1 or 0.
    Papers,
    /// The worst value of the metric's range.
    Worst,
    /// A finite bad value: the grid's diagonal for distances.
    Penalise,
}

impl Policy {
    /// Every policy, in the order of the command-line help.
    pub const ALL: [Self; 4] = [Self::Nan, Self::Papers, Self::Worst, Self::Penalise];

    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nan => "nan",
            Self::Papers => "papers",
            Self::Worst => "worst",
            Self::Penalise => "penalise",
        }
    }

    /// Looks up a policy by name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// The value that the policy assigns to an outcome of `metric` on a grid with this diagonal, in the grid's unit of
    /// length.
    pub fn resolve(self, outcome: Outcome, metric: &Metric, diagonal: f64) -> f64 {
        let Outcome::Empty { which, formula } = outcome else { return outcome.formula().unwrap_or(f64::NAN) };
        match (self, which) {
            (Self::Nan, _) => formula.unwrap_or(f64::NAN),
            (_, Emptiness::Both | Emptiness::Neither) | (Self::Papers, Emptiness::Reference) => metric.best(),
            (Self::Papers, Emptiness::Prediction) => formula.unwrap_or(0.0),
            (Self::Worst, _) => formula.unwrap_or(metric.worst()),
            (Self::Penalise, _) => formula.unwrap_or(metric.penalty(diagonal)),
        }
    }
}

/// Number of cases by which masks are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyCounts {
    /// Neither mask is empty.
    pub neither: u64,
    /// Only the prediction is empty.
    pub prediction: u64,
    /// Only the reference is empty.
    pub reference: u64,
    /// Both masks are empty.
    pub both: u64,
}

impl EmptyCounts {
    /// Counts one more case.
    pub const fn add(&mut self, which: Emptiness) {
        match which {
            Emptiness::Neither => self.neither += 1,
            Emptiness::Prediction => self.prediction += 1,
            Emptiness::Reference => self.reference += 1,
            Emptiness::Both => self.both += 1,
        }
    }

    /// Number of cases.
    pub const fn cases(&self) -> u64 {
        self.neither + self.any()
    }

    /// Number of cases with an empty mask.
    pub const fn any(&self) -> u64 {
        self.prediction + self.reference + self.both
    }
}

/// The mean of a metric over cases, with the counts of empty masks and bounds that hold for every policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean over the cases that have a value under the policy; NaN if there is none.
    pub mean: f64,
    /// Number of cases in that mean.
    pub cases: u64,
    /// Mean over all cases if every undefined outcome counted as perfect; at least as good as [`Self::mean`].
    pub best: f64,
    /// Mean over all cases if every undefined outcome counted as [`Metric::penalty`], or as the value that the policy
    /// assigns if that is worse (infinity with [`Policy::Worst`]).
    pub worst: f64,
    /// Counts of empty masks.
    pub empty: EmptyCounts,
}

impl Summary {
    /// Summarises `metric` over `(outcome, grid diagonal)` of each case.
    pub fn new(metric: &Metric, outcomes: &[(Outcome, f64)], policy: Policy) -> Self {
        let mut empty = EmptyCounts::default();
        for (outcome, _) in outcomes {
            empty.add(outcome.emptiness());
        }
        let values: Vec<f64> =
            outcomes.iter().map(|&(outcome, diagonal)| policy.resolve(outcome, metric, diagonal)).collect();
        // The bounds include the policy's value even if it differs from the formula's.
        let bound = |ends: fn(&Metric, f64, f64) -> f64, otherwise: &dyn Fn(f64) -> f64| {
            let filled = |(&(outcome, diagonal), &value): (&(Outcome, f64), &f64)| {
                let open = outcome.formula().unwrap_or_else(|| otherwise(diagonal));
                if value.is_nan() { open } else { ends(metric, open, value) }
            };
            mean(outcomes.iter().zip(&values).map(filled))
        };
        Self {
            best: bound(Metric::better_of, &|_| metric.best()),
            worst: bound(Metric::worse_of, &|diagonal| metric.penalty(diagonal)),
            empty,
            ..Self::of_defined(&values)
        }
    }

    /// Summarises values to which no policy applies. NaN, the value of a region without voxels, is excluded from the
    /// mean and counted as empty in both maps; both bounds equal the mean.
    pub fn of_defined(values: &[f64]) -> Self {
        let cases = values.iter().filter(|value| !value.is_nan()).count() as u64;
        let mean = mean(values.iter().copied().filter(|value| !value.is_nan()));
        let empty = EmptyCounts { neither: cases, both: values.len() as u64 - cases, ..EmptyCounts::default() };
        Self { mean, cases, best: mean, worst: mean, empty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::metric;

    const MISSED: Outcome = Outcome::Empty { which: Emptiness::Prediction, formula: None };
    const ALARM: Outcome = Outcome::Empty { which: Emptiness::Reference, formula: None };
    const NOTHING: Outcome = Outcome::Empty { which: Emptiness::Both, formula: None };

    #[test]
    fn every_policy_for_a_distance() {
        let hd = metric("hd").expect("in the table");
        let row = |policy: Policy| [MISSED, ALARM, NOTHING].map(|outcome| policy.resolve(outcome, hd, 7.0));
        assert!(row(Policy::Nan).iter().all(|value| value.is_nan()));
        assert_eq!(row(Policy::Papers), [0.0, 0.0, 0.0]);
        assert_eq!(row(Policy::Worst), [f64::INFINITY, f64::INFINITY, 0.0]);
        assert_eq!(row(Policy::Penalise), [7.0, 7.0, 0.0]);
    }

    #[test]
    fn every_policy_for_the_dice() {
        let dsc = metric("dsc").expect("in the table");
        let missed = Outcome::new(Emptiness::Prediction, Some(0.0));
        let alarm = Outcome::new(Emptiness::Reference, Some(0.0));
        let row = |policy: Policy| [missed, alarm].map(|outcome| policy.resolve(outcome, dsc, 7.0));
        assert_eq!(row(Policy::Nan), [0.0, 0.0]);
        assert_eq!(row(Policy::Papers), [0.0, 1.0]);
        assert_eq!(row(Policy::Worst), [0.0, 0.0]);
        assert_eq!(row(Policy::Penalise), [0.0, 0.0]);
        assert_eq!(Policy::Worst.resolve(NOTHING, dsc, 7.0), 1.0);
    }

    #[test]
    fn a_summary_counts_and_bounds() {
        let hd = metric("hd").expect("in the table");
        let outcomes = [(Outcome::Measured(2.0), 10.0), (MISSED, 10.0), (NOTHING, 10.0)];
        let summary = Summary::new(hd, &outcomes, Policy::Nan);
        assert_eq!((summary.mean, summary.cases), (2.0, 1));
        assert_eq!((summary.best, summary.worst), (2.0 / 3.0, 22.0 / 3.0));
        assert_eq!(summary.empty, EmptyCounts { neither: 1, prediction: 1, reference: 0, both: 1 });
        assert!(Summary::new(hd, &[], Policy::Worst).mean.is_nan());
    }

    #[test]
    fn the_bounds_hold_the_mean_of_every_policy() {
        let missed = |formula| Outcome::Empty { which: Emptiness::Prediction, formula };
        let alarm = |formula| Outcome::Empty { which: Emptiness::Reference, formula };
        for (key, measured, given) in [("hd", 2.0, [None, None]), ("dsc", 0.5, [Some(0.0), Some(0.0)])] {
            let metric = metric(key).expect("in the table");
            let outcomes = [Outcome::Measured(measured), missed(given[0]), alarm(given[1]), NOTHING];
            for policy in Policy::ALL {
                let Summary { mean, best, worst, .. } = Summary::new(metric, &outcomes.map(|o| (o, 7.0)), policy);
                assert!(
                    best.min(worst) <= mean && mean <= best.max(worst),
                    "{key} {policy:?}: {mean} in {best} {worst}"
                );
            }
        }
        let hd = metric("hd").expect("in the table");
        let summary = Summary::new(hd, &[(Outcome::Measured(2.0), 7.0), (MISSED, 7.0)], Policy::Worst);
        assert_eq!((summary.mean, summary.best, summary.worst), (f64::INFINITY, 1.0, f64::INFINITY));
    }

    #[test]
    fn regions_without_voxels_are_left_out_and_counted() {
        let summary = Summary::of_defined(&[0.25, f64::NAN, 0.75]);
        assert_eq!((summary.mean, summary.cases, summary.best, summary.worst), (0.5, 2, 0.5, 0.5));
        assert_eq!((summary.empty.both, summary.empty.any(), summary.empty.cases()), (1, 1, 3));
    }

    #[test]
    fn names_round_trip() {
        assert!(Policy::ALL.iter().all(|&policy| Policy::named(policy.name()) == Some(policy)));
        assert_eq!(Policy::named("zero"), None);
    }
}
