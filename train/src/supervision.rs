//! The loss of a step whose network has several outputs.

use segcal_core::{Backend, Tensor, ops};
use segcal_losses::{Batch, Criterion, Value};
use segcal_models::{Output, labels_on_grid};

/// The weighted sum of the losses of all outputs, with labels (and image) resampled to the grid of each; the terms are
/// those of the first, the finest.
pub(super) fn loss<B: Backend>(
    criterion: &impl Criterion,
    outputs: Vec<Output<B>>,
    images: &Tensor<B>,
    labels: &Tensor<B>,
) -> Value<B> {
    let mut values = outputs.into_iter().map(|Output { logits, weight }| {
        let spatial = logits.shape().spatial();
        let (images, labels) = (labels_on_grid(images, spatial), labels_on_grid(labels, spatial));
        let batch = Batch::new(&logits, &labels);
        let batch = if images.shape().c() == 1 { batch.with_image(&images) } else { batch };
        let value = criterion.value(&batch);
        if weight == 1.0 { value } else { weighted(value, weight) }
    });
    let Value { total, terms } = values.next().expect("a network has logits");
    let totals: Vec<Tensor<B>> = [total].into_iter().chain(values.map(|value| value.total)).collect();
    Value { total: ops::sum_of(&totals), terms }
}

fn weighted<B: Backend>(value: Value<B>, weight: f64) -> Value<B> {
    Value { total: ops::map(&[&value.total], |p| p.input(0) * weight), ..value }
}

#[cfg(test)]
mod tests {
    use segcal_core::{Reference, Shape};
    use segcal_losses::{Convention, Given, Loss, Objective};

    use super::*;

    /// Two heads, the second of half the extents: `w1 CE(fine) + w2 CE(coarse, every second label from 1)`, by hand.
    #[test]
    fn the_sum_of_two_heads_by_hand() {
        let objective = Objective::from(Loss::new("ce", &Given::new(), Convention::Authors).unwrap());
        let row =
            |c: usize, w: usize, numbers: &[f64]| Tensor::from_f64(&Reference, Shape::new(1, c, 1, 1, w), numbers);
        let fine = row(2, 4, &[0.5, -1.0, 2.0, 0.0, 1.5, 0.25, -0.5, 1.0]);
        let coarse = row(2, 2, &[1.0, -2.0, 0.5, 0.75]);
        let (image, labels) = (row(1, 4, &[0.0; 4]), row(1, 4, &[0.0, 1.0, 1.0, 0.0]));
        let cross_entropy = |pairs: &[([f64; 2], usize)]| {
            let of = |(z, class): &([f64; 2], usize)| (z[0].exp() + z[1].exp()).ln() - z[*class];
            pairs.iter().map(of).sum::<f64>() / pairs.len() as f64
        };
        let first = cross_entropy(&[([0.5, 1.5], 0), ([-1.0, 0.25], 1), ([2.0, -0.5], 1), ([0.0, 1.0], 0)]);
        let second = cross_entropy(&[([1.0, 0.5], 1), ([-2.0, 0.75], 0)]);
        let outputs = vec![Output { logits: fine, weight: 0.75 }, Output { logits: coarse, weight: 0.25 }];
        let value = loss(&objective, outputs, &image, &labels);
        assert!((value.total.item().unwrap() - (0.75 * first + 0.25 * second)).abs() < 1e-12);
        assert!(value.terms.iter().all(|(_, term)| (term.item().unwrap() - first).abs() < 1e-12));
    }
}
