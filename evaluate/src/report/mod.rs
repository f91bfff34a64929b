//! The report of an evaluation: one self-contained HTML file, and every plot with the numbers behind it.
//!
//! `charts` draws, `plot` is one plot, `plots` says which a cohort has, `html` puts figures, plots and definitions on one page,
//! which begins with `first` and ends with `cases`; `words` has titles and digits.

mod cases;
pub mod charts;
mod first;
pub mod html;
mod logit_means;
pub mod plot;
pub mod plots;
pub mod words;

use segcal_core::{Context, Result};

use crate::cohort::Cohort;
use segcal_data::output::{self, OutputFolder};

/// How the names of an evaluation's plots begin.
const KINDS: [&str; 6] = ["box-", "worst-", "reliability-", "confidence-", "logits-class-", "logits-mean"];

/// The files of one plot.
const ENDINGS: [&str; 3] = ["svg", "csv", "png"];

/// Writes `report.html`, and each plot as `plots/*.svg`, `.png` and `.csv`. Plots of an earlier evaluation go.
///
/// # Errors
/// The folder cannot be written.
pub fn write(cohort: &Cohort, folder: &OutputFolder) -> Result<()> {
    let plots = plots::of(cohort, folder)?;
    remove_others(&plots, folder)?;
    write_plots(&plots, folder)?;
    output::write_text(&folder.file("report.html")?, &html::page(cohort, &plots))
}

/// Removes the plots that an earlier evaluation left and this one does not have; other files stay.
fn remove_others(plots: &[plot::Plot], folder: &OutputFolder) -> Result<()> {
    let inside = folder.path().join("plots");
    if !inside.is_dir() || inside.is_symlink() {
        return Ok(());
    }
    for entry in std::fs::read_dir(&inside).at(inside.display())? {
        let path = entry.at(inside.display())?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let old = KINDS.iter().any(|kind| name.starts_with(kind)) && plots.iter().all(|plot| plot.name != name);
        if old && ENDINGS.iter().all(|ending| path.with_extension(ending).is_file()) {
            ENDINGS.iter().try_for_each(|ending| output::remove_file(&path.with_extension(ending)))?;
        }
    }
    Ok(())
}

/// Writes each plot as `plots/*.svg`, `.png` and `.csv`.
///
/// # Errors
/// The folder cannot be written.
pub fn write_plots(plots: &[plot::Plot], folder: &OutputFolder) -> Result<()> {
    for plot in plots {
        let file = |ending: &str| folder.file(format!("plots/{}.{ending}", plot.name));
        output::write_text(&file("svg")?, &plot.svg)?;
        output::write_text(&file("csv")?, &plot.csv)?;
        output::write_atomic(&file("png")?, |out| Ok(out.write_all(&plot.png)?))?;
    }
    Ok(())
}
