//! The inputs and options of a measurement.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::calibration::{DEFAULT_BINS, DEFAULT_THRESHOLD};
use crate::volume::{Label, Structure};

/// A prediction for one case on the grid of its reference.
#[derive(Clone, Debug)]
pub enum Prediction<'a> {
    /// Class probabilities `[k, d, h, w]`, the background first.
    Probabilities(Cow<'a, [f32]>),
    /// Logits `[k, d, h, w]`, the background first.
    Logits(Cow<'a, [f32]>),
    /// A label map `[d, h, w]`, without confidence.
    Labels(Cow<'a, [Label]>),
    /// Independent probabilities `[r, d, h, w]` of regions that may overlap or be nested, such as sigmoid outputs.
    Regions(Cow<'a, [f32]>, &'a Nested),
}

/// Regions treated as independent binary problems, each against the rest (nnU-Net's region-based labels).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Nested {
    /// The regions in the order of the channels, each with its labels.
    pub regions: Vec<Structure>,
    /// The label that each channel writes into the label map where its probability is above 0.5; later channels
    /// overwrite earlier ones (`regions_class_order`).
    pub order: Vec<Label>,
}

impl Nested {
    /// Computes the label map from probabilities `[r, d, h, w]`.
    pub fn label_map(&self, scores: &[f32]) -> Vec<Label> {
        let voxels = scores.len() / self.regions.len().max(1);
        let mut labels = vec![0; voxels];
        for (channel, &label) in scores.chunks(voxels.max(1)).zip(&self.order) {
            let above = labels.par_iter_mut().zip(channel).filter(|(_, p)| **p > 0.5);
            above.for_each(|(own, _)| *own = label);
        }
        labels
    }
}

/// How a case is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Number of equal-width or equal-mass bins, 1 to 1000.
    pub bins: usize,
    /// Probabilities at or below this are excluded from `tace` and `tcece`; at least 0 and below `1 / bins`.
    pub threshold: f64,
    /// Tolerance of `nsd`, in the unit of the grid's voxel size.
    pub tolerance: f64,
    /// Half-width of the regions `boundary` and `near`, in the unit of the grid's voxel size.
    pub band: f64,
    /// The reference label of voxels that are excluded from all metrics.
    pub ignored: Option<Label>,
    /// Structures in addition to the single labels: names and the labels of each union.
    pub unions: BTreeMap<String, Vec<Label>>,
    /// Whether to compute the distances of the authors' convention, which cost as much as the others unless voxels have
    /// size 1.
    pub authors: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bins: DEFAULT_BINS,
            threshold: DEFAULT_THRESHOLD,
            tolerance: 1.0,
            band: 2.0,
            ignored: None,
            unions: BTreeMap::new(),
            authors: false,
        }
    }
}
