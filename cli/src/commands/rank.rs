//! `segcal rank CSV…`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, ValueEnum};
use segcal_core::Result;
use segcal_evaluate::methods;
use segcal_evaluate::printed::PrintedTable;
use segcal_evaluate::ranking::{ColumnFigures, Group, Options, Pair, Ranking};
use segcal_metrics::bootstrap::{DEFAULT_REPLICATES, Interval};
use segcal_metrics::ranking::{Friedman, Ties};

use crate::output;
use crate::{Common, Outcome};

/// Rank methods by their evaluations of the same cases.
///
/// A method's value of a metric is the mean over cases of the mean over structures. The sum rank and the Friedman rank
/// are the sum and the mean of a method's ranks over the metrics; the mean case rank averages its ranks within each
/// case. Intervals are bootstrapped over cases. Friedman's test over the cases shows whether the methods differ at all;
/// the paired differences show which of them do.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  segcal rank ce/evaluation nacl/evaluation crac/evaluation --metrics dsc,ece\n  \
    segcal rank --table tests/tables/crac-unet.csv")]
pub struct Args {
    /// The `cases.csv` of each method, or the folder that contains it. The name of the folder (or file) names the
    /// method.
    #[arg(required_unless_present_any = ["table", "dataset"], num_args = 2.., value_name = "CSV")]
    pub tables: Vec<PathBuf>,
    /// Several data sets.
    #[command(flatten)]
    pub datasets: Datasets,
    /// Rank a table of printed results instead: a CSV file whose first row names the columns and whose second row says
    /// `higher` or `lower` for each; every other row holds a method's name and its values.
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["tables", "dataset", "metrics", "region", "structures", "replicates", "seed"])]
    pub table: Option<PathBuf>,
    /// Metrics to rank by.
    #[arg(long, value_name = "KEY,…", value_delimiter = ',', default_value = "dsc,hd95_max,ece,cece_mean")]
    pub metrics: Vec<String>,
    /// Region of the calibration metrics.
    #[arg(long, value_name = "REGION", default_value = "foreground")]
    pub region: String,
    /// Structures to average overlap and surface metrics over [default: every single label].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub structures: Vec<String>,
    /// Rank of equal values: the smallest of their ranks, as in the papers, or the mean.
    #[arg(long, value_enum, default_value = "min")]
    pub ties: TiesName,
    /// Number of bootstrap replicates.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_REPLICATES, value_parser = parse_replicates)]
    pub replicates: usize,
    /// Seed of the bootstrap.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// The occurrences of `--dataset NAME CSV…`, kept separate.
#[derive(Clone, Debug, Default)]
pub struct Datasets(Vec<Vec<String>>);

