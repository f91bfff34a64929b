//! The voxels of a volume, and the flags that assign them to regions.

use rayon::prelude::*;
use segcal_core::Result;

use super::bins::THRESHOLD;
use super::quiet::Quiet;
use crate::overlap::within_largest;
use crate::volume::{Label, Probabilities};

/// Flag bit of a voxel: in the band around the reference boundary.
pub(super) const IN_BAND: u8 = 1;
/// Flag bit of a voxel: in the band around the predicted boundary.
pub(super) const NEAR: u8 = 2;
/// Flag bit of a voxel: ignored in all metrics.
pub(super) const IGNORED: u8 = 4;

/// Probabilities `[k, d, h, w]` with reference and prediction, and the flags that assign each voxel to regions.
#[derive(Debug)]
pub struct Voxels<'a> {
    pub(super) p: Probabilities<'a>,
    pub(super) reference: &'a [Label],
    pub(super) prediction: &'a [Label],
    pub(super) flags: Vec<u8>,
    /// Probabilities at or below this are excluded from `tace` and `tcece`.
    pub(super) threshold: f32,
    /// Chunks of classes whose values are all at or below the threshold.
    pub(super) quiet: Quiet,
}

impl<'a> Voxels<'a> {
    /// Combines the parts of a volume. `prediction` is the class with the largest probability
    /// ([`Probabilities::argmax`]); voxels whose reference label is `ignored` are excluded from all metrics.
    ///
    /// # Panics
    /// The parts differ in size.
    pub fn new(p: Probabilities<'a>, reference: &'a [Label], prediction: &'a [Label], ignored: Option<Label>) -> Self {
        assert_eq!((p.voxels(), p.voxels()), (reference.len(), prediction.len()), "voxels");
        let flag = |&label: &Label| if Some(label) == ignored { IGNORED } else { 0 };
        let (threshold, flags) = (THRESHOLD, reference.par_iter().map(flag).collect());
        Self { p, reference, prediction, flags, threshold, quiet: Quiet::of(p, threshold) }
    }

    /// Sets the threshold of `tace` and `tcece`, which must be in the first equal-width bin. All voxels added to one
    /// state must use the same threshold.
    #[must_use]
    pub fn with_threshold(self, threshold: f32) -> Self {
        let same = self.threshold.to_bits() == threshold.to_bits();
        let quiet = if same { self.quiet } else { Quiet::of(self.p, threshold) };
        Self { threshold, quiet, ..self }
    }

    /// Sets the voxels of [`super::Region::Boundary`], computed by [`crate::band::boundary_band`] from the reference.
    ///
    /// # Panics
    /// The band has a different size.
    #[must_use]
    pub fn with_boundary(self, band: &[bool]) -> Self {
        self.flagged(band, IN_BAND)
    }

    /// Sets the voxels of [`super::Region::Near`], computed by [`crate::band::boundary_band`] from the prediction.
    ///
    /// # Panics
    /// The band has a different size.
    #[must_use]
    pub fn with_near(self, band: &[bool]) -> Self {
        self.flagged(band, NEAR)
    }

    fn flagged(mut self, band: &[bool], flag: u8) -> Self {
        assert_eq!(band.len(), self.flags.len(), "a band of another size");
        self.flags.par_iter_mut().zip(band).for_each(|(flags, &on)| *flags |= if on { flag } else { 0 });
        self
    }

    /// Checks that every label has a class, except for ignored voxels.
    pub(super) fn expect_labels(&self) -> Result<()> {
        let labels = self.reference.par_iter().zip(&self.flags).filter(|(_, flags)| **flags & IGNORED == 0);
        within_largest(labels.map(|(&label, _)| label).max().unwrap_or(0), self.p.classes())
    }

    /// Number of ignored voxels.
    pub fn ignored(&self) -> u64 {
        self.flags.par_iter().filter(|&&flags| flags & IGNORED != 0).count() as u64
    }
}
