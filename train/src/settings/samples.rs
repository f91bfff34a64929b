//! Training samples: slices or patches, their size and where they are taken from.

use schemars::JsonSchema;
use segcal_core::{Context, Error, Result};
use segcal_data::limits;
use serde::{Deserialize, Serialize};

/// The samples that the network is trained on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// Whole slices, or patches at random positions.
    pub kind: SampleKind,
    /// Axis perpendicular to slices and two-dimensional patches.
    pub axis: SliceAxis,
    /// Extent in voxels: `[h, w]` of a slice (padded or cropped to it) or of a two-dimensional patch, `[d, h, w]` of a
    /// three-dimensional patch. The network has the same number of dimensions.
    pub size: Vec<usize>,
    /// Number of patches from each volume per epoch.
    pub per_volume: usize,
    /// Fraction of the patches that are centred on a foreground voxel; near the border they extend beyond the volume,
    /// where image and label are 0.
    pub foreground_share: f64,
    /// Whether these patches are centred on each structure of a volume equally often, however small, rather than on
    /// each voxel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_class: bool,
    /// Whether slices without any structure are excluded from training.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_empty: bool,
}

/// Whole slices, or patches at random positions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SampleKind {
    Slices,
    Patches,
}

impl SampleKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Slices => "slices",
            Self::Patches => "patches",
        }
    }
}

/// An axis of the file: z is the last of NIfTI's three.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SliceAxis {
    X,
    Y,
    Z,
}

impl SliceAxis {
    /// Index in `[d, h, w]`.
    pub const fn index(self) -> usize {
        match self {
            Self::Z => 0,
            Self::Y => 1,
            Self::X => 2,
        }
    }

    /// Indices of the other two axes, in order.
    pub const fn others(self) -> [usize; 2] {
        match self {
            Self::Z => [1, 2],
            Self::Y => [0, 2],
            Self::X => [0, 1],
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Y => "y",
            Self::Z => "z",
        }
    }
}

impl Samples {
    /// Extent of a sample along the volume's `[d, h, w]`; 1 perpendicular to slices and two-dimensional patches.
    pub fn block_size(&self) -> [usize; 3] {
        match self.size[..] {
            [d, h, w] => [d, h, w],
            [a, b] => match self.axis {
                SliceAxis::Z => [1, a, b],
                SliceAxis::Y => [a, 1, b],
                SliceAxis::X => [a, b, 1],
            },
            _ => unreachable!("sizes are checked when the config is read"),
        }
    }

    /// Number of spatial dimensions of a network for these samples.
    pub fn dims(&self) -> usize {
        self.size.len()
    }

    pub(super) fn check(&self) -> Result<()> {
        let fits = match self.kind {
            SampleKind::Slices => self.size.len() == 2,
            SampleKind::Patches => [2, 3].contains(&self.size.len()),
        };
        if !fits || self.size.contains(&0) {
            let problem = format!("{:?} are not valid extents for {}", self.size, self.kind.as_str());
            return Err(Error::new(problem)
                .at("samples.size")
                .help("use [h, w] for slices, [h, w] or [d, h, w] for patches, all above 0"));
        }
        limits::count(&self.size).at("samples.size")?;
        if !(0.0..=1.0).contains(&self.foreground_share) {
            return Err(
                Error::new(format!("{} is not in [0, 1]", self.foreground_share)).at("samples.foreground_share")
            );
        }
        if self.skip_empty && self.kind == SampleKind::Patches {
            let error = Error::new("only applies to slices").at("samples.skip_empty");
            return Err(error.help("use samples.foreground_share to centre patches on structures"));
        }
        positive("samples.per_volume", self.per_volume)
    }
}

pub(super) fn positive(key: &str, value: usize) -> Result<()> {
    if value == 0 { Err(Error::new("0 is not a positive number").at(key)) } else { Ok(()) }
}
