//! Overlap from voxel counts: DSC, IoU, sensitivity, precision, volume error.
//!
//! [`Confusion`] counts each pair of reference and predicted label once. The counts of a structure, or of any union of
//! labels, follow from it without another pass over the volumes; confusions of tiles, cases and processes can be added.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::empty::{Emptiness, Outcome};
use crate::volume::{BLOCK, Label, Structure};

/// The number of voxels for each pair of reference and predicted label. The counts are integers, so merging in any
/// order gives the same result.
///
/// Only pairs that occur are stored, so the number of labels may be large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    /// Reference label, predicted label, number of voxels; ascending.
    counts: Vec<(Label, Label, u64)>,
}

impl Confusion {
    /// Creates an empty confusion for the labels `0..classes`.
    pub const fn new(classes: usize) -> Self {
        Self { classes, counts: Vec::new() }
    }

    /// Number of labels, including the background.
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// Number of voxels.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|&(.., count)| count).sum()
    }

    /// Number of voxels with this reference and this predicted label.
    pub fn count(&self, reference: Label, prediction: Label) -> u64 {
        let found = self.counts.binary_search_by_key(&(reference, prediction), |&(r, p, _)| (r, p));
        found.map_or(0, |at| self.counts[at].2)
    }

    /// Counts the voxels of two label maps on the same grid.
    ///
    /// # Errors
    /// A label is not below the number of classes. In this case nothing is counted.
    ///
    /// # Panics
    /// The maps differ in length.
    pub fn add(&mut self, reference: &[Label], prediction: &[Label]) -> Result<()> {
        self.add_but(reference, prediction, None)
    }

    /// As [`Confusion::add`], without the voxels whose reference label is `ignored`.
    ///
    /// # Errors
    /// As [`Confusion::add`]; the ignored label may have any value.
    ///
    /// # Panics
    /// As [`Confusion::add`].
    pub fn add_but(&mut self, reference: &[Label], prediction: &[Label], ignored: Option<Label>) -> Result<()> {
        assert_eq!(reference.len(), prediction.len(), "reference and prediction differ in length");
        within(reference, self.classes, ignored).map_err(|error| error.at("reference"))?;
        within(prediction, self.classes, None).map_err(|error| error.at("prediction"))?;
        let blocks = reference.par_chunks(BLOCK).zip(prediction.par_chunks(BLOCK));
        let counted = blocks.map(|(reference, prediction)| pairs(reference, prediction, ignored));
        let new = counted.reduce(Vec::new, |a, b| added(&a, &b));
        self.counts = added(&self.counts, &new);
        Ok(())
    }

    /// Adds the counts of another part of the same evaluation.
    ///
    /// # Panics
    /// The numbers of classes differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "confusions of different numbers of classes");
        self.counts = added(&self.counts, &other.counts);
    }

    /// The counts of a structure against everything else.
    pub fn counts(&self, structure: &Structure) -> Counts {
        let mut counts = Counts::default();
        for &(reference, prediction, count) in &self.counts {
            *counts.cell(structure.contains(reference), structure.contains(prediction)) += count;
        }
        counts
    }

    /// The counts of every label that occurs in either map, as [`Confusion::counts`] returns them, in one pass.
    pub fn each(&self) -> BTreeMap<Label, Counts> {
        let total = self.total();
        let mut each: BTreeMap<Label, Counts> = BTreeMap::new();
        for &(reference, prediction, count) in &self.counts {
            if reference == prediction {
                each.entry(reference).or_default().true_positive += count;
            } else {
                each.entry(reference).or_default().false_negative += count;
                each.entry(prediction).or_default().false_positive += count;
            }
        }
        for counts in each.values_mut() {
            counts.true_negative = total - counts.true_positive - counts.false_negative - counts.false_positive;
        }
        each
    }
}

