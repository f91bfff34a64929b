//! The results of several methods on the same cases, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result, nearest};
use segcal_metrics::definitions::{METRICS, metric};
use segcal_metrics::metric::{Better, Metric};

use super::units::LengthUnit;
use segcal_data::limits;
use segcal_data::output::plain;

/// Maximum number of path components in the name of a method.
const DEEPEST_NAME: usize = 4;

/// One method's `cases.csv`.
#[derive(Clone, Debug)]
pub struct Method {
    /// Name of the method: that of its folder or file.
    pub name: String,
    path: PathBuf,
    /// The unit of its lengths.
    lengths: LengthUnit,
    /// `cells[case][(structure or region, metric)]`.
    cells: BTreeMap<String, BTreeMap<(String, String), Cell>>,
}

/// One number of a `cases.csv`.
#[derive(Clone, Copy, Debug)]
struct Cell {
    value: f64,
    /// Whether it is undefined because the prediction is empty but the reference is not.
    missed: bool,
}

/// One metric for all methods.
#[derive(Clone, Debug)]
pub struct Column {
    /// The metric.
    pub metric: &'static Metric,
    /// Its unit in the tables.
    pub unit: &'static str,
    /// `values[method][case]`: the mean over the structures, NaN if undefined. For a metric that is signed and best at
    /// 0, the absolute value.
    pub values: Vec<Vec<f64>>,
    /// Number of cases for which a method's value is undefined because it missed a structure entirely.
    pub missed: Vec<usize>,
    /// Number of pairs of case and structure (or region) that are excluded for all methods, because the value of some
    /// method is undefined although it did not miss the structure.
    pub left_out: usize,
}

impl Column {
    /// Whether higher or lower values are better.
    pub const fn better(&self) -> Better {
        match self.metric.better {
            Better::Zero => Better::Lower,
            other => other,
        }
    }
}

/// The metrics with these keys.
///
/// # Errors
/// A metric is unknown, appears twice, or is descriptive and cannot be ranked.
pub fn metrics(keys: &[String]) -> Result<Vec<&'static Metric>> {
    let mut found: Vec<&'static Metric> = Vec::with_capacity(keys.len());
    for key in keys {
        let row = metric(key).ok_or_else(|| {
            let error = Error::new(format!("unknown metric {key}")).at("--metrics");
            match nearest(key, METRICS.iter().map(|metric| metric.key)) {
                Some(near) => error.help(format!("did you mean {near}? segcal list metrics shows all")),
                None => error.help("segcal list metrics shows all"),
            }
        })?;
        if !row.judges() {
            return Err(Error::new(format!(
                "{key} is descriptive: it has no better direction, so it cannot be ranked"
            ))
            .at("--metrics"));
        }
        if found.iter().any(|other| other.key == row.key) {
            return Err(Error::new(format!("{key} appears twice")).at("--metrics"));
        }
        found.push(row);
    }
    Ok(found)
}

/// Reads the tables and checks that they have the same cases.
///
/// # Errors
/// A file is not such a table, the methods cannot be distinguished by name, or one of them lacks a case.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Method>> {
    let files: Vec<PathBuf> =
        paths.iter().map(|path| if path.is_dir() { path.join("cases.csv") } else { path.clone() }).collect();
    let names = names(&files)?;
    let methods: Vec<Method> =
        names.into_iter().zip(files).map(|(name, path)| Method::read(name, path)).collect::<Result<_>>()?;
    let every: BTreeSet<&String> = methods.iter().flat_map(|method| method.cells.keys()).collect();
    for method in &methods {
        let absent: Vec<&str> =
            every.iter().filter(|case| !method.cells.contains_key(**case)).map(|case| case.as_str()).collect();
        if !absent.is_empty() {
            return Err(Error::new(format!("is missing cases that other methods have: {}", absent.join(", ")))
                .at(method.path.display())
                .help(
                    "methods are compared on the same cases: evaluate the missing ones, or remove them from the other \
                       tables",
                ));
        }
    }
    Ok(methods)
}

