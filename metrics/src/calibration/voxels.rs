//! The voxels of a volume with what places them into regions.

use rayon::prelude::*;
use segcal_core::Result;

use super::bins::THRESHOLD;
use super::quiet::Quiet;
use crate::overlap::within_largest;
use crate::volume::{Label, Probabilities};

/// Bit of a voxel's flags: in the band around the reference's boundary.
pub(super) const IN_BAND: u8 = 1;
/// Bit of a voxel's flags: in the band around the predicted boundary.
pub(super) const NEAR: u8 = 2;
/// Bit of a voxel's flags: in no figure.
pub(super) const IGNORED: u8 = 4;

/// Probabilities `[k, d, h, w]` with reference and prediction, and what places each voxel into regions.
#[derive(Debug)]
pub struct Voxels<'a> {
    pub(super) p: Probabilities<'a>,
    pub(super) reference: &'a [Label],
    pub(super) prediction: &'a [Label],
    pub(super) flags: Vec<u8>,
    /// Probabilities at or below this are left out of `tace` and `tcece`.
    pub(super) threshold: f32,
    /// Where every class is at or below it.
    pub(super) quiet: Quiet,
}

impl<'a> Voxels<'a> {
    /// Joins the parts of a volume. `prediction` is the class of largest probability ([`Probabilities::argmax`]); voxels
    /// whose reference label is `ignored` are in no figure.
    ///
    /// # Panics
    /// The parts differ in size.
    pub fn new(p: Probabilities<'a>, reference: &'a [Label], prediction: &'a [Label], ignored: Option<Label>) -> Self {
        assert_eq!((p.voxels(), p.voxels()), (reference.len(), prediction.len()), "voxels");
        let flag = |&label: &Label| if Some(label) == ignored { IGNORED } else { 0 };
        let (threshold, flags) = (THRESHOLD, reference.par_iter().map(flag).collect());
        Self { p, reference, prediction, flags, threshold, quiet: Quiet::of(p, threshold) }
    }

    /// With another threshold of `tace` and `tcece`, which must lie in the first bin of equal width. Voxels that go into one state
    /// have the same.
    #[must_use]
    pub fn with_threshold(self, threshold: f32) -> Self {
        let same = self.threshold.to_bits() == threshold.to_bits();
        let quiet = if same { self.quiet } else { Quiet::of(self.p, threshold) };
        Self { threshold, quiet, ..self }
    }

    /// With the voxels of [`super::Region::Boundary`], as [`crate::band::boundary_band`] of the reference gives them.
    ///
    /// # Panics
    /// The band is of another size.
    #[must_use]
    pub fn with_boundary(self, band: &[bool]) -> Self {
        self.flagged(band, IN_BAND)
    }

    /// With the voxels of [`super::Region::Near`], as [`crate::band::boundary_band`] of the prediction gives them.
    ///
    /// # Panics
    /// The band is of another size.
    #[must_use]
    pub fn with_near(self, band: &[bool]) -> Self {
        self.flagged(band, NEAR)
    }

    fn flagged(mut self, band: &[bool], flag: u8) -> Self {
        assert_eq!(band.len(), self.flags.len(), "a band of another size");
        self.flags.par_iter_mut().zip(band).for_each(|(flags, &on)| *flags |= if on { flag } else { 0 });
        self
    }

    /// Refuses a label without a class, but for ignored voxels.
    pub(super) fn expect_labels(&self) -> Result<()> {
        let labels = self.reference.par_iter().zip(&self.flags).filter(|(_, flags)| **flags & IGNORED == 0);
        within_largest(labels.map(|(&label, _)| label).max().unwrap_or(0), self.p.classes())
    }

    /// Number of voxels that are in no figure.
    pub fn ignored(&self) -> u64 {
        self.flags.par_iter().filter(|&&flags| flags & IGNORED != 0).count() as u64
    }
}