impl clap::Args for Datasets {
    fn augment_args(command: Command) -> Command {
        let help = "A data set and its methods; repeat for each data set. Ranks are over the metrics of all data sets. A \
                    method's folder must have the same name in each";
        command.arg(
            Arg::new("dataset")
                .long("dataset")
                .value_names(["NAME", "CSV"])
                .num_args(3..)
                .action(ArgAction::Append)
                .conflicts_with("tables")
                .help(help),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Datasets {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let occurrences = matches.get_occurrences::<String>("dataset").into_iter().flatten();
        Ok(Self(occurrences.map(|words| words.cloned().collect()).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The rank of equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TiesName {
    /// The smallest of their ranks.
    Min,
    /// The mean of their ranks.
    Mean,
}

impl From<TiesName> for Ties {
    fn from(name: TiesName) -> Self {
        match name {
            TiesName::Min => Self::Minimum,
            TiesName::Mean => Self::Mean,
        }
    }
}

fn parse_replicates(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(replicates @ 1..=1_000_000) => Ok(replicates),
        _ => Err("expected a whole number from 1 to 1000000".into()),
    }
}

impl Args {
    /// The data sets with their methods.
    fn groups(&self) -> Result<Vec<Group>> {
        if self.datasets.0.is_empty() {
            return Ok(vec![Group {
                name: String::new(),
                methods: methods::read(&self.tables)?,
                structures: Vec::new(),
                cases_of: 0,
            }]);
        }
        let group = |(cases_of, words): (usize, &Vec<String>)| {
            let (name, paths) = (words[0].clone(), words[1..].iter().map(PathBuf::from).collect::<Vec<_>>());
            let methods = methods::read(&paths).map_err(|error| error.at(&name))?;
            Ok(Group { name, methods, structures: Vec::new(), cases_of })
        };
        self.datasets.0.iter().enumerate().map(group).collect()
    }

    fn options(&self) -> Options {
        Options {
            metrics: self.metrics.clone(),
            region: self.region.clone(),
            structures: self.structures.clone(),
            ties: self.ties.into(),
            replicates: self.replicates,
            seed: self.seed,
        }
    }
}

/// Ranks, and prints tables or one JSON document.
///
/// # Errors
/// A table cannot be read, the methods were evaluated on different cases or structures, or no value is defined.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    if let Some(path) = &args.table {
        return rank_printed(&PrintedTable::read(path)?, args.ties.into(), common);
    }
    let ranking = Ranking::new(&args.options(), &args.groups()?)?;
    ranking.expect_defined()?;
    if common.json {
        output::print_json(&ranking.to_json())?;
    } else {
        output::print(&tables(&ranking))?;
    }
    Ok(Outcome::Done)
}

/// Prints the ranks of a table of results.
fn rank_printed(table: &PrintedTable, ties: Ties, common: &Common) -> Result<Outcome> {
    if common.json {
        output::print_json(&table.to_json(ties))?;
        return Ok(Outcome::Done);
    }
    let ranks = table.ranks(ties);
    let mut order: Vec<usize> = (0..table.methods.len()).collect();
    order.sort_by(|&a, &b| ranks.friedman_rank[a].total_cmp(&ranks.friedman_rank[b]));
    let mut rows = vec![vec!["method".to_owned()]];
    rows[0].extend(table.columns.iter().cloned());
    rows[0].extend(["sum rank", "Friedman rank", "final rank"].map(str::to_owned));
    for method in order {
        let mut row = vec![table.methods[method].clone()];
        row.extend(ranks.by_column.iter().map(|ranks| ranks[method].to_string()));
        row.extend([
            ranks.sum_rank[method].to_string(),
            format!("{:.3}", ranks.friedman_rank[method]),
            ranks.final_rank[method].to_string(),
        ]);
        rows.push(row);
    }
    let Friedman { chi_square, degrees, p_value, .. } = ranks.test;
    let test = format!("Friedman's test: chi-square {chi_square:.3}, df {degrees}, p {}", probability(p_value));
    output::print(&format!("{}\n{test}\n", output::table(&rows)))?;
    Ok(Outcome::Done)
}

fn tables(ranking: &Ranking) -> String {
    let mut text = String::new();
    for group in &ranking.groups {
        let name = if group.name.is_empty() { String::new() } else { format!("{}: ", group.name) };
        text += &format!("{name}{} cases, structures {}\n", group.cases, group.structures.join(", "));
    }
    text += "\n";
    text += &output::table(&methods_table(ranking));
    let test = |name: &str, test: &Friedman| {
        let p = probability(test.p_value);
        [name.to_owned(), format!("{:.3}", test.chi_square), test.degrees.to_string(), p]
    };
    let mut tests = vec![["Friedman's test", "chi-square", "df", "p"].map(str::to_owned)];
    tests.extend(
        ranking
            .columns
            .iter()
            .map(|figures| test(&format!("{} over cases", ranking.name(figures)), &figures.over_cases)),
    );
    tests.push(test("over metrics", &ranking.over_metrics));
    text += &format!("\n{}\n{}", output::table(&tests), output::table(&pairs_table(ranking)));
    text + &notes(ranking)
}

fn methods_table(ranking: &Ranking) -> Vec<Vec<String>> {
    let mut head = vec!["method".to_owned()];
    for figures in &ranking.columns {
        head.extend([ranking.name(figures), "rank".into()]);
    }
    head.extend(["sum rank", "mean case rank", "Friedman rank", "final rank"].map(str::to_owned));
    let mut order: Vec<usize> = (0..ranking.methods.len()).collect();
    order.sort_by(|&a, &b| ranking.sum_ranks[a].total_cmp(&ranking.sum_ranks[b]));
    let with_interval = |of: &Interval| format!("{:.3} [{:.3}, {:.3}]", of.estimate, of.lower, of.upper);
    let row = |method: usize| {
        let mut row = vec![ranking.methods[method].clone()];
        for figures in &ranking.columns {
            row.extend([format!("{:.4}", figures.means[method]), figures.ranks[method].to_string()]);
        }
        row.push(ranking.sum_ranks[method].to_string());
        row.extend([&ranking.case_ranks[method], &ranking.friedman_ranks[method]].map(with_interval));
        row.push(ranking.final_ranks[method].to_string());
        row
    };
    std::iter::once(head).chain(order.into_iter().map(row)).collect()
}

fn pairs_table(ranking: &Ranking) -> Vec<[String; 6]> {
    let head = ["metric", "difference", "mean", "95 % interval", "p (Wilcoxon)", "p (Holm)"].map(str::to_owned);
    let row = |figures: &ColumnFigures, pair: &Pair| {
        let [a, b] = pair.methods.map(|method| ranking.methods[method].as_str());
        let Interval { estimate, lower, upper } = pair.difference;
        [
            ranking.name(figures),
            format!("{a} - {b}"),
            format!("{estimate:.4}"),
            format!("[{lower:.4}, {upper:.4}]"),
            probability(pair.test.p_value),
            probability(pair.corrected),
        ]
    };
    let rows = ranking.columns.iter().flat_map(|figures| figures.pairs.iter().map(move |pair| row(figures, pair)));
    std::iter::once(head).chain(rows).collect()
}

fn notes(ranking: &Ranking) -> String {
    let mut text = String::new();
    for figures in &ranking.columns {
        let key = ranking.name(figures);
        if figures.column.left_out > 0 {
            let count = figures.column.left_out;
            text += &format!(
                "{key}: {count} structures of cases excluded for all methods: absent from the reference and from every prediction\n"
            );
        }
        for (name, &missed) in ranking.methods.iter().zip(&figures.column.missed).filter(|(_, missed)| **missed > 0) {
            text += &format!(
                "{key}: {name} missed a structure in {missed} cases; they rank last but are not in its mean \
                 (evaluate with --empty penalise to count them)\n"
            );
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn probability(p: f64) -> String {
    if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") }
}
