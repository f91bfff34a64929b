//! `rank_filter`: a sorting network applied to many windows at a time.
//!
//! The values of a window are compared by a fixed list of exchanges (Batcher's odd-even merge sort), reduced to those
//! that the requested rank depends on. Each exchange works on a block of neighbouring windows. Values are compared as
//! integers in IEEE 754 total order, so that NaN needs no special case.

use segcal_core::{Rank, Shape};

use super::isa::wide;
use super::{Array, CHUNK, Cpu};

/// Number of windows that are sorted together.
const BLOCK: usize = 64;

/// The values of one tap in the windows of a block.
type Lane = [i32; BLOCK];

/// The value of the given rank in each window that fits inside `x`.
pub(super) fn rank_filter(cpu: &Cpu, (x, x_shape): Array<'_>, size: [usize; 3], rank: Rank, y: &mut [f32], out: Shape) {
    let [out_d, out_h, out_w] = out.spatial();
    let exchanges = network(size.iter().product(), rank);
    let rows = (CHUNK / 16).div_ceil(out_w);
    cpu.chunks(y, rows * out_w, |task, y| {
        let mut lanes = vec![[0; BLOCK]; size.iter().product()];
        for (i, y) in y.chunks_mut(out_w).enumerate() {
            let row = task * rows + i;
            let (plane, d, h) = (row / (out_h * out_d), row / out_h % out_d, row % out_h);
            let volume = &x[plane * x_shape.voxels()..][..x_shape.voxels()];
            for (block, y) in y.chunks_mut(BLOCK).enumerate() {
                load(volume, x_shape, size, [d, h, block * BLOCK], y.len(), &mut lanes);
                sort(&mut lanes, &exchanges);
                match rank {
                    Rank::Nth(k) => y.iter_mut().zip(&lanes[k]).for_each(|(y, &key)| *y = number(key)),
                    Rank::Mode => modes(&lanes, y),
                }
            }
        }
    });
}

/// Maps an f32 to an integer with the same order; apart from the type, the map is its own inverse.
#[inline(always)]
fn key(bits: i32) -> i32 {
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

#[inline(always)]
fn number(order: i32) -> f32 {
    f32::from_bits(key(order) as u32)
}

/// Fills one lane for each tap of `len` windows that begin at `[d, h, w]`.
fn load(volume: &[f32], x_shape: Shape, size: [usize; 3], [d, h, w]: [usize; 3], len: usize, lanes: &mut [Lane]) {
    let [_, x_h, x_w] = x_shape.spatial();
    let mut lanes = lanes.iter_mut();
    for inside_d in 0..size[0] {
        for inside_h in 0..size[1] {
            let row = ((d + inside_d) * x_h + h + inside_h) * x_w + w;
            for (inside_w, lane) in lanes.by_ref().take(size[2]).enumerate() {
                load_lane(&volume[row + inside_w..][..len], lane);
            }
        }
    }
}

wide! {
    fn load_lane(values: &[f32], lane: &mut Lane) {
        for (order, value) in lane.iter_mut().zip(values) {
            *order = key(value.to_bits() as i32);
        }
    }
}

/// Two lanes to order, with the smaller values going to the first.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Exchange(usize, usize);

wide! {
    fn sort(lanes: &mut [Lane], exchanges: &[Exchange]) {
        for &Exchange(low, high) in exchanges {
            let (front, back) = lanes.split_at_mut(high);
            for (a, b) in front[low].iter_mut().zip(&mut back[0]) {
                (*a, *b) = ((*a).min(*b), (*a).max(*b));
            }
        }
    }
}

wide! {
    /// The most frequent value of each window (the smallest on a tie), from sorted lanes.
    fn modes(lanes: &[Lane], y: &mut [f32]) {
        let mut best = lanes[0];
        let (mut run, mut longest) = ([1; BLOCK], [1; BLOCK]);
        for pair in lanes.windows(2) {
            for i in 0..BLOCK {
                run[i] = if pair[0][i] == pair[1][i] { run[i] + 1 } else { 1 };
                let longer = run[i] > longest[i];
                best[i] = if longer { pair[1][i] } else { best[i] };
                longest[i] = if longer { run[i] } else { longest[i] };
            }
        }
        y.iter_mut().zip(&best).for_each(|(y, &key)| *y = number(key));
    }
}

/// The exchanges that bring the requested rank of `count` values to its lane.
fn network(count: usize, rank: Rank) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    merge_sort(0, count.next_power_of_two(), count, &mut exchanges);
    let mut needed: Vec<bool> = (0..count).map(|lane| rank == Rank::Mode || rank == Rank::Nth(lane)).collect();
    let mut kept: Vec<Exchange> = Vec::new();
    for &exchange in exchanges.iter().rev() {
        let Exchange(low, high) = exchange;
        if needed[low] || needed[high] {
            (needed[low], needed[high]) = (true, true);
            kept.push(exchange);
        }
    }
    kept.reverse();
    kept
}

