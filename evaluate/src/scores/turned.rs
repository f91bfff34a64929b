//! Whether numbers seem to be turned under their header.

use segcal_data::Volume;
use segcal_metrics::volume::{Label, Probabilities};

/// Agreement (share of foreground voxels with the right label) by which a flip must win to be told.
const MARGIN: f64 = 0.2;

/// Foreground voxels that are looked at; of more, as many at equal distances.
const WITNESSES: usize = 1 << 16;

/// What is in doubt where the scores agree far better with the reference when they are flipped: many a tool has turned the
/// numbers and kept the header.
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
        "the scores agree with {:.0} % of the reference's foreground as they are, but with {:.0} % flipped along {letters}",
        100.0 * base,
        100.0 * best.0
    );
    (best.0 > base + MARGIN).then_some(text)
}

/// The class of the largest score of one voxel; of equals the first.
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
