//! How the files of a cohort are read: decided before anything is measured.

use std::path::Path;

use segcal_core::Result;
use segcal_data::{self as data, Grid, SpacingFrom, npy};
use serde::{Deserialize, Serialize};

use super::axes::Order;
use super::inputs::Pair;

/// How the files of a cohort are read. It is the same for every case, since one tool wrote the whole folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The order of the axes of arrays; `None` if the shape, the format or the cohort decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axes: Option<Order>,
    /// Whether the files contain a score for the background.
    #[serde(default)]
    pub background: Background,
    /// Where the voxel size comes from.
    #[serde(default)]
    pub spacing: SpacingFrom,
}

/// Whether class scores include the background class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// The first score is that of the background.
    #[default]
    Stored,
    /// The scores are those of the foreground; the probability of the background is 1 minus their sum.
    Implied,
}

impl Background {
    /// Both values.
    pub const ALL: [Self; 2] = [Self::Stored, Self::Implied];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Implied => "implied",
        }
    }
}

impl Reading {
    /// Whether everything has its default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The grid of a file, with its voxel size from [`Self::spacing`].
    ///
    /// # Errors
    /// The header cannot be read.
    pub fn grid(&self, path: &Path, grid: Grid) -> Result<Grid> {
        if self.spacing == SpacingFrom::Affine || npy::is_array(path) {
            return Ok(grid);
        }
        data::grid_from(path, self.spacing, grid)
    }

    /// Warns about references whose header gives two voxel sizes, once for the cohort.
    pub fn warn_of_spacings(&self, pairs: &[Pair]) {
        let references = pairs.iter().map(Pair::reference_file);
        let found: Vec<_> = references.filter_map(|path| Some((path, data::spacing_doubt(path)?))).collect();
        let Some((path, doubt)) = found.first() else { return };
        let others =
            if found.len() > 1 { format!(" (and {} other references)", found.len() - 1) } else { String::new() };
        log::warn!(
            "{}{others}: {doubt}; lengths use the {} (to use the other: --spacing-from {})",
            path.display(),
            self.spacing.name(),
            self.spacing.other().name()
        );
    }
}