/// A unique name for each file: that of its folder if the file is called `cases.csv`, otherwise its own, prefixed with
/// as many parent folders as are needed to make the names unique.
fn names(files: &[PathBuf]) -> Result<Vec<String>> {
    let parts = |file: &Path| -> Vec<String> {
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        let own = if whole.file_name().is_some_and(|name| name == "cases.csv") {
            whole.parent().map(Path::to_path_buf).unwrap_or_default()
        } else {
            whole.with_extension("")
        };
        own.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let parts: Vec<Vec<String>> = files.iter().map(|file| parts(file)).collect();
    let names = |depth: usize| -> Vec<String> {
        parts.iter().map(|parts| parts[parts.len().saturating_sub(depth)..].join("/")).collect()
    };
    let unique = |names: &Vec<String>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    (1..=DEEPEST_NAME).map(names).find(unique).ok_or_else(|| {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        Error::new("the methods cannot be told apart by the names of their folders").at(files.join(", "))
    })
}

impl Method {
    /// Reads one table.
    ///
    /// # Errors
    /// The file is not such a table, or contains no case.
    pub fn read(name: String, path: PathBuf) -> Result<Self> {
        let text = limits::read(&path)?;
        let mut reader = csv::Reader::from_reader(&text[..]);
        let headers = reader.headers().map_err(Error::from_source).at(path.display())?.clone();
        let column = |name: &str| {
            headers.iter().position(|header| header == name).ok_or_else(|| {
                Error::new(format!("has no column {name}"))
                    .at(path.display())
                    .help("give the cases.csv of segcal evaluate")
            })
        };
        let [case, structure, region] = [column("case")?, column("structure")?, column("region")?];
        let [metric, value] = [column("metric")?, column("value")?];
        let optional = |name: &str| headers.iter().position(|header| header == name);
        let (note, unit) = (optional("note"), optional("unit"));
        let mut lengths = LengthUnit::Mm;
        let mut cells: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(Error::from_source).at(path.display())?;
            let line = record.position().map_or(0, csv::Position::line);
            let of = plain(if record[structure].is_empty() { &record[region] } else { &record[structure] });
            let case = plain(&record[case]);
            let number: f64 = record[value].parse().map_err(|_| {
                Error::new(format!("line {line}: '{}' is not a number", &record[value])).at(path.display())
            })?;
            let missed = number.is_nan() && note.is_some_and(|note| &record[note] == "prediction empty");
            if unit.is_some_and(|unit| &record[unit] == LengthUnit::Voxels.name()) {
                lengths = LengthUnit::Voxels;
            }
            let cell = Cell { value: number, missed };
            let key = (of.to_owned(), record[metric].to_owned());
            if cells.entry(case.to_owned()).or_default().insert(key, cell).is_some() {
                let what = format!("line {line}: {} of {of} in the case {case} appears twice", &record[metric]);
                return Err(Error::new(what).at(path.display()));
            }
        }
        if cells.is_empty() {
            return Err(Error::new("contains no case").at(path.display()));
        }
        Ok(Self { name, path, lengths, cells })
    }

    /// Averages several tables of the same cases, such as those of several seeds, into one method. Each value is the
    /// mean over the tables, and undefined if it is undefined in one of them. A case is one patient, however often it
    /// was measured.
    ///
    /// # Errors
    /// There is no table, or one lacks values that the first has.
    pub fn averaged(name: String, tables: Vec<Self>) -> Result<Self> {
        let mut tables = tables.into_iter();
        let Some(mut first) = tables.next() else { return Err(Error::new("no tables given").at(name)) };
        let mut count = 1.0;
        for table in tables {
            for (case, cells) in &mut first.cells {
                for ((of, key), cell) in cells {
                    let more = table.cell(case, of, key)?;
                    // Undefined because nothing was to be found overrides missed.
                    let undefined = |cell: &Cell| cell.value.is_nan() && !cell.missed;
                    let missed = (cell.missed || more.missed) && !undefined(cell) && !undefined(&more);
                    *cell = Cell { value: cell.value + more.value, missed };
                }
            }
            count += 1.0;
        }
        first.cells.values_mut().flat_map(BTreeMap::values_mut).for_each(|cell| cell.value /= count);
        Ok(Self { name, ..first })
    }

    /// The cases, by name.
    pub fn cases(&self) -> impl Iterator<Item = &String> {
        self.cells.keys()
    }

    /// The single labels for which any case has values; if there are none, the structures with other names (regions
    /// that are separate binary problems).
    pub fn labels(&self) -> Vec<String> {
        let keys = || self.cells.values().flat_map(|case| case.keys());
        let labels: BTreeSet<u16> = keys().filter_map(|(of, _)| of.parse().ok()).collect();
        if labels.is_empty() {
            let names: BTreeSet<&String> = keys().filter(|(_, key)| key == "dsc").map(|(of, _)| of).collect();
            return names.into_iter().cloned().collect();
        }
        labels.into_iter().map(|label| label.to_string()).collect()
    }

    fn cell(&self, case: &str, of: &str, key: &str) -> Result<Cell> {
        let found = self.cells.get(case).and_then(|cells| cells.get(&(of.to_owned(), key.to_owned())));
        found.copied().ok_or_else(|| {
            Error::new(format!("has no {key} of {of} for the case {case}"))
                .at(self.path.display())
                .help("evaluate all methods with the same settings, or choose other metrics")
        })
    }
}

