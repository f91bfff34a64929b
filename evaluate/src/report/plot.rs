//! A single plot of a page.

use segcal_core::Result;
use segcal_data::output::Csv;

use super::charts::{self, Chart};

/// The section of the page that a plot belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Metrics of single cases.
    Cases,
    /// Slices of the worst cases.
    Worst,
    /// Reliability diagrams.
    Reliability,
    /// Confidence of right and wrong voxels.
    Confidence,
    /// Logits by true class.
    Logits,
    /// Metrics against noise.
    Noise,
    /// Ranks of methods.
    Ranks,
    /// One subject under several methods.
    Subject,
    /// Methods by network.
    Networks,
    /// Each method's share of a sum.
    Shares,
    /// Metrics against the parameter of a loss.
    Sensitivity,
}

/// A plot as SVG and PNG, with its data.
pub struct Plot {
    /// File name without extension.
    pub name: String,
    /// The section it belongs to.
    pub section: Section,
    /// The structure that a slice shows; empty for other plots.
    pub of: String,
    /// What the plot shows.
    pub caption: String,
    /// Width in units of the drawing.
    pub width: u32,
    /// The drawing.
    pub svg: String,
    /// The drawing as a PNG file.
    pub png: Vec<u8>,
    /// The data as CSV.
    pub csv: String,
}

impl Plot {
    /// Draws a chart as SVG and as PNG, and keeps its data.
    ///
    /// # Errors
    /// The chart cannot be drawn.
    pub fn new(name: &str, section: Section, caption: String, chart: &impl Chart, csv: Csv) -> Result<Self> {
        // Users choose the names of unions, which may contain characters that file names cannot.
        let plain = |letter: char| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
        let name = name.chars().map(plain).collect();
        let [width, _] = chart.size();
        Ok(Self {
            name,
            section,
            of: String::new(),
            caption,
            width,
            svg: charts::svg(chart)?,
            png: charts::png(chart)?,
            csv: csv.finish(),
        })
    }
}
