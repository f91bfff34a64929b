//! `bincount` and `take`.

use super::Array;

/// `y[b] = sum of weight[i] over all i with bins[i] = b`.
pub(super) fn bincount((bins, _): Array<'_>, (weight, _): Array<'_>, count: usize) -> Vec<f64> {
    let mut y = vec![0.0; count];
    for (&bin, &weight) in bins.iter().zip(weight) {
        if let Some(bin) = entry(bin, count) {
            y[bin] += weight;
        }
    }
    y
}

/// `y[i] = table[index[i]]`, 0 outside.
pub(super) fn take((table, _): Array<'_>, (index, _): Array<'_>) -> Vec<f64> {
    index.iter().map(|&index| entry(index, table.len()).map_or(0.0, |entry| table[entry])).collect()
}

/// The index that equals `number`, if it is one of `0..count`.
fn entry(number: f64, count: usize) -> Option<usize> {
    ((0.0..count as f64).contains(&number) && number.fract() == 0.0).then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    const FIVE: Shape = Shape::new(1, 1, 1, 1, 5);

    #[test]
    fn bins_sum_their_weights() {
        let y = bincount((&[0.0, 2.0, 0.0, 1.0, 2.0], FIVE), (&[1.0, 10.0, 2.0, 5.0, 0.5], FIVE), 4);
        assert_eq!(y, [3.0, 5.0, 10.5, 0.0]);
    }

    #[test]
    fn what_names_no_bin_counts_nowhere() {
        let y = bincount((&[-1.0, 2.0, f64::NAN, 0.5, 1.0], FIVE), (&[1.0; 5], FIVE), 2);
        assert_eq!(y, [0.0, 1.0]);
    }

    #[test]
    fn take_reads_the_table_and_zero_outside() {
        let table = [10.0, 20.0];
        let y = take((&table, Shape::new(1, 1, 1, 1, 2)), (&[1.0, 0.0, 2.0, -1.0, f64::NAN], FIVE));
        assert_eq!(y, [20.0, 10.0, 0.0, 0.0, 0.0]);
    }
}
