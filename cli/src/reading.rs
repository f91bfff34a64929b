//! How to interpret the files of a cohort: the options that evaluation and calibration share.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use segcal_core::Result;
use segcal_data::SpacingFrom;
use segcal_evaluate::axes::Order;
use segcal_evaluate::described::Described;
use segcal_evaluate::reading::{Background, Reading};
use segcal_metrics::volume::Label;

/// How to interpret the files.
#[derive(clap::Args, Clone, Debug)]
pub struct Believed {
    /// Axis order of .npy and .npz predictions, slowest axis first: the letters k (class), z, y and x [default:
    /// inferred for all cases together from their shapes, nnU-Net's properties files, or clear agreement with the
    /// references].
    #[arg(long, value_name = "kzyx")]
    pub axes: Option<Order>,
    /// Whether the scores include the background class.
    #[arg(long, value_name = "HOW", default_value = "stored", value_parser = background())]
    pub background: Background,
    /// Where to take the voxel size from if a NIfTI header contradicts itself.
    #[arg(long, value_name = "FIELD", default_value = "affine", value_parser = spacing())]
    pub spacing_from: SpacingFrom,
    /// Reference label of voxels to exclude from all results [default: the label that dataset.json calls `ignore`].
    #[arg(long, value_name = "L")]
    pub ignore_label: Option<Label>,
    /// The dataset.json that names the labels and the ignore label [default: the one beside the labels].
    #[arg(long, value_name = "FILE")]
    pub dataset: Option<PathBuf>,
}

fn background() -> impl TypedValueParser<Value = Background> {
    let help = |background| match background {
        Background::Stored => "The first score is the background's",
        Background::Implied => "The scores cover the foreground only; the background probability is 1 minus their sum",
    };
    let values = Background::ALL.map(|background| PossibleValue::new(background.name()).help(help(background)));
    PossibleValuesParser::new(values)
        .map(|name| Background::ALL.into_iter().find(|other| other.name() == name).expect("the parser knows the names"))
}

fn spacing() -> impl TypedValueParser<Value = SpacingFrom> {
    let help = |from| match from {
        SpacingFrom::Affine => "The column lengths of the affine (sform, else qform)",
        SpacingFrom::Pixdim => "The pixdim field, along the directions of the affine",
    };
    let values = SpacingFrom::ALL.map(|from| PossibleValue::new(from.name()).help(help(from)));
    PossibleValuesParser::new(values).map(|name| {
        SpacingFrom::ALL.into_iter().find(|other| other.name() == name).expect("the parser knows the names")
    })
}

impl Believed {
    /// How the files are read.
    pub fn reading(&self) -> Reading {
        Reading { axes: self.axes.clone(), background: self.background, spacing: self.spacing_from }
    }

    /// The ignore label from the command line, else from the given dataset.json.
    ///
    /// # Errors
    /// The dataset.json cannot be read.
    pub fn ignored(&self) -> Result<Option<Label>> {
        match (self.ignore_label, &self.dataset) {
            (None, Some(file)) => Ok(Described::read(file)?.ignored),
            (given, _) => Ok(given),
        }
    }
}
