//! `bincount` and `take`.

use super::isa::wide;
use super::{Array, Block, CHUNK, Cpu};

/// Number of separate sums for neighbouring elements, so that their additions do not wait for each other.
const LANES: usize = 4;
/// Number of elements whose entries are found together.
const BLOCK: usize = 256;

/// `y_j[b] = sum of weight_j[i] over all i with bins[i] = b`, in f64, in pieces that depend only on the sizes.
pub(super) fn bincount(cpu: &Cpu, bins: &[f32], weights: &[Array<'_>], count: usize) -> Vec<Block> {
    // Every piece has its own sums: at most an eighth of the input in total, if there is more than one piece. The last
    // bin collects the elements to ignore.
    let sums = (count + 1) * LANES;
    let pieces = (bins.len() / CHUNK).min(bins.len() / (8 * sums * weights.len().max(1))).max(1);
    let size = bins.len().div_ceil(pieces).max(1);
    let mut partial = vec![0.0; pieces * weights.len() * sums];
    cpu.for_each_with(
        partial.chunks_mut((weights.len() * sums).max(1)).enumerate().collect(),
        || (),
        |(), (piece, partial)| {
            let range = (piece * size).min(bins.len())..((piece + 1) * size).min(bins.len());
            count_piece(range, bins, weights, count, partial);
        },
    );
    let sum = |j: usize, bin: usize| {
        let pieces = partial.chunks(weights.len() * sums).map(|piece| &piece[j * sums + bin * LANES..][..LANES]);
        pieces.fold(0.0, |sum, lanes| sum + ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])))
    };
    (0..weights.len())
        .map(|j| {
            let mut y = cpu.block(count);
            y.iter_mut().enumerate().for_each(|(bin, y)| *y = sum(j, bin) as f32);
            y
        })
        .collect()
}

/// Adds the elements of a range to `partial`, which is `[weight, bin, lane]`.
fn count_piece(range: std::ops::Range<usize>, bins: &[f32], weights: &[Array<'_>], count: usize, partial: &mut [f64]) {
    let mut entries = [0; BLOCK];
    for start in range.clone().step_by(BLOCK) {
        let end = range.end.min(start + BLOCK);
        find_entries(&bins[start..end], count, &mut entries);
        for (sums, (weight, _)) in partial.chunks_mut((count + 1) * LANES).zip(weights) {
            for (i, (&entry, &weight)) in entries.iter().zip(&weight[start..end]).enumerate() {
                sums[entry as usize * LANES + i % LANES] += f64::from(weight);
            }
        }
    }
}

wide! {
    /// The entry that each number equals; `count` if there is none.
    fn find_entries(numbers: &[f32], count: usize, entries: &mut [u32; BLOCK]) {
        for (entry, &number) in entries.iter_mut().zip(numbers) {
            *entry = find_entry(number, count);
        }
    }
}

/// The entry that a number equals; `count` if there is none.
#[inline(always)]
fn find_entry(number: f32, count: usize) -> u32 {
    let inside = number >= 0.0 && number < count.min(1 << 30) as f32;
    // SAFETY: the number is in 0..2^30 and not NaN, since NaN is not inside.
    let entry = unsafe { (if inside { number } else { 0.0 }).to_int_unchecked::<i32>() } as u32;
    if inside && entry as f32 == number && (entry as usize) < count { entry } else { count as u32 }
}

/// `y[i] = table[index[i]]`, 0 outside.
pub(super) fn take(cpu: &Cpu, table: &[f32], index: &[f32], y: &mut [f32]) {
    cpu.chunks(y, CHUNK, |chunk, y| take_piece(table, &index[chunk * CHUNK..], y));
}

wide! {
    fn take_piece(table: &[f32], index: &[f32], y: &mut [f32]) {
        let count = table.len();
        for (y, &index) in y.iter_mut().zip(index) {
            let entry = find_entry(index, count) as usize;
            *y = if entry < count { table[entry] } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::{Backend, Shape};

    use super::*;

    const FIVE: Shape = Shape::new(1, 1, 1, 1, 5);

    #[test]
    fn bins_sum_their_weights() {
        let cpu = Cpu::default();
        let bins = cpu.upload(vec![0.0, 2.0, 0.0, 1.0, 2.0]);
        let (a, b) = (cpu.upload(vec![1.0, 10.0, 2.0, 5.0, 0.5]), cpu.upload(vec![1.0; 5]));
        let y = cpu.bincount((&bins, FIVE), &[(&a, FIVE), (&b, FIVE)], 4);
        assert_eq!(y[0].to_vec(), [3.0, 5.0, 10.5, 0.0]);
        assert_eq!(y[1].to_vec(), [2.0, 1.0, 2.0, 0.0]);
    }

    #[test]
    fn what_names_no_bin_counts_nowhere() {
        for number in [-1.0, -0.5, 2.0, 0.5, 1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(find_entry(number, 2), 2, "{number}");
        }
        assert_eq!([0.0, -0.0, 1.0].map(|number| find_entry(number, 2)), [0, 0, 1]);
        assert_eq!(find_entry(0.0, 0), 0, "an empty table has no entry");
    }

    #[test]
    fn take_reads_the_table_and_zero_outside() {
        let cpu = Cpu::default();
        let (table, index) = (cpu.upload(vec![10.0, 20.0]), cpu.upload(vec![1.0, 0.0, 2.0, -1.0, f32::NAN]));
        let y = cpu.take((&table, Shape::new(1, 1, 1, 1, 2)), (&index, FIVE));
        assert_eq!(y.to_vec(), [20.0, 10.0, 0.0, 0.0, 0.0]);
    }
}
