//! The report of an evaluation: one self-contained HTML file, and every plot with its data.
//!
//! `charts` draws, `plot` is a single plot, and `plots` selects the plots of a cohort. `html` puts metrics, plots and
//! definitions on one page; `first` is its first screen and `cases` its list of cases. `words` has arrows and number
//! formats.

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

/// Prefixes of the names of an evaluation's plots.
const KINDS: [&str; 6] = ["box-", "worst-", "reliability-", "confidence-", "logits-class-", "logits-mean"];

/// Extensions of the files of one plot.
const ENDINGS: [&str; 3] = ["svg", "csv", "png"];

/// Writes `report.html`, and each plot as `plots/*.svg`, `.png` and `.csv`. Removes the plots of an earlier evaluation.
///
/// # Errors
/// The folder cannot be written.
pub fn write(cohort: &Cohort, folder: &OutputFolder) -> Result<()> {
    let plots = plots::of(cohort, folder)?;
    remove_others(&plots, folder)?;
    write_plots(&plots, folder)?;
    output::write_text(&folder.file("report.html")?, &html::page(cohort, &plots))
}

/// Removes the plots of an earlier evaluation that this one does not have. Other files are left alone.
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
