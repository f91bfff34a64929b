//! Tables for a paper, in Markdown and LaTeX: a row for each method, a column for each metric, data set and network.

use segcal_metrics::metric::{Better, Metric};

use super::{case_sd, column, marks, rank_columns};
use crate::compare::results::{Level, Results, Spread};

/// The markup of a format around the best and the second best.
struct Format {
    best: [&'static str; 2],
    second: [&'static str; 2],
    plus_minus: &'static str,
    arrows: [&'static str; 3],
    escape: fn(&str) -> String,
}

const MARKDOWN: Format = Format {
    best: ["**", "**"],
    second: ["<u>", "</u>"],
    plus_minus: " ± ",
    arrows: ["↑", "↓", "→ 0"],
    escape: |text| text.replace('|', "\\|"),
};

const LATEX: Format = Format {
    best: ["\\textbf{", "}"],
    second: ["\\underline{", "}"],
    plus_minus: " $\\pm$ ",
    arrows: ["$\\uparrow$", "$\\downarrow$", "$\\to 0$"],
    escape: latex_text,
};

fn latex_text(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{letter}"),
        '\\' => "\\textbackslash{}".into(),
        '~' => "\\textasciitilde{}".into(),
        '^' => "\\textasciicircum{}".into(),
        letter => letter.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// A table: its title, column heads and rows.
struct Table {
    title: String,
    heads: Vec<String>,
    lines: Vec<Vec<String>>,
}

/// Means over seeds, standard deviations over cases, ranks: without noise.
fn tables(results: &Results<'_>, format: &Format) -> Vec<Table> {
    let clean: Vec<&Level> = results.levels.iter().filter(|level| level.noise == 0.0).collect();
    let mut heads = vec!["Method".to_owned()];
    let (mut seeds, mut cases): (Vec<Vec<String>>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
    for level in &clean {
        let arm = results.plan.arms[level.arm].name();
        for (place, metric) in results.plan.metrics.iter().enumerate() {
            let key = format!("{arm} {}", results.lengths_at(level.arm).headed(metric));
            heads.push(format!("{} {}", (format.escape)(key.trim()), arrow(metric, format)));
            let spreads = column(results, level, metric);
            let deviations: Vec<f64> = spreads.iter().map(Spread::sd).collect();
            seeds.push(cells(metric, &spreads, &deviations, format));
            let deviations: Vec<f64> = (0..spreads.len()).map(|row| case_sd(level, row, place)).collect();
            cases.push(cells(metric, &spreads, &deviations, format));
        }
    }
    let lines = |columns: &[Vec<String>]| {
        let line = |(number, row): (usize, &crate::compare::results::Row)| {
            let own = columns.iter().map(|column| column[number].clone());
            std::iter::once((format.escape)(&row.name)).chain(own).collect()
        };
        results.rows.iter().enumerate().map(line).collect::<Vec<Vec<String>>>()
    };
    let over_seeds = if results.plan.seeds.len() > 1 { ", standard deviation over the seeds" } else { "" };
    vec![
        Table { title: format!("Mean{over_seeds}"), heads: heads.clone(), lines: lines(&seeds) },
        Table { title: "Mean, standard deviation over the cases".into(), heads, lines: lines(&cases) },
        ranks(results, format),
    ]
}

/// The rank of each method in each column, and over all of them.
fn ranks(results: &Results<'_>, format: &Format) -> Table {
    let ranking = &results.overall[0];
    let over_all = rank_columns(ranking);
    let mut heads = vec!["Method".to_owned()];
    heads.extend(ranking.columns.iter().map(|column| (format.escape)(&ranking.name(column))));
    heads.extend(over_all.iter().map(|(name, ..)| (*name).to_owned()));
    let mut columns: Vec<Vec<String>> = Vec::new();
    for column in &ranking.columns {
        columns.push(marked_ranks(&column.ranks, 0, format));
    }
    columns.extend(over_all.iter().map(|(_, ranks, digits)| marked_ranks(ranks, *digits, format)));
    let line = |(method, name): (usize, &String)| {
        let own = columns.iter().map(|column| column[method].clone());
        std::iter::once((format.escape)(name)).chain(own).collect()
    };
    let lines = ranking.methods.iter().enumerate().map(line).collect();
    Table { title: "Ranks (1 is the best)".into(), heads, lines }
}

fn marked_ranks(ranks: &[f64], digits: usize, format: &Format) -> Vec<String> {
    let places = crate::compare::results::places(Better::Lower, ranks);
    ranks.iter().zip(places).map(|(rank, place)| mark(format!("{rank:.digits$}"), place, ranks.len(), format)).collect()
}

/// A value with the markup of its place.
fn mark(text: String, place: Option<usize>, count: usize, format: &Format) -> String {
    match place {
        Some(1) => format!("{}{text}{}", format.best[0], format.best[1]),
        Some(2) if count > 2 => format!("{}{text}{}", format.second[0], format.second[1]),
        _ => text,
    }
}

fn cells(metric: &Metric, spreads: &[Spread], deviations: &[f64], format: &Format) -> Vec<String> {
    let cell = |((spread, place), sd): ((&Spread, Option<usize>), &f64)| {
        let mean = spread.mean();
        let text = if mean.is_nan() { "–".to_owned() } else { format!("{mean:.4}") };
        let sd = if sd.is_nan() { String::new() } else { format!("{}{sd:.4}", format.plus_minus) };
        mark(text, place, spreads.len(), format) + &sd
    };
    spreads.iter().zip(marks(metric, spreads)).zip(deviations).map(cell).collect()
}

const fn arrow(metric: &Metric, format: &Format) -> &'static str {
    match metric.better {
        Better::Higher => format.arrows[0],
        Better::Lower => format.arrows[1],
        Better::Zero => format.arrows[2],
    }
}

/// `tables.md`.
pub fn markdown(results: &Results<'_>) -> String {
    let table = |table: &Table| {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|---{}|\n", "|---:".repeat(table.heads.len() - 1));
        let lines: String = table.lines.iter().map(|cells| line(cells)).collect();
        format!("## {}\n\n{}{rule}{lines}", table.title, line(&table.heads))
    };
    let tables: Vec<String> = tables(results, &MARKDOWN).iter().map(table).collect();
    format!("{}\nWithout noise; the best is bold, the second underlined.\n", tables.join("\n"))
}

/// `tables.tex`: booktabs tabulars for `\input`.
pub fn latex(results: &Results<'_>) -> String {
    let table = |table: &Table| {
        let line = |cells: &[String]| format!("{} \\\\\n", cells.join(" & "));
        let columns = format!("l{}", "r".repeat(table.heads.len() - 1));
        let lines: String = table.lines.iter().map(|cells| line(cells)).collect();
        format!(
            "% {}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n{lines}\\bottomrule\n\\end{{tabular}}\n",
            table.title,
            line(&table.heads)
        )
    };
    tables(results, &LATEX).iter().map(table).collect::<Vec<_>>().join("\n").replace('–', "--")
}
