//! Overlap from voxel counts: DSC, IoU, sensitivity, precision, volume error.
//!
//! [`Confusion`] counts each pair of reference and predicted label once. The counts of a structure, or of any union of
//! labels, follow from it without another look at the volumes; confusions of tiles, cases and processes add up.

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::empty::{Emptiness, Outcome};
use crate::volume::{BLOCK, Label, Structure};

/// How often each reference label met each predicted label. Integers: merging in any order gives the same counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    /// `counts[reference * classes + prediction]`.
    counts: Vec<u64>,
}

impl Confusion {
    /// No voxel yet, for labels `0..classes`.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Number of labels, the background among them.
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// Number of voxels with this reference and this predicted label.
    pub fn count(&self, reference: Label, prediction: Label) -> u64 {
        self.counts[usize::from(reference) * self.classes + usize::from(prediction)]
    }

    /// Counts the voxels of two label maps on the same grid.
    ///
    /// # Errors
    /// A label is not below the number of classes; nothing is counted then.
    ///
    /// # Panics
    /// The maps differ in length.
    pub fn add(&mut self, reference: &[Label], prediction: &[Label]) -> Result<()> {
        assert_eq!(reference.len(), prediction.len(), "reference and prediction differ in length");
        within(reference, self.classes).map_err(|error| error.at("reference"))?;
        within(prediction, self.classes).map_err(|error| error.at("prediction"))?;
        let classes = self.classes;
        let tally = |mut counts: Vec<u64>, (reference, prediction): (&[Label], &[Label])| {
            for (&reference, &prediction) in reference.iter().zip(prediction) {
                counts[usize::from(reference) * classes + usize::from(prediction)] += 1;
            }
            counts
        };
        let zero = || vec![0; classes * classes];
        let counts = (reference.par_chunks(BLOCK).zip(prediction.par_chunks(BLOCK))).fold(zero, tally);
        let total = counts.reduce(zero, |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        });
        self.counts.iter_mut().zip(total).for_each(|(own, new)| *own += new);
        Ok(())
    }

    /// Adds the counts of another part of the same evaluation.
    ///
    /// # Panics
    /// The numbers of classes differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "confusions of different numbers of classes");
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, new)| *own += new);
    }

    /// The counts of a structure against everything else.
    pub fn counts(&self, structure: &Structure) -> Counts {
        let mut counts = Counts::default();
        for reference in 0..self.classes as Label {
            for prediction in 0..self.classes as Label {
                let cell = match (structure.contains(reference), structure.contains(prediction)) {
                    (true, true) => &mut counts.true_positive,
                    (false, true) => &mut counts.false_positive,
                    (true, false) => &mut counts.false_negative,
                    (false, false) => &mut counts.true_negative,
                };
                *cell += self.count(reference, prediction);
            }
        }
        counts
    }
}

/// Says which label is too large.
pub(crate) fn within(labels: &[Label], classes: usize) -> Result<()> {
    let largest = labels.par_iter().copied().max().unwrap_or(0);
    if usize::from(largest) < classes {
        return Ok(());
    }
    Err(Error::new(format!("the labels hold {largest}, but there are {classes} classes (0 to {})", classes - 1))
        .help("map or remove that label, or evaluate with as many classes as the labels have"))
}

/// Voxel counts of one structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// In both masks.
    pub true_positive: u64,
    /// In the prediction only.
    pub false_positive: u64,
    /// In the reference only.
    pub false_negative: u64,
    /// In neither.
    pub true_negative: u64,
}

impl Counts {
    /// Voxels of the prediction.
    pub const fn predicted(&self) -> u64 {
        self.true_positive + self.false_positive
    }

    /// Voxels of the reference.
    pub const fn reference(&self) -> u64 {
        self.true_positive + self.false_negative
    }

    /// Which mask is empty.
    pub const fn emptiness(&self) -> Emptiness {
        Emptiness::of(self.predicted(), self.reference())
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

    /// Signed relative volume error, `(TP + FP) / (TP + FN) - 1`: positive where too much is predicted.
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
