//! The evaluations of a comparison side by side.

use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_metrics::definitions::metric;
use segcal_metrics::metric::{Better, Metric};
use segcal_metrics::ranking::{Setting, Ties, friedman_rank, sum_rank};
use segcal_metrics::stats::mean_defined;

use super::plan::{Method, Plan};
use super::running::{Cell, Part};
use segcal_evaluate::methods::{self, Column};
use segcal_evaluate::ranks;
use segcal_evaluate::units::LengthUnit;

/// The rank of equal values: as in the papers, and as `segcal rank` has it unless asked otherwise.
const TIES: Ties = Ties::Minimum;

/// Everything that the evaluations of the methods say, of those methods whose every seed is done.
#[derive(Debug)]
pub struct Results<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// What everything was measured on.
    pub part: &'a Part,
    /// The methods.
    pub methods: Vec<&'a Method>,
    /// Every mean of every evaluation.
    pub figures: Vec<Figure>,
    /// One for each level of noise.
    pub levels: Vec<Level>,
    /// Where each evaluation lies: method, seed, noise, folder.
    pub folders: Vec<(usize, u64, f64, PathBuf)>,
    /// What went wrong elsewhere.
    pub failed: Vec<String>,
}

/// One mean over the cases of one evaluation.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Number of the method.
    pub method: usize,
    /// The seed.
    pub seed: u64,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// The structure; empty for a metric of a region.
    pub structure: String,
    /// The region; empty for a metric of a structure.
    pub region: String,
    /// The metric.
    pub metric: &'static Metric,
    /// Its unit in the evaluation.
    pub unit: String,
    /// Its mean over the cases.
    pub value: f64,
}

/// The methods at one level of noise, over the cases of all seeds.
#[derive(Clone, Debug)]
pub struct Level {
    /// Standard deviation of the noise.
    pub noise: f64,
    /// Each metric of the plan in each case of each seed.
    pub columns: Vec<Column>,
    /// Ranks of the methods by each metric.
    pub ranks: Vec<Vec<f64>>,
    /// Their sums over the metrics.
    pub sum_ranks: Vec<f64>,
    /// Mean over cases of the mean rank within the case.
    pub case_ranks: Vec<f64>,
    /// Mean of the ranks over the metrics.
    pub friedman_ranks: Vec<f64>,
}

/// A figure over the seeds.
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

    /// The standard deviation over the seeds, `sqrt(sum (x - mean)^2 / (n - 1))`; NaN of fewer than two.
    pub fn sd(&self) -> f64 {
        if self.values.len() < 2 {
            return f64::NAN;
        }
        let mean = self.mean();
        let squares: f64 = self.values.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / (self.values.len() - 1) as f64).sqrt()
    }
}

