//! States of metrics: parts merged in any order, and written and read in between, give the state of the whole.

use segcal_metrics::calibration::{Calibration, EqualMass, Voxels};
use segcal_metrics::overlap::Confusion;
use segcal_metrics::volume::{Label, Probabilities};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::input::Bytes;

/// Some voxels: their probabilities `[k, voxels]`, reference labels, and which of them lie in the band.
struct Part {
    probabilities: Vec<f32>,
    reference: Vec<Label>,
    band: Vec<bool>,
}

/// Cuts voxels into parts and merges their states in three orders.
pub fn target(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let (equal_mass, classes, bins) = (bytes.below(64) == 63, 1 + bytes.below(5), 1 + bytes.below(20));
    let count = 1 + bytes.below(5);
    let parts: Vec<Part> = (0..count).map(|_| part(&mut bytes, classes)).collect();
    merges(&parts, &Calibration::new(classes, bins), Calibration::merge, |state, part| {
        state
            .add(Probabilities::new(&part.probabilities, classes), &part.reference, Some(&part.band))
            .expect("probabilities and labels are in range");
    });
    merges(&parts, &Confusion::new(classes), Confusion::merge, |state, part| {
        let prediction = Probabilities::new(&part.probabilities, classes).argmax();
        state.add(&part.reference, &prediction).expect("labels are in range");
    });
    // Its cells are many, so it takes most of the time: not for every input.
    if equal_mass {
        merges(&parts, &EqualMass::new(classes, bins), EqualMass::merge, |state, part| {
            let p = Probabilities::new(&part.probabilities, classes);
            let prediction = p.argmax();
            state.add(&Voxels::new(p, &part.reference, &prediction, None).with_boundary(&part.band));
        });
    }
}

/// Any probability of sixteenths and the neighbours of edges, tiny and subnormal ones among them.
fn part(bytes: &mut Bytes<'_>, classes: usize) -> Part {
    let voxels = 1 + bytes.below(6);
    let mut probability = || {
        let near = *bytes.pick(&[0.0_f32, 1.0, 0.5, 1e-3, 1e-40, 1.0 / 15.0, 2.0 / 15.0, 0.25]);
        let up = bytes.byte();
        if up.is_multiple_of(4) { near } else { (f32::from(up) / 256.0 * near).clamp(0.0, 1.0) }
    };
    let probabilities = (0..classes * voxels).map(|_| probability()).collect();
    let reference = (0..voxels).map(|_| bytes.below(classes) as Label).collect();
    Part { probabilities, reference, band: (0..voxels).map(|_| bytes.byte() & 1 == 1).collect() }
}

fn merges<S: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned>(
    parts: &[Part],
    empty: &S,
    merge: impl Fn(&mut S, &S),
    add: impl Fn(&mut S, &Part),
) {
    let mut whole = empty.clone();
    parts.iter().for_each(|part| add(&mut whole, part));
    let states: Vec<S> = parts
        .iter()
        .map(|part| {
            let mut state = empty.clone();
            add(&mut state, part);
            let text = serde_json::to_string(&state).expect("a state is JSON");
            serde_json::from_str(&text).expect("what was written can be read")
        })
        .collect();
    let fold = |states: &mut dyn Iterator<Item = &S>| {
        let mut total = empty.clone();
        states.for_each(|state| merge(&mut total, state));
        total
    };
    assert_eq!(fold(&mut states.iter()), whole, "in order");
    assert_eq!(fold(&mut states.iter().rev()), whole, "in the reverse order");
    // As a tree: the halves first.
    let (left, right) = states.split_at(states.len() / 2);
    let mut total = fold(&mut right.iter());
    merge(&mut total, &fold(&mut left.iter()));
    assert_eq!(total, whole, "the halves first");
}

/// Several sizes.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let numbers = |head: [u8; 4], step: u8| {
        head.into_iter().chain((0..200).map(|i: u8| i.wrapping_mul(step))).collect::<Vec<u8>>()
    };
    vec![
        ("two_classes", numbers([0, 1, 14, 2], 7)),
        ("five_classes", numbers([1, 4, 19, 4], 29)),
        ("one_bin", numbers([0, 2, 0, 3], 13)),
        ("one_class", numbers([1, 0, 9, 1], 3)),
        ("equal_mass", numbers([63, 1, 14, 1], 11)),
        ("empty", Vec::new()),
    ]
}
