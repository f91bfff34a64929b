//! Ranks from a table of results as printed in papers: one row per method, one column per metric and data set.

use std::path::Path;

use segcal_core::{Context, Error, Result};
use segcal_data::output::number;
use segcal_metrics::metric::Better;
use segcal_metrics::ranking::{Friedman, Setting, Ties, ascending_ranks, friedman, friedman_rank, sum_rank};
use serde_json::{Value, json};

/// A table of results.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintedTable {
    /// Names of the methods, in the order of the rows.
    pub methods: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The values of each column, with their direction.
    pub settings: Vec<Setting>,
}

impl PrintedTable {
    /// Reads a CSV file. The first row has the names of the columns, the second `higher` or `lower` for each column,
    /// and the others one method each. The first cell of a row is the name of the method; an empty cell is a missing
    /// value, which ranks last.
    ///
    /// # Errors
    /// The file cannot be read, a cell is not a number or direction, there are fewer than two methods or no column, or
    /// a name is empty or appears twice.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_path(path)
            .map_err(Error::from_source)
            .at(path.display())?;
        let header = reader.headers().map_err(Error::from_source).at(path.display())?.clone();
        let rows = reader.records().collect::<csv::Result<Vec<_>>>().map_err(Error::from_source).at(path.display())?;
        Self::parse(&header, &rows).at(path.display())
    }

    fn parse(header: &csv::StringRecord, rows: &[csv::StringRecord]) -> Result<Self> {
        let columns: Vec<String> = header.iter().skip(1).map(str::to_owned).collect();
        let Some((directions, rows)) = rows.split_first() else {
            return Err(Error::new("has no second row").help("it must have `higher` or `lower` for each column"));
        };
        let methods: Vec<String> = rows.iter().map(|row| row[0].to_owned()).collect();
        expect_unique("method", &methods)?;
        expect_unique("column", &columns)?;
        if methods.len() < 2 || columns.is_empty() {
            let problem = format!("{} methods and {} columns", methods.len(), columns.len());
            return Err(Error::new(problem).help("ranks need at least two methods and one column"));
        }
        let setting = |(number, name): (usize, &String)| {
            let better = direction(&directions[number + 1]).at(format!("row 2, column {name}"))?;
            let value = |(method, row): (&String, &csv::StringRecord)| {
                value(&row[number + 1]).at(format!("method {method}, column {name}"))
            };
            let values = methods.iter().zip(rows).map(value).collect::<Result<_>>()?;
            Ok(Setting { better, values })
        };
        let settings = columns.iter().enumerate().map(setting).collect::<Result<_>>()?;
        Ok(Self { methods, columns, settings })
    }

    /// Ranks the methods.
    pub fn ranks(&self, ties: Ties) -> PrintedRanks {
        let friedman_rank = friedman_rank(&self.settings, ties);
        PrintedRanks {
            by_column: self.settings.iter().map(|setting| setting.ranks(ties)).collect(),
            sum_rank: sum_rank(&self.settings, ties),
            final_rank: ascending_ranks(&friedman_rank, ties),
            friedman_rank,
            test: friedman(&self.settings),
        }
    }

    /// The JSON document `segcal.ranking/1` of a printed table.
    pub fn to_json(&self, ties: Ties) -> Value {
        let ranks = self.ranks(ties);
        let by_method = |values: &[f64]| -> Value {
            let pairs = self.methods.iter().zip(values);
            pairs.map(|(name, &value)| (name.clone(), number(value))).collect::<serde_json::Map<_, _>>().into()
        };
        let column = |((name, setting), ranks): ((&String, &Setting), &Vec<f64>)| json!({ "column": name, "value": by_method(&setting.values), "rank": by_method(ranks) });
        let columns = self.columns.iter().zip(&self.settings).zip(&ranks.by_column).map(column).collect::<Vec<_>>();
        json!({
            "schema": "segcal.ranking/1",
            "version": env!("CARGO_PKG_VERSION"),
            "methods": self.methods,
            "ties": ties.name(),
            "sum_rank": by_method(&ranks.sum_rank),
            "friedman_rank": by_method(&ranks.friedman_rank),
            "final_rank": by_method(&ranks.final_rank),
            "friedman_over_columns": {
                "chi_square": number(ranks.test.chi_square),
                "degrees": ranks.test.degrees,
                "p": number(ranks.test.p_value),
            },
            "columns": columns,
        })
    }
}

/// The ranks of the methods of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintedRanks {
    /// Rank of each method in each column.
    pub by_column: Vec<Vec<f64>>,
    /// Sum of the ranks over the columns (NACL).
    pub sum_rank: Vec<f64>,
    /// Mean of the ranks over the columns (CRaC).
    pub friedman_rank: Vec<f64>,
    /// Rank of the Friedman ranks (CRaC).
    pub final_rank: Vec<f64>,
    /// Friedman's test with the columns as blocks.
    pub test: Friedman,
}

fn direction(text: &str) -> Result<Better> {
    match text {
        "higher" => Ok(Better::Higher),
        "lower" => Ok(Better::Lower),
        other => Err(Error::new(format!("unknown direction \"{other}\"")).help("write higher or lower")),
    }
}

fn value(text: &str) -> Result<f64> {
    if text.is_empty() {
        return Ok(f64::NAN);
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| Error::new(format!("\"{text}\" is not a finite number")).help("leave a missing value empty"))
}

fn expect_unique(kind: &str, names: &[String]) -> Result<()> {
    for (number, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(Error::new(format!("{kind} {} has no name", number + 1)));
        }
        if names[..number].contains(name) {
            return Err(Error::new(format!("duplicate {kind} {name}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PrintedTable> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        PrintedTable::read(&path)
    }

    #[test]
    fn ranks_by_hand() {
        let table = parse("method,dsc,ece\n,higher,lower\na,0.9,0.1\nb,0.8,0.1\nc,,0.3\n").unwrap();
        let ranks = table.ranks(Ties::Minimum);
        assert_eq!(ranks.by_column, [[1.0, 2.0, 3.0], [1.0, 1.0, 3.0]]);
        assert_eq!(ranks.sum_rank, [2.0, 3.0, 6.0]);
        assert_eq!(ranks.friedman_rank, [1.0, 1.5, 3.0]);
        assert_eq!(ranks.final_rank, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn mistakes_name_row_and_column() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert!(message("m,dsc\n,up\na,1\nb,2\n").contains("row 2, column dsc: unknown direction \"up\""));
        assert!(message("m,dsc\n,higher\na,x\nb,2\n").contains("method a, column dsc: \"x\" is not a finite number"));
        assert!(message("m,dsc\n,higher\na,1\n").contains("1 methods"));
        assert!(message("m,dsc\n,higher\na,1\na,2\n").contains("duplicate method a"));
        assert!(message("m,dsc,dsc\n,higher,lower\na,1,1\nb,2,2\n").contains("duplicate column dsc"));
        assert!(message("m,dsc\n").contains("no second row"));
        assert!(message("m,dsc\n,higher\na,1,2\nb,2\n").contains("t.csv"));
    }
}
