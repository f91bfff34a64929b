//! One plot of a page.

use segcal_core::Result;
use segcal_data::output::Csv;

use super::charts::{self, Chart};

/// What a plot is about: a section of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Figures of single cases.
    Cases,
    /// Slices of the worst cases.
    Worst,
    /// Reliability diagrams.
    Reliability,
    /// Confidence of right and wrong voxels.
    Confidence,
    /// Logits by true class.
    Logits,
    /// Figures against noise.
    Noise,
    /// Ranks of methods.
    Ranks,
    /// One subject under several methods.
    Subject,
    /// Methods by network.
    Networks,
    /// Shares of methods in a sum.
    Shares,
    /// Figures against the parameter of a loss.
    Sensitivity,
}

/// A plot in both formats, with the numbers behind it.
pub struct Plot {
    /// File name without ending.
    pub name: String,
    /// The section it belongs to.
    pub section: Section,
    /// The structure of a slice.
    pub of: String,
    /// What one sees.
    pub caption: String,
    /// Width that it is drawn for.
    pub width: u32,
    /// The drawing.
    pub svg: String,
    /// The drawing as pixels.
    pub png: Vec<u8>,
    /// The numbers.
    pub csv: String,
}

impl Plot {
    /// A chart drawn for SVG and for PNG, with the numbers behind it.
    ///
    /// # Errors
    /// The chart cannot be drawn.
    pub fn new(name: &str, section: Section, caption: String, chart: &impl Chart, csv: Csv) -> Result<Self> {
        // Names of unions are the user's; a file name is not.
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
