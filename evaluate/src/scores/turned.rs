//! Detects numbers that seem to be flipped relative to their header.

use segcal_data::Volume;
use segcal_metrics::volume::{Label, Probabilities};

/// The agreement (fraction of foreground voxels with the right label) by which a flip must win to be reported.
const MARGIN: f64 = 0.2;

/// Maximum number of foreground voxels that are compared. If there are more, they are sampled at equal distances.
const WITNESSES: usize = 1 << 16;

/// A warning if the scores agree far better with the reference when they are flipped: some tools flip the numbers but
/// keep the header.
pub(super) fn doubt(scores: Probabilities<'_>, reference: &Volume<Label>) -> Option<String> {
    let [d, h, w] = reference.grid.extent;
    let labels = reference.values();
    let judged = |voxel: &usize| labels[*voxel] != 0 && usize::from(labels[*voxel]) < scores.classes();
    let foreground = (0..labels.len()).filter(judged).count();
    let witnesses: Vec<usize> =
        (0..labels.len()).filter(judged).step_by(foreground.div_ceil(WITNESSES).max(1)).collect();
    let agreement =
        |flips: usize| {
            let right =
                |&&voxel: &&usize| {
                    let at = [voxel / (h * w), voxel / w % h, voxel % w];
                    let [z, y, x]: [usize; 3] = std::array::from_fn(|axis| {
                        if flips >> axis & 1 == 1 { [d, h, w][axis] - 1 - at[axis] } else { at[axis] }
                    });
                    most_probable(scores, (z * h + y) * w + x) == labels[voxel]
                };
            witnesses.iter().filter(right).count() as f64 / witnesses.len().max(1) as f64
        };
    let base = agreement(0);
    let best = (1..8).map(|flips| (agreement(flips), flips)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    let letters: String = (0..3).filter(|axis| best.1 >> axis & 1 == 1).map(|axis| ['z', 'y', 'x'][axis]).collect();
    let text = format!(
        "the scores agree with {:.0} % of the reference foreground as stored, but with {:.0} % if flipped along {letters}",
        100.0 * base,
        100.0 * best.0
    );
    (best.0 > base + MARGIN).then_some(text)
}

/// The class with the largest score of one voxel; the first of equal ones.
fn most_probable(scores: Probabilities<'_>, voxel: usize) -> Label {
    let mut best = (f32::NEG_INFINITY, 0);
    for class in 0..scores.classes() {
        let score = scores.values()[class * scores.voxels() + voxel];
        if score > best.0 {
            best = (score, class as Label);
        }
    }
    best.1
}
