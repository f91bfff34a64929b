//! The properties of a metric: key, unit, range, direction, and what it is computed from.

/// The better direction of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Better {
    /// Larger is better; the best value is the upper end of the range.
    Higher,
    /// Smaller is better; the best value is the lower end of the range.
    Lower,
    /// Closer to 0 is better, on either side.
    Zero,
}

/// What a metric is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The voxel counts of a structure.
    Overlap,
    /// The surface distances of a structure.
    Surface,
    /// The bins and sums of a region.
    Calibration,
    /// The equal-mass bins of a region.
    EqualMass,
    /// The bins and sums of a region; descriptive, with no better direction.
    Description,
}

/// One row of [`crate::definitions::METRICS`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Key used in files and on the command line.
    pub key: &'static str,
    /// Title on report pages, shown above the key.
    pub title: &'static str,
    /// `1` for a ratio, `mm` for a distance, `nat` for a log-likelihood.
    pub unit: &'static str,
    /// Smallest and largest possible value.
    pub range: [f64; 2],
    /// The better direction.
    pub better: Better,
    /// One-line definition, including bin edges, treatment of 0 and 1, and mean or sum.
    pub definition: &'static str,
    /// Source of the definition.
    pub source: &'static str,
    /// What it is computed from.
    pub subject: Subject,
}

impl Metric {
    /// Whether it belongs to a structure (overlap, surface) rather than to a region (calibration).
    pub const fn per_structure(&self) -> bool {
        matches!(self.subject, Subject::Overlap | Subject::Surface)
    }

    /// Whether one direction is better; a descriptive metric has none, whatever [`Self::better`] says.
    pub const fn judges(&self) -> bool {
        !matches!(self.subject, Subject::Description)
    }

    /// The value of a perfect result.
    pub const fn best(&self) -> f64 {
        match self.better {
            Better::Higher => self.range[1],
            Better::Lower => self.range[0],
            Better::Zero => 0.0,
        }
    }

    /// The worst value of the range.
    pub const fn worst(&self) -> f64 {
        match self.better {
            Better::Higher => self.range[0],
            Better::Lower | Better::Zero => self.range[1],
        }
    }

    /// The better of two values.
    pub(crate) fn better_of(&self, a: f64, b: f64) -> f64 {
        match self.better {
            Better::Higher => a.max(b),
            Better::Lower => a.min(b),
            Better::Zero => {
                if a.abs() < b.abs() {
                    a
                } else {
                    b
                }
            }
        }
    }

    /// The worse of two values.
    pub(crate) fn worse_of(&self, a: f64, b: f64) -> f64 {
        if self.better_of(a, b) == a { b } else { a }
    }

    /// A finite substitute for the worst value on a grid with this diagonal.
    pub fn penalty(&self, diagonal: f64) -> f64 {
        match self.worst() {
            worst if worst.is_finite() => worst,
            _ if self.unit == "mm" => diagonal,
            _ => 1.0,
        }
    }
}