/// Odd-even merge sort of `length` lanes from `first` on. Lanes from `count` on can be thought of as holding the
/// largest values, already in place, so exchanges with them are left out.
fn merge_sort(first: usize, length: usize, count: usize, exchanges: &mut Vec<Exchange>) {
    if length > 1 {
        merge_sort(first, length / 2, count, exchanges);
        merge_sort(first + length / 2, length / 2, count, exchanges);
        merge(first, length, 1, count, exchanges);
    }
}

/// Merges the two sorted halves of every `step`-th lane.
fn merge(first: usize, length: usize, step: usize, count: usize, exchanges: &mut Vec<Exchange>) {
    let pairs = if step * 2 < length {
        merge(first, length, step * 2, count, exchanges);
        merge(first + step, length, step * 2, count, exchanges);
        first + step..first + length - step
    } else {
        first..first + 1
    };
    exchanges.extend(pairs.step_by(step * 2).map(|low| Exchange(low, low + step)).filter(|pair| pair.1 < count));
}

#[cfg(test)]
mod tests {
    use segcal_core::Backend;

    use super::*;

    /// A network that sorts every list of zeros and ones sorts everything.
    #[test]
    fn networks_sort_all_zeros_and_ones() {
        for count in 1..=12 {
            let network = network(count, Rank::Mode);
            for bits in 0..1u32 << count {
                let mut values: Vec<u32> = (0..count).map(|i| bits >> i & 1).collect();
                for &Exchange(low, high) in &network {
                    if values[low] > values[high] {
                        values.swap(low, high);
                    }
                }
                assert!(values.is_sorted(), "{count} {bits:b}");
            }
        }
    }

    #[test]
    fn a_rank_needs_fewer_exchanges_than_a_sort() {
        let count = |rank| network(9, rank).len();
        assert_eq!(count(Rank::Nth(0)), 8, "a minimum of nine takes eight comparisons");
        assert!(count(Rank::Nth(4)) < count(Rank::Mode));
    }

    #[test]
    fn ranks_and_modes_by_hand() {
        let cpu = Cpu::default();
        let (shape, out) = (Shape::new(1, 1, 1, 1, 5), Shape::new(1, 1, 1, 1, 3));
        let x = cpu.upload(vec![3.0, 1.0, 4.0, 1.0, -5.0]);
        let ranked = |rank| cpu.rank_filter((&x, shape), [1, 1, 3], rank, out).to_vec();
        assert_eq!(ranked(Rank::Nth(0)), [1.0, 1.0, -5.0]);
        assert_eq!(ranked(Rank::Nth(1)), [3.0, 1.0, 1.0]);
        assert_eq!(ranked(Rank::Nth(2)), [4.0, 4.0, 4.0]);
        assert_eq!(ranked(Rank::Mode), [1.0, 1.0, -5.0]);
    }

    #[test]
    fn keys_have_the_order_of_their_numbers() {
        let numbers = [f32::NEG_INFINITY, -2.0, -1e-45, -0.0, 0.0, 1e-45, 3.5, f32::INFINITY, f32::NAN];
        let keys = numbers.map(|number| key(number.to_bits() as i32));
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert!(keys.iter().zip(numbers).all(|(&key, x)| number(key).to_bits() == x.to_bits()));
    }
}
