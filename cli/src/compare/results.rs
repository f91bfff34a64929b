//! The evaluations of a comparison side by side.

use std::path::PathBuf;

use segcal_core::{Error, Result};
use segcal_evaluate::calibrate::map::Method as Map;
use segcal_evaluate::methods::{self, Column};
use segcal_evaluate::ranking::{Group, Options, Ranking};
use segcal_evaluate::units::LengthUnit;
use segcal_metrics::bootstrap::DEFAULT_REPLICATES;
use segcal_metrics::metric::{Better, Metric};
use segcal_metrics::ranking::{Setting, Ties};

use super::part::Parts;
use super::plan::{Method, Plan};
use super::selection::{self, Mean};
use super::step::View;
use super::unit::Unit;

/// The rank of equal values: as in the papers, and the default of `segcal rank`.
const TIES: Ties = Ties::Minimum;

/// The results of all evaluations of the methods whose trainings are all done.
pub struct Results<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The cases that each arm was evaluated on.
    pub parts: &'a [Parts],
    /// The methods.
    pub methods: Vec<&'a Method>,
    /// The rows of the tables: each method as trained, and after each map.
    pub rows: Vec<Row>,
    /// Every mean of every evaluation.
    pub figures: Vec<Figure>,
    /// One for each arm and level of noise, grouped by level.
    pub levels: Vec<Level>,
    /// The ranks over all arms at each level of noise.
    pub overall: Vec<Ranking>,
    /// The results of grid values on the validation part.
    pub trials: Vec<Tried>,
    /// Index of the trial that is evaluated, for each method on each arm.
    pub chosen: Vec<Vec<usize>>,
    /// Where each evaluation is stored.
    pub folders: Vec<Folder>,
    /// What failed.
    pub failed: Vec<String>,
}

/// A row of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name: the method's, followed by the map's.
    pub name: String,
    /// Index of the method.
    pub method: usize,
    /// The map, if any.
    pub map: Option<Map>,
}

/// Where an evaluation is stored.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Index of the row.
    pub row: usize,
    /// Index of the arm.
    pub arm: usize,
    /// The seed.
    pub seed: u64,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// Folder of the evaluation.
    pub evaluation: PathBuf,
    /// Folder of the predictions.
    pub predictions: PathBuf,
}

/// One mean over the cases of one evaluation.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Index of the row.
    pub row: usize,
    /// Index of the arm.
    pub arm: usize,
    /// The seed.
    pub seed: u64,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// What was measured, and its value.
    pub of: Mean,
}

/// One data set with one network at one level of noise.
pub struct Level {
    /// Index of the arm.
    pub arm: usize,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// Each metric of the plan for each row in each case, averaged over the seeds within the case.
    pub columns: Vec<Column>,
    /// The ranks of the methods here.
    pub ranking: Ranking,
}

/// The results of one grid value on the validation part of an arm.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Index of the method.
    pub method: usize,
    /// Index of the arm.
    pub arm: usize,
    /// Index of the trial.
    pub trial: usize,
    /// Each metric of the plan, over the seeds; empty if the trial failed.
    pub values: Vec<Spread>,
}

/// A metric over the seeds.
#[derive(Clone, Debug)]
pub struct Spread {
    /// One value for each seed.
    pub values: Vec<f64>,
}

impl Spread {
    /// The mean over the seeds.
    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// The standard deviation over the seeds, `sqrt(sum (x - mean)^2 / (n - 1))`; NaN for fewer than two.
    pub fn sd(&self) -> f64 {
        deviation(&self.values)
    }
}

/// The standard deviation with `n - 1` degrees of freedom; NaN for fewer than two values.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

