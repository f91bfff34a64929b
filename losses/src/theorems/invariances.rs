//! Invariances of losses, and their exceptions.

use segcal_core::Backend;

use super::problem::gap;
use super::{Problem, Theorem};
use crate::Convention::{Authors, Paper};
use crate::{Convention, Loss};

/// Losses that are not invariant to adding one number to all logits of a pixel.
pub(crate) const SHIFT_SENSITIVE: [&str; 4] = ["nacl", "crac", "crac-fixed", "bwcr"];

/// Losses that use neighbouring pixels or a second view.
const SPATIAL: [&str; 5] = ["svls", "nacl", "crac", "crac-fixed", "bwcr"];

pub(super) fn theorems<B: Backend>() -> Vec<Theorem<B>> {
    vec![
        Theorem {
            name: "logit-shift",
            statement: "one number added to all logits of a pixel changes no loss of softmax and logit distances; NACL on softmax \
                        included, NACL and CRaC on logits excluded",
            source: "definition of softmax",
            about: &["nacl"],
            // Logits are rounded to f32 after the shift.
            bound: [1e-5, 1e-3],
            check: |p| {
                let voxels = p.shape.voxels();
                let shifted = p.with_logits(|place, l| l + 0.5 * ((place % voxels) % 7) as f64 - 1.5);
                let mut worst: f64 = 0.0;
                let softmax = ("nacl", vec![("on", "softmax")]);
                let others = Loss::names().into_iter().filter(|name| !SHIFT_SENSITIVE.contains(name));
                // Hard bins jump where a probability crosses an edge.
                let others =
                    others.map(|name| (name, if name == "ace-l1" { vec![("binning", "soft")] } else { vec![] }));
                for (name, set) in others.chain([softmax]) {
                    let [a, b] = [p, &shifted].map(|p| p.evaluate(name, &set, Authors));
                    worst = worst.max(gap(b?.total, a?.total));
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "logit-shift-matters",
            statement: "lowering all logits by 30 changes NACL and CRaC on logits",
            source: "NACL, Eq. 7; CRaC, Eq. 7",
            about: &["nacl", "crac"],
            bound: [0.0, 0.0],
            check: |p| {
                let shifted = p.with_logits(|_, l| l - 30.0);
                let mut worst: f64 = 0.0;
                for name in ["nacl", "crac"] {
                    let change = shifted.evaluate(name, &[], Paper)?.total - p.evaluate(name, &[], Paper)?.total;
                    worst = worst.max(if change.abs() > 0.1 { 0.0 } else { 1.0 });
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "pixel-order",
            statement: "the order of the pixels of a sample changes no loss that does not look at neighbours",
            source: "definitions",
            about: &[],
            bound: [1e-12, 1e-4],
            check: |p| {
                let order = p.rng.stream(30).permutation(p.shape.voxels());
                let moved = p.reordered(&order);
                let mut worst: f64 = 0.0;
                for name in Loss::names().into_iter().filter(|name| !SPATIAL.contains(name)) {
                    for &convention in Convention::ALL {
                        let [a, b] = [p, &moved].map(|p| p.evaluate(name, &[], convention));
                        worst = worst.max(gap(b?.total, a?.total));
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "flips",
            statement: "mirroring the batch along any axis changes no loss",
            source: "definitions",
            about: &[],
            bound: [1e-12, 1e-4],
            check: |p| {
                let mut worst: f64 = 0.0;
                for axis in 0..3 {
                    let flipped = flip(p, axis);
                    for name in Loss::names() {
                        for &convention in Convention::ALL {
                            let [a, b] = [p, &flipped].map(|p| p.evaluate(name, &[], convention));
                            // The blur of the public code adds in float32, in the order of the taps.
                            let rounding = if (name, convention) == ("svls", Authors) { 27.0 * 6e-8 } else { 0.0 };
                            worst = worst.max(gap(b?.total, a?.total) - rounding);
                        }
                    }
                }
                Ok(worst)
            },
        },
    ]
}

fn flip<B: Backend>(p: &Problem<B>, axis: usize) -> Problem<B> {
    let [d, h, w] = p.shape.spatial();
    let image = segcal_core::Shape::new(1, 1, d, h, w);
    let order: Vec<usize> = (0..image.len())
        .map(|voxel| {
            let mut at = image.coordinate(voxel);
            at[2 + axis] = image.dims()[2 + axis] - 1 - at[2 + axis];
            image.offset(at)
        })
        .collect();
    p.reordered(&order)
}
