//! Interpolation along `w`, one row at a time.

use super::super::isa::wide;
use super::table::{Kind, Table};

wide! {
    pub(super) fn add_row(row: &[f32], weight: f32, sum: &mut [f32]) {
        for (sum, &value) in sum.iter_mut().zip(row) {
            *sum += weight * value;
        }
    }
}

/// Interpolates along `w`.
pub(super) fn mix_row(table: &Table, row: &[f32], y: &mut [f32]) {
    match &table.kind {
        Kind::Copy => y.copy_from_slice(row),
        Kind::Repeat(factor) => repeat_row(row, *factor, y),
        Kind::Sum(factor) => sum_row(row, *factor, y),
        Kind::Double => double_row(row, y),
        Kind::Halve => halve_row(row, y),
        Kind::Few(lists) => {
            y.fill(0.0);
            for (voxels, weights) in lists {
                add_term(row, voxels, weights, y);
            }
        }
        Kind::Many => {
            for (place, y) in y.iter_mut().enumerate() {
                *y = table.terms(place).iter().map(|&(voxel, weight)| weight * row[voxel]).sum();
            }
        }
    }
}

wide! {
    /// `sum[i] += weights[i] row[voxels[i]]`, where the weight is not 0.
    fn add_term(row: &[f32], voxels: &[u32], weights: &[f32], sum: &mut [f32]) {
        assert!(!row.is_empty());
        let last = row.len() - 1;
        for ((sum, &voxel), &weight) in sum.iter_mut().zip(voxels).zip(weights) {
            // SAFETY: the index is at most the last one.
            let value = unsafe { *row.get_unchecked((voxel as usize).min(last)) };
            *sum += if weight == 0.0 { 0.0 } else { weight * value };
        }
    }
}

wide! {
    fn double_row(row: &[f32], y: &mut [f32]) {
        let (last, end) = (row.len() - 1, y.len() - 1);
        (y[0], y[end]) = (row[0], row[last]);
        let pairs = y[1..end].as_chunks_mut::<2>().0;
        for ((pair, &a), &b) in pairs.iter_mut().zip(row).zip(&row[1..]) {
            *pair = [0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b];
        }
    }
}

wide! {
    fn halve_row(row: &[f32], y: &mut [f32]) {
        let (last, end) = (y.len() - 1, row.len() - 1);
        let pairs = row[1..end].as_chunks::<2>().0;
        y.fill(0.0);
        for ((y, left), right) in y[1.min(last)..last].iter_mut().zip(pairs).zip(pairs.iter().skip(1)) {
            *y = (0.75 * left[1] + 0.25 * left[0]) + (0.75 * right[0] + 0.25 * right[1]);
        }
        let beside = |pair: Option<&[f32; 2]>, near: usize| {
            pair.map_or(0.0, |pair| 0.75 * pair[near] + 0.25 * pair[1 - near])
        };
        y[0] += row[0] + beside(pairs.first(), 0);
        y[last] += row[end] + beside(pairs.last(), 1);
    }
}

wide! {
    fn repeat_row(row: &[f32], factor: usize, y: &mut [f32]) {
        match factor {
            2 => y.as_chunks_mut::<2>().0.iter_mut().zip(row).for_each(|(y, &value)| *y = [value; 2]),
            4 => y.as_chunks_mut::<4>().0.iter_mut().zip(row).for_each(|(y, &value)| *y = [value; 4]),
            _ => y.chunks_mut(factor).zip(row).for_each(|(y, &value)| y.fill(value)),
        }
    }
}

wide! {
    fn sum_row(row: &[f32], factor: usize, y: &mut [f32]) {
        match factor {
            2 => row.as_chunks::<2>().0.iter().zip(y).for_each(|(&[a, b], y)| *y = a + b),
            4 => row.as_chunks::<4>().0.iter().zip(y).for_each(|(&[a, b, c, d], y)| *y = (a + b) + (c + d)),
            _ => row.chunks(factor).zip(y).for_each(|(values, y)| *y = values.iter().sum()),
        }
    }
}
