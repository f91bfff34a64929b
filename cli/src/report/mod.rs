//! The report of an evaluation: one self-contained HTML file, and every plot with the numbers behind it.
//!
//! `charts` draws, `plots` says which plots a cohort has, `html` puts figures, plots and definitions on one page;
//! [`comparison`] does both for several methods.

mod charts;
pub mod comparison;
mod html;
mod plots;

use segcal_core::Result;

use crate::evaluate::cohort::Cohort;
use crate::output::{self, OutputFolder};

/// Writes `report.html`, and each plot as `plots/*.svg`, `.png` and `.csv`.
///
/// # Errors
/// The folder cannot be written.
pub fn write(cohort: &Cohort, folder: &OutputFolder) -> Result<()> {
    let plots = plots::of(cohort, folder)?;
    write_plots(&plots, folder)?;
    output::write_text(&folder.file("report.html")?, &html::page(cohort, &plots))
}

fn write_plots(plots: &[plots::Plot], folder: &OutputFolder) -> Result<()> {
    for plot in plots {
        let file = |ending: &str| folder.file(format!("plots/{}.{ending}", plot.name));
        output::write_text(&file("svg")?, &plot.svg)?;
        output::write_text(&file("csv")?, &plot.csv)?;
        output::write_atomic(&file("png")?, |out| Ok(out.write_all(&plot.png)?))?;
    }
    Ok(())
}