impl<'a> Results<'a> {
    /// Reads the evaluations of these cells, which are all those of some of the plan's methods.
    ///
    /// # Errors
    /// There is none, or a file cannot be read.
    pub fn read(plan: &'a Plan, part: &'a Part, done: &[&Cell<'a>], failed: Vec<String>) -> Result<Self> {
        let mut numbers: Vec<usize> = done.iter().map(|cell| cell.number).collect();
        numbers.dedup();
        if numbers.is_empty() {
            return Err(Error::new("no method is done with all its seeds").at(plan.out.display()));
        }
        let methods = numbers.iter().map(|&number| &plan.methods[number]).collect();
        let (mut figures, mut folders) = (Vec::new(), Vec::new());
        for cell in done {
            let method = numbers.iter().position(|&number| number == cell.number).expect("it is one of them");
            for &noise in &plan.noise {
                let folder = cell.evaluation(noise);
                figures.extend(read_figures(&folder, method, cell.seed, noise)?);
                folders.push((method, cell.seed, noise, folder));
            }
        }
        let mut results = Self { plan, part, methods, figures, levels: Vec::new(), folders, failed };
        results.levels = plan.noise.iter().map(|&noise| results.level(noise)).collect::<Result<_>>()?;
        Ok(results)
    }

    /// The unit of lengths, that of the evaluations.
    pub fn lengths(&self) -> LengthUnit {
        let in_voxels = |figure: &Figure| figure.unit == LengthUnit::Voxels.name();
        if self.figures.iter().any(in_voxels) { LengthUnit::Voxels } else { LengthUnit::Mm }
    }

    /// The single labels, by number.
    pub fn labels(&self) -> Vec<String> {
        let mut labels: Vec<u16> = self.figures.iter().filter_map(|figure| figure.structure.parse().ok()).collect();
        labels.sort_unstable();
        labels.dedup();
        labels.into_iter().map(|label| label.to_string()).collect()
    }

    /// A figure of a structure or a region, over the seeds.
    pub fn spread(&self, method: usize, noise: f64, metric: &Metric, of: &str) -> Spread {
        let wanted = |figure: &&Figure| {
            let name = if metric.per_structure() { &figure.structure } else { &figure.region };
            (figure.method, figure.noise, figure.metric.key) == (method, noise, metric.key) && name == of
        };
        Spread { values: self.figures.iter().filter(wanted).map(|figure| figure.value).collect() }
    }

    /// The figure of a table's cell, over the seeds: of overlap and surface the mean over the single labels, of
    /// calibration that of the plan's region.
    pub fn headline(&self, method: usize, noise: f64, metric: &Metric) -> Spread {
        if !metric.per_structure() {
            return self.spread(method, noise, metric, &self.plan.region);
        }
        let labels = self.labels();
        let each: Vec<Spread> = labels.iter().map(|label| self.spread(method, noise, metric, label)).collect();
        let of_seed = |seed: usize| {
            each.iter().map(|spread| spread.values.get(seed).copied().unwrap_or(f64::NAN)).sum::<f64>()
                / labels.len() as f64
        };
        Spread { values: (0..self.plan.seeds.len()).map(of_seed).collect() }
    }

    fn level(&self, noise: f64) -> Result<Level> {
        let joined = |number: usize| {
            let own = self.folders.iter().filter(|(method, _, level, _)| *method == number && *level == noise);
            let tables =
                own.map(|(_, seed, _, folder)| methods::Method::read(format!("seed-{seed}"), folder.join("cases.csv")));
            Ok(methods::Method::joined(self.methods[number].name.clone(), tables.collect::<Result<_>>()?))
        };
        let joined: Vec<methods::Method> = (0..self.methods.len()).map(joined).collect::<Result<_>>()?;
        let (labels, region) = (self.labels(), [self.plan.region.clone()]);
        let subjects = |metric: &Metric| if metric.per_structure() { labels.as_slice() } else { &region };
        let columns = self.plan.metrics.iter().map(|metric| methods::column(&joined, metric, subjects(metric)));
        let columns: Vec<Column> = columns.collect::<Result<_>>()?;
        let settings: Vec<Setting> = columns.iter().map(ranks::of_means).collect();
        let within = ranks::within_cases(&columns.iter().collect::<Vec<_>>(), TIES);
        let of_method = |method: usize| mean_defined(within.iter().map(|ranks| ranks[method]));
        Ok(Level {
            noise,
            ranks: settings.iter().map(|setting| setting.ranks(TIES)).collect(),
            sum_ranks: sum_rank(&settings, TIES),
            case_ranks: (0..joined.len()).map(of_method).collect(),
            friedman_ranks: friedman_rank(&settings, TIES),
            columns,
        })
    }
}

/// The places (1 for the best) of values, as far as there are two different ones; a tie shares a place.
pub fn places(better: Better, values: &[f64]) -> Vec<Option<usize>> {
    let ranks = Setting { better, values: values.to_vec() }.ranks(Ties::Minimum);
    let differ = ranks.iter().any(|&rank| rank > 1.0);
    let place = |(rank, value): (&f64, &f64)| (differ && !value.is_nan()).then_some(*rank as usize);
    ranks.iter().zip(values).map(place).collect()
}

/// The means of a `summary.csv`.
fn read_figures(folder: &Path, method: usize, seed: u64, noise: f64) -> Result<Vec<Figure>> {
    #[derive(serde::Deserialize)]
    struct Line {
        structure: String,
        region: String,
        metric: String,
        unit: String,
        mean: f64,
    }
    let path = folder.join("summary.csv");
    let mut reader = csv::Reader::from_path(&path).map_err(Error::from_source).at(path.display())?;
    let figure = |line: csv::Result<Line>| {
        let Line { structure, region, metric: key, unit, mean: value } =
            line.map_err(Error::from_source).at(path.display())?;
        let metric = metric(&key).ok_or_else(|| Error::new(format!("there is no metric {key}")).at(path.display()))?;
        Ok(Figure { method, seed, noise, structure, region, metric, unit, value })
    };
    reader.deserialize().map(figure).collect()
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