/// The counts of one block. Neighbouring voxels mostly have the same labels, so there are few runs of equal pairs.
fn pairs(reference: &[Label], prediction: &[Label], ignored: Option<Label>) -> Vec<(Label, Label, u64)> {
    let mut runs: Vec<(Label, Label, u64)> = Vec::new();
    for (&reference, &prediction) in reference.iter().zip(prediction).filter(|(label, _)| Some(**label) != ignored) {
        match runs.last_mut() {
            Some((r, p, count)) if (*r, *p) == (reference, prediction) => *count += 1,
            _ => runs.push((reference, prediction, 1)),
        }
    }
    runs.sort_unstable();
    runs.dedup_by(|next, kept| {
        let same = (next.0, next.1) == (kept.0, kept.1);
        kept.2 += if same { next.2 } else { 0 };
        same
    });
    runs
}

/// The sum of two sorted lists of counts, ascending.
fn added(a: &[(Label, Label, u64)], b: &[(Label, Label, u64)]) -> Vec<(Label, Label, u64)> {
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    let mut sum = Vec::new();
    while let (Some(&(r, p, count)), Some(&(s, q, other))) = (a.peek(), b.peek()) {
        let order = (r, p).cmp(&(s, q));
        if order.is_le() {
            a.next();
        }
        if order.is_ge() {
            b.next();
        }
        sum.push(match order {
            Ordering::Less => (r, p, count),
            Ordering::Equal => (r, p, count + other),
            Ordering::Greater => (s, q, other),
        });
    }
    sum.extend(a.chain(b));
    sum
}

/// Checks that the labels are below the number of classes; the error names the largest.
pub(crate) fn within(labels: &[Label], classes: usize, ignored: Option<Label>) -> Result<()> {
    let judged = labels.par_iter().copied().filter(|&label| Some(label) != ignored);
    within_largest(judged.max().unwrap_or(0), classes)
}

/// Checks that the largest label is below the number of classes.
pub(crate) fn within_largest(largest: Label, classes: usize) -> Result<()> {
    if usize::from(largest) < classes {
        return Ok(());
    }
    Err(Error::new(format!("the labels hold {largest}, but there are {classes} classes (0 to {})", classes - 1))
        .help("map or remove this label, or provide scores with a class for every label"))
}

/// Voxel counts of one structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Voxels in both masks.
    pub true_positive: u64,
    /// Voxels only in the prediction.
    pub false_positive: u64,
    /// Voxels only in the reference.
    pub false_negative: u64,
    /// Voxels in neither mask.
    pub true_negative: u64,
}

impl Counts {
    /// Number of voxels in the prediction.
    pub const fn predicted(&self) -> u64 {
        self.true_positive + self.false_positive
    }

    /// Number of voxels in the reference.
    pub const fn reference(&self) -> u64 {
        self.true_positive + self.false_negative
    }

    /// Which mask is empty.
    pub const fn emptiness(&self) -> Emptiness {
        Emptiness::of(self.predicted(), self.reference())
    }

    const fn cell(&mut self, in_reference: bool, in_prediction: bool) -> &mut u64 {
        match (in_reference, in_prediction) {
            (true, true) => &mut self.true_positive,
            (false, true) => &mut self.false_positive,
            (true, false) => &mut self.false_negative,
            (false, false) => &mut self.true_negative,
        }
    }

    fn ratio(&self, numerator: f64, denominator: u64) -> Outcome {
        Outcome::new(self.emptiness(), (denominator > 0).then(|| numerator / denominator as f64))
    }

    /// Dice similarity coefficient, `2 TP / (2 TP + FP + FN)`.
    pub fn dsc(&self) -> Outcome {
        self.ratio(2.0 * self.true_positive as f64, self.predicted() + self.reference())
    }

    /// Intersection over union (Jaccard), `TP / (TP + FP + FN)`.
    pub fn iou(&self) -> Outcome {
        self.ratio(self.true_positive as f64, self.predicted() + self.false_negative)
    }

    /// Sensitivity (recall), `TP / (TP + FN)`.
    pub fn sensitivity(&self) -> Outcome {
        self.ratio(self.true_positive as f64, self.reference())
    }

    /// Precision (positive predictive value), `TP / (TP + FP)`.
    pub fn precision(&self) -> Outcome {
        self.ratio(self.true_positive as f64, self.predicted())
    }

