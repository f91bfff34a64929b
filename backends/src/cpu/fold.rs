//! How `reduce` combines the values that share an output element.

use super::isa::wide;
use super::kernel::Operand;

/// How values are folded.
pub(super) trait Folding {
    /// The accumulator.
    type Part: Copy + Send + Sync;
    /// The initial value of the accumulator.
    const START: Self::Part;

    /// Combines two accumulators.
    fn join(a: Self::Part, b: Self::Part) -> Self::Part;
    /// Folds `len` elements into one accumulator.
    fn block(value: Operand<'_>, len: usize) -> Self::Part;
    /// Initialises one accumulator per element with its value.
    fn begin(value: Operand<'_>, parts: &mut [Self::Part]);
    /// Folds each element into its own accumulator.
    fn extend(value: Operand<'_>, parts: &mut [Self::Part]);
    /// Converts accumulators to results.
    fn finish(parts: &[Self::Part], results: &mut [f32]);
}

/// Sums with f64 accumulators.
pub(super) struct Sum;

impl Folding for Sum {
    type Part = f64;
    const START: f64 = 0.0;

    fn join(a: f64, b: f64) -> f64 {
        a + b
    }

    fn block(value: Operand<'_>, len: usize) -> f64 {
        match value {
            Operand::Each(values) => sum(values),
            Operand::All(value) => f64::from(value) * len as f64,
        }
    }

    fn begin(value: Operand<'_>, parts: &mut [f64]) {
        match value {
            Operand::Each(values) => widen(values, parts),
            Operand::All(value) => parts.fill(value.into()),
        }
    }

    fn extend(value: Operand<'_>, parts: &mut [f64]) {
        match value {
            Operand::Each(values) => add_to(values, parts),
            Operand::All(value) => parts.iter_mut().for_each(|sum| *sum += f64::from(value)),
        }
    }

    fn finish(parts: &[f64], results: &mut [f32]) {
        round(parts, results);
    }
}

/// Maxima. NaN counts as the largest value.
pub(super) struct Maximum;

impl Folding for Maximum {
    type Part = f32;
    const START: f32 = f32::NEG_INFINITY;

    fn join(a: f32, b: f32) -> f32 {
        larger(a, b)
    }

    fn block(value: Operand<'_>, _: usize) -> f32 {
        match value {
            Operand::Each(values) => maximum(values),
            Operand::All(value) => value,
        }
    }

    fn begin(value: Operand<'_>, parts: &mut [f32]) {
        value.copy_to(parts);
    }

    fn extend(value: Operand<'_>, parts: &mut [f32]) {
        match value {
            Operand::Each(values) => maximum_to(values, parts),
            Operand::All(value) => parts.iter_mut().for_each(|part| *part = larger(*part, value)),
        }
    }

    fn finish(parts: &[f32], results: &mut [f32]) {
        results.copy_from_slice(parts);
    }
}

/// Combines accumulators, in order, into one result.
pub(super) fn joined<'p, F: Folding>(parts: impl Iterator<Item = &'p F::Part>) -> f32
where
    F::Part: 'p,
{
    let mut result = [0.0];
    F::finish(&[parts.fold(F::START, |a, &b| F::join(a, b))], &mut result);
    result[0]
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// Number of independent sums in flight: enough to hide the latency of an addition.
const LANES: usize = 16;

wide! {
    /// Sums in [`LANES`] lanes, which are then added in pairs.
    fn sum(values: &[f32]) -> f64 {
        let (groups, rest) = values.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for group in groups {
            for lane in 0..LANES {
                lanes[lane] += f64::from(group[lane]);
            }
        }
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
            half /= 2;
        }
        rest.iter().fold(lanes[0], |sum, &value| sum + f64::from(value))
    }
}

wide! {
    /// The largest of the values; NaN counts as the largest value.
    fn maximum(values: &[f32]) -> f32 {
        let (groups, rest) = values.as_chunks::<32>();
        let mut lanes = [f32::NEG_INFINITY; 32];
        for group in groups {
            for lane in 0..32 {
                lanes[lane] = larger(lanes[lane], group[lane]);
            }
        }
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |old, &new| larger(old, new))
    }
}

wide! {
    fn widen(values: &[f32], sums: &mut [f64]) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum = f64::from(value);
        }
    }
}

wide! {
    fn add_to(values: &[f32], sums: &mut [f64]) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value);
        }
    }
}

wide! {
    fn round(sums: &[f64], values: &mut [f32]) {
        for (value, &sum) in values.iter_mut().zip(sums) {
            *value = sum as f32;
        }
    }
}

wide! {
    fn maximum_to(values: &[f32], parts: &mut [f32]) {
        for (part, &value) in parts.iter_mut().zip(values) {
            *part = larger(*part, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_rest_of_a_block_count_once() {
        for len in 0..70 {
            let values: Vec<f32> = (1..=len).map(|i| i as f32).collect();
            assert_eq!(sum(&values), f64::from(len * (len + 1) / 2));
            assert_eq!(maximum(&values), if len == 0 { f32::NEG_INFINITY } else { len as f32 });
        }
    }
}