/// A metric for all methods and cases, averaged over `subjects` (structures, or one region).
///
/// If the reference is empty and the value of any method is undefined, the structure is excluded from the case for
/// every method. If a method missed a structure entirely, its value for the case is undefined.
///
/// # Errors
/// A method has no such value for a case, or its lengths have another unit than those of the first.
pub fn column(methods: &[Method], metric: &'static Metric, subjects: &[String]) -> Result<Column> {
    let cases: Vec<&String> = methods[0].cells.keys().collect();
    let mut column = Column {
        metric,
        unit: unit(methods, metric)?,
        values: vec![Vec::with_capacity(cases.len()); methods.len()],
        missed: vec![0; methods.len()],
        left_out: 0,
    };
    for case in cases {
        let mut sums = vec![(0.0, 0_usize); methods.len()];
        let mut missed = vec![false; methods.len()];
        for of in subjects {
            let cells: Vec<Cell> =
                methods.iter().map(|method| method.cell(case, of, metric.key)).collect::<Result<_>>()?;
            if cells.iter().any(|cell| cell.value.is_nan() && !cell.missed) {
                column.left_out += 1;
                continue;
            }
            for (sum, cell) in sums.iter_mut().zip(&cells) {
                let value = if metric.better == Better::Zero { cell.value.abs() } else { cell.value };
                *sum = (sum.0 + value, sum.1 + 1);
            }
            missed.iter_mut().zip(&cells).for_each(|(missed, cell)| *missed |= cell.missed);
        }
        for (method, (sum, count)) in sums.into_iter().enumerate() {
            // 0 / 0 = NaN if everything is excluded.
            column.values[method].push(sum / count as f64);
            column.missed[method] += usize::from(missed[method]);
        }
    }
    Ok(column)
}

/// The unit of a metric in the tables of all methods.
fn unit(methods: &[Method], metric: &Metric) -> Result<&'static str> {
    let unit = methods[0].lengths.of(metric);
    match methods.iter().find(|method| method.lengths.of(metric) != unit) {
        None => Ok(unit),
        Some(other) => {
            let problem =
                format!("has {} in {}, but {} has it in {unit}", metric.key, other.lengths.of(metric), methods[0].name);
            Err(Error::new(problem).at(other.path.display()).help("evaluate all methods with or without --voxel-units"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_named_after_what_tells_them_apart() {
        let named = |files: &[&str]| names(&files.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(named(&["/a/ce/cases.csv", "/a/nacl.csv"]).unwrap(), ["ce", "nacl"]);
        assert_eq!(named(&["/a/ce/eval/cases.csv", "/a/nacl/eval/cases.csv"]).unwrap(), ["ce/eval", "nacl/eval"]);
        assert!(named(&["/a/ce/cases.csv", "/a/ce/cases.csv"]).unwrap_err().to_string().contains("told apart"));
    }

    #[test]
    fn seeds_are_averaged_within_a_case() {
        let table = |values: [(f64, bool); 2]| Method {
            name: String::new(),
            path: PathBuf::new(),
            lengths: LengthUnit::Mm,
            cells: ["a", "b"]
                .into_iter()
                .zip(values)
                .map(|(case, (value, missed))| {
                    let cell = (("1".to_owned(), "dsc".to_owned()), Cell { value, missed });
                    (case.to_owned(), BTreeMap::from([cell]))
                })
                .collect(),
        };
        let two = vec![table([(0.5, false), (0.25, false)]), table([(1.0, false), (f64::NAN, true)])];
        let mean = Method::averaged("x".into(), two).unwrap();
        assert_eq!(mean.cell("a", "1", "dsc").unwrap().value, 0.75);
        let missed = mean.cell("b", "1", "dsc").unwrap();
        assert!(missed.value.is_nan() && missed.missed);
    }

    #[test]
    fn what_is_missed_is_undefined_and_what_is_not_there_is_left_out() {
        let cell = |value, missed| Cell { value, missed };
        let method = |one: Cell, two: Cell| Method {
            name: String::new(),
            path: PathBuf::new(),
            lengths: LengthUnit::Mm,
            cells: BTreeMap::from([(
                "a".into(),
                BTreeMap::from([(("1".into(), "dsc".into()), one), (("2".into(), "dsc".into()), two)]),
            )]),
        };
        let subjects = ["1".to_owned(), "2".to_owned()];
        let dsc = metric("dsc").unwrap();
        let methods = [
            method(cell(0.5, false), cell(f64::NAN, false)),
            method(cell(0.7, false), cell(0.0, false)),
            method(cell(f64::NAN, true), cell(0.0, false)),
        ];
        let column = column(&methods, dsc, &subjects).unwrap();
        assert_eq!((column.values[0][0], column.values[1][0]), (0.5, 0.7));
        assert!(column.values[2][0].is_nan());
        assert_eq!((column.missed, column.left_out), (vec![0, 0, 1], 1));
    }
}
