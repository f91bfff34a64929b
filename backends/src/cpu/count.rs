//! `bincount` and `take`.

use super::{Array, Block, CHUNK, Cpu};

/// `y_j[b] = sum of weight_j[i] over all i with bins[i] = b`, in f64, in pieces that depend on the sizes alone.
pub(super) fn bincount(cpu: &Cpu, bins: &[f32], weights: &[Array<'_>], count: usize) -> Vec<Block> {
    // Every piece has sums of its own: at most an eighth of the input in all.
    let sums = (count * weights.len()).max(1);
    let pieces = (bins.len() / CHUNK).min(bins.len() / (8 * sums)).max(1);
    let size = bins.len().div_ceil(pieces).max(1);
    let mut partial = vec![0.0; pieces * sums];
    cpu.for_each_with(
        partial.chunks_mut(sums).enumerate().collect(),
        || (),
        |(), (piece, sums)| {
            let range = (piece * size).min(bins.len())..((piece + 1) * size).min(bins.len());
            for (sums, (weight, _)) in sums.chunks_mut(count.max(1)).zip(weights) {
                for (&bin, &weight) in bins[range.clone()].iter().zip(&weight[range.clone()]) {
                    if let Some(bin) = entry(bin, count) {
                        sums[bin] += f64::from(weight);
                    }
                }
            }
        },
    );
    (0..weights.len())
        .map(|j| {
            let mut y = cpu.block(count);
            for (bin, y) in y.iter_mut().enumerate() {
                *y = partial.iter().skip(j * count + bin).step_by(sums).sum::<f64>() as f32;
            }
            y
        })
        .collect()
}

/// `y[i] = table[index[i]]`, 0 outside.
pub(super) fn take(cpu: &Cpu, table: &[f32], index: &[f32], y: &mut [f32]) {
    cpu.chunks(y, CHUNK, |chunk, y| {
        for (y, &index) in y.iter_mut().zip(&index[chunk * CHUNK..]) {
            *y = entry(index, table.len()).map_or(0.0, |entry| table[entry]);
        }
    });
}

/// The entry that a number is equal to, if there is one.
#[inline(always)]
fn entry(number: f32, count: usize) -> Option<usize> {
    // The conversion saturates and takes NaN to 0, so that only a whole number inside comes back unchanged.
    let entry = number as usize;
    (entry < count && entry as f32 == number).then_some(entry)
}