    /// Signed relative volume error, `(TP + FP) / (TP + FN) - 1`: positive if too much is predicted.
    pub fn volume_error(&self) -> Outcome {
        self.ratio(self.predicted() as f64 - self.reference() as f64, self.reference())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(outcome: Outcome) -> f64 {
        outcome.formula().expect("defined")
    }

    #[test]
    fn by_hand() {
        let counts = Counts { true_positive: 3, false_positive: 1, false_negative: 2, true_negative: 4 };
        assert_eq!(counts.dsc(), Outcome::Measured(6.0 / 9.0));
        assert_eq!(counts.iou(), Outcome::Measured(0.5));
        assert_eq!(counts.sensitivity(), Outcome::Measured(0.6));
        assert_eq!(counts.precision(), Outcome::Measured(0.75));
        assert_eq!(counts.volume_error(), Outcome::Measured(-0.2));
    }

    #[test]
    fn empty_masks_say_so() {
        let missed = Counts { false_negative: 2, ..Counts::default() };
        assert_eq!(missed.dsc(), Outcome::Empty { which: Emptiness::Prediction, formula: Some(0.0) });
        assert_eq!(missed.precision(), Outcome::Empty { which: Emptiness::Prediction, formula: None });
        assert_eq!(Counts::default().dsc(), Outcome::Empty { which: Emptiness::Both, formula: None });
    }

    #[test]
    fn a_label_beyond_the_classes_is_an_error() {
        let error = Confusion::new(2).add(&[0, 1], &[0, 2]).expect_err("label 2 of 2 classes");
        assert!(error.to_string().starts_with("prediction: the labels hold 2"), "{error}");
    }

    #[test]
    fn forty_thousand_labels_take_room_for_the_pairs_that_occur() {
        let reference: Vec<Label> = (0..40_000).collect();
        let prediction: Vec<Label> = (0..40_000).map(|label| label / 2).collect();
        let mut confusion = Confusion::new(40_000);
        confusion.add(&reference, &prediction).unwrap();
        assert_eq!(confusion.counts.len(), 40_000);
        assert_eq!((confusion.count(7, 3), confusion.count(3, 7)), (1, 0));
        assert_eq!(confusion.each()[&3].predicted(), 2);
    }

    fn labels() -> impl Strategy<Value = Vec<(Label, Label)>> {
        prop::collection::vec((0..4_u16, 0..4_u16), 1..60)
    }

    proptest! {
        #[test]
        fn unions_merging_and_the_identity_of_dsc_and_iou(pairs in labels(), cut in 0..60_usize) {
            let (reference, prediction): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            let cut = cut.min(pairs.len());
            let mut whole = Confusion::new(4);
            whole.add(&reference, &prediction).unwrap();
            let (mut a, mut b) = (Confusion::new(4), Confusion::new(4));
            a.add(&reference[..cut], &prediction[..cut]).unwrap();
            b.add(&reference[cut..], &prediction[cut..]).unwrap();
            b.merge(&a);
            prop_assert_eq!(&b, &whole);
            for (label, counts) in whole.each() {
                prop_assert_eq!(counts, whole.counts(&Structure::single(label)));
            }
            let kept = pairs.iter().filter(|(r, _)| *r != 2);
            let (reference_kept, prediction_kept): (Vec<_>, Vec<_>) = kept.copied().unzip();
            let (mut without, mut expected) = (Confusion::new(4), Confusion::new(4));
            without.add_but(&reference, &prediction, Some(2)).unwrap();
            expected.add(&reference_kept, &prediction_kept).unwrap();
            prop_assert_eq!(without, expected);
            for structure in Structure::brats() {
                let counts = whole.counts(&structure);
                let both = pairs.iter().filter(|(r, p)| structure.contains(*r) && structure.contains(*p)).count();
                prop_assert_eq!(counts.true_positive, both as u64);
                if counts.emptiness() != Emptiness::Both {
                    let iou = value(counts.iou());
                    prop_assert!((value(counts.dsc()) - 2.0 * iou / (1.0 + iou)).abs() < 1e-15);
                }
            }
        }
    }
}