impl<'a> Results<'a> {
    /// Reads the evaluations of the units `done`, which are the chosen ones of some of the plan's methods, on every arm
    /// with every seed; from `units`, all units of the plan, reads the results of grid values.
    ///
    /// # Errors
    /// `done` is empty, or a file cannot be read.
    pub fn read(
        plan: &'a Plan,
        parts: &'a [Parts],
        done: &[&Unit<'a>],
        units: &[Unit<'a>],
        failed: Vec<String>,
    ) -> Result<Self> {
        let mut numbers: Vec<usize> = done.iter().map(|unit| unit.method).collect();
        numbers.dedup();
        if numbers.is_empty() {
            return Err(Error::new("no method is complete with all its seeds").at(plan.out.display()));
        }
        let methods: Vec<&Method> = numbers.iter().map(|&number| &plan.methods[number]).collect();
        let rows = rows(plan, &methods);
        let (mut figures, mut folders) = (Vec::new(), Vec::new());
        let mut chosen = vec![vec![0; plan.arms.len()]; methods.len()];
        for unit in done.iter().filter(|unit| unit.fold.is_none_or(|fold| fold == 0)) {
            let method = numbers.iter().position(|&number| number == unit.method).expect("it is one of them");
            chosen[method][unit.arm] = unit.trial;
            for (number, row) in rows.iter().enumerate().filter(|(_, row)| row.method == method) {
                for &noise in &plan.noise {
                    let view = row.map.map_or(View::Noise(noise), |map| View::Calibrated(map, noise));
                    let evaluation = unit.pooled_evaluation(view);
                    let predictions = of_subject(plan, parts, unit, done).predictions(view);
                    let (arm, seed) = (unit.arm, unit.seed);
                    let of = selection::means(&evaluation)?.into_iter();
                    figures.extend(of.map(|of| Figure { row: number, arm, seed, noise, of }));
                    folders.push(Folder { row: number, arm, seed, noise, evaluation, predictions });
                }
            }
        }
        let (levels, overall) = (Vec::new(), Vec::new());
        let trials = trials(plan, &numbers, units)?;
        let mut results =
            Self { plan, parts, methods, rows, figures, levels, overall, trials, chosen, folders, failed };
        for &noise in &plan.noise {
            let groups: Vec<Group> =
                (0..plan.arms.len()).map(|arm| results.group(arm, noise)).collect::<Result<_>>()?;
            for (arm, group) in groups.iter().enumerate() {
                let level = results.level(arm, noise, group)?;
                results.levels.push(level);
            }
            let ranked = groups.into_iter().map(|group| results.ranked(group)).collect::<Vec<_>>();
            results.overall.push(Ranking::new(&results.options(), &ranked)?);
        }
        Ok(results)
    }

    /// The unit of lengths, that of the evaluations.
    pub fn lengths(&self) -> LengthUnit {
        let in_voxels = |figure: &Figure| figure.of.unit == LengthUnit::Voxels.name();
        if self.figures.iter().any(in_voxels) { LengthUnit::Voxels } else { LengthUnit::Mm }
    }

    /// The unit of lengths on an arm: pictures and arrays have no millimetres.
    pub fn lengths_at(&self, arm: usize) -> LengthUnit {
        let in_voxels = |figure: &Figure| figure.arm == arm && figure.of.unit == LengthUnit::Voxels.name();
        if self.figures.iter().any(in_voxels) { LengthUnit::Voxels } else { LengthUnit::Mm }
    }

    /// The means of one evaluation.
    fn means(&self, row: usize, arm: usize, noise: f64, seed: u64) -> Vec<Mean> {
        let own = |figure: &&Figure| (figure.row, figure.arm, figure.noise, figure.seed) == (row, arm, noise, seed);
        self.figures.iter().filter(own).map(|figure| figure.of.clone()).collect()
    }

    /// The structures that an arm's tables average over: the plan's regions, or else the single labels.
    pub fn structures(&self, arm: usize) -> Vec<String> {
        let own: Vec<Mean> =
            self.figures.iter().filter(|figure| figure.arm == arm).map(|figure| figure.of.clone()).collect();
        selection::structures(self.plan, arm, &own)
    }

    /// A metric of a structure or a region, over the seeds.
    pub fn spread(&self, row: usize, arm: usize, noise: f64, metric: &Metric, of: &str) -> Spread {
        let wanted = |figure: &&Figure| {
            let name = if metric.per_structure() { &figure.of.structure } else { &figure.of.region };
            (figure.row, figure.arm, figure.noise, figure.of.metric.key) == (row, arm, noise, metric.key) && name == of
        };
        Spread { values: self.figures.iter().filter(wanted).map(|figure| figure.of.value).collect() }
    }

    /// The value of a table cell, over the seeds: for overlap and surface metrics the mean over the structures, for
    /// calibration metrics that of the plan's region.
    pub fn headline(&self, row: usize, arm: usize, noise: f64, metric: &Metric) -> Spread {
        let structures = self.structures(arm);
        let of_seed = |&seed: &u64| {
            selection::headline(&self.means(row, arm, noise, seed), metric, &structures, &self.plan.region)
        };
        Spread { values: self.plan.seeds.iter().map(of_seed).collect() }
    }

    /// An arm at a level of noise.
    pub fn at(&self, arm: usize, noise: f64) -> &Level {
        let found = self.levels.iter().find(|level| (level.arm, level.noise) == (arm, noise));
        found.expect("every arm has every level")
    }

    /// The row of a method as trained, without a map.
    pub fn row_of(&self, method: usize) -> usize {
        let own = |row: &Row| row.method == method && row.map.is_none();
        self.rows.iter().position(own).expect("every method has a row")
    }

    fn options(&self) -> Options {
        Options {
            metrics: self.plan.metrics.iter().map(|metric| metric.key.to_owned()).collect(),
            region: self.plan.region.clone(),
            structures: Vec::new(),
            ties: TIES,
            replicates: DEFAULT_REPLICATES,
            seed: 0,
        }
    }

    /// Every row of an arm at a level of noise, averaged over the seeds within each case.
    fn group(&self, arm: usize, noise: f64) -> Result<Group> {
        let averaged = |number: usize| {
            let own = self.folders.iter().filter(|of| (of.row, of.arm, of.noise) == (number, arm, noise));
            let tables =
                own.map(|of| methods::Method::read(format!("seed-{}", of.seed), of.evaluation.join("cases.csv")));
            methods::Method::averaged(self.rows[number].name.clone(), tables.collect::<Result<_>>()?)
        };
        let methods = (0..self.rows.len()).map(averaged).collect::<Result<_>>()?;
        let (name, cases_of) = (self.plan.arms[arm].name(), self.plan.arms[arm].cases_of);
        Ok(Group { name, methods, structures: self.structures(arm), cases_of })
    }

    /// Only the methods as trained: maps are not ranked.
    fn ranked(&self, mut group: Group) -> Group {
        let mut rows = self.rows.iter();
        group.methods.retain(|_| rows.next().is_some_and(|row| row.map.is_none()));
        group
    }

    fn level(&self, arm: usize, noise: f64, group: &Group) -> Result<Level> {
        let (structures, region) = (self.structures(arm), [self.plan.region.clone()]);
        let subjects = |metric: &Metric| if metric.per_structure() { structures.as_slice() } else { &region };
        let columns = self.plan.metrics.iter().map(|metric| methods::column(&group.methods, metric, subjects(metric)));
        let columns: Vec<Column> = columns.collect::<Result<_>>()?;
        let group = Group { name: group.name.clone(), methods: group.methods.clone(), structures, cases_of: 0 };
        Ok(Level { arm, noise, columns, ranking: Ranking::new(&self.options(), &[self.ranked(group)])? })
    }
}

/// The training of the fold whose held-out cases include the subject of the figure; without folds, the training itself.
fn of_subject<'u, 'a>(plan: &Plan, parts: &[Parts], unit: &'u Unit<'a>, done: &'u [&'u Unit<'a>]) -> &'u Unit<'a> {
    let subject = parts[unit.arm].measured.subject(plan);
    let holds = |other: &&&Unit<'_>| other.is_with(unit) && other.measured().iter().any(|case| Some(case) == subject);
    done.iter().find(holds).copied().filter(|_| unit.fold.is_some()).unwrap_or(unit)
}

fn rows(plan: &Plan, methods: &[&Method]) -> Vec<Row> {
    let of_method = |(number, method): (usize, &&Method)| {
        let maps = plan.calibrate.iter().map(|&map| Some(map));
        let name = method.name.clone();
        let row = move |map: Option<Map>| {
            let more = map.map_or_else(String::new, |map| format!(" + {}", map.name()));
            Row { name: format!("{name}{more}"), method: number, map }
        };
        std::iter::once(None).chain(maps).map(row).collect::<Vec<_>>()
    };
    methods.iter().enumerate().flat_map(of_method).collect()
}

/// The validation results of every trial of the methods with a grid.
fn trials(plan: &Plan, numbers: &[usize], units: &[Unit<'_>]) -> Result<Vec<Tried>> {
    let mut found = Vec::new();
    for (method, &number) in numbers.iter().enumerate().filter(|(_, number)| plan.methods[**number].has_grid()) {
        for arm in 0..plan.arms.len() {
            for trial in 0..plan.methods[number].trials.len() {
                let own = |unit: &&Unit<'_>| (unit.method, unit.arm, unit.trial) == (number, arm, trial);
                let own: Vec<&Unit<'_>> = units.iter().filter(own).collect();
                let spread = |metric: &&'static Metric| {
                    Ok(selection::validation(&own, plan, metric)?.map(|values| Spread { values }))
                };
                let values: Option<Vec<Spread>> = plan.metrics.iter().map(spread).collect::<Result<_>>()?;
                found.push(Tried { method, arm, trial, values: values.unwrap_or_default() });
            }
        }
    }
    Ok(found)
}

/// The places (1 for the best) of values, if at least two of them differ; equal values share a place.
#[expect(clippy::cast_possible_truncation, reason = "ranks count the values")]
pub fn places(better: Better, values: &[f64]) -> Vec<Option<usize>> {
    let ranks = Setting { better, values: values.to_vec() }.ranks(Ties::Minimum);
    let differ = ranks.iter().any(|&rank| rank > 1.0);
    let place = |(rank, value): (&f64, &f64)| (differ && !value.is_nan()).then_some(*rank as usize);
    ranks.iter().zip(values).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_deviation_by_hand() {
        let spread = Spread { values: vec![1.0, 2.0, 6.0] };
        assert_eq!((spread.mean(), spread.sd()), (3.0, 7.0_f64.sqrt()));
        assert!(Spread { values: vec![1.0] }.sd().is_nan());
    }

    #[test]
    fn places_are_given_where_values_differ() {
        let of = |better, values: &[f64]| places(better, values);
        assert_eq!(of(Better::Higher, &[0.5, 0.7, f64::NAN]), [Some(2), Some(1), None]);
        assert_eq!(of(Better::Zero, &[-0.5, 0.2, 0.2]), [Some(3), Some(1), Some(1)]);
        assert_eq!(of(Better::Lower, &[0.5, 0.5]), [None, None]);
        assert_eq!(of(Better::Lower, &[0.5]), [None]);
    }
}
