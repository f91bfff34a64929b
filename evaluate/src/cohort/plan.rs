//! How a cohort is summarised.

use segcal_metrics::definitions::METRICS;
use segcal_metrics::empty::Policy;
use segcal_metrics::metric::Metric;

/// Whose definitions the metrics follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// The definitions of the table of metrics.
    Segcal,
    /// The definitions of the papers' public evaluation code, for comparison with published tables.
    Authors,
}

impl Convention {
    /// Every convention.
    pub const ALL: [Self; 2] = [Self::Segcal, Self::Authors];

    /// Its name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segcal => "segcal",
            Self::Authors => "authors",
        }
    }

    /// The metrics of a structure or region, in the order of the tables.
    pub(super) fn metrics(self, kind: Kind, of: &str) -> impl Iterator<Item = &'static Metric> {
        let own = METRICS.iter().filter(move |metric| metric.per_structure() == (kind == Kind::Structure));
        own.filter(move |metric| self.has(kind, of, metric.key))
    }

    /// Whether the convention has this metric.
    fn has(self, kind: Kind, of: &str, key: &str) -> bool {
        match (self, kind) {
            (Self::Segcal, _) => true,
            (Self::Authors, Kind::Structure) => ["dsc", "hd95_pooled"].contains(&key),
            (Self::Authors, Kind::Region) => of == "foreground" && ["ece", "cece_mean", "tcece"].contains(&key),
        }
    }
}

/// How a cohort is summarised.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How empty masks are scored.
    pub empty: Policy,
    /// Whose definitions the metrics follow.
    pub convention: Convention,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// Whether a metric is of a structure or of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A structure: overlap and surface.
    Structure,
    /// A region: calibration.
    Region,
}

impl Kind {
    /// Key in the JSON document.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Structure => "structures",
            Self::Region => "regions",
        }
    }
}
