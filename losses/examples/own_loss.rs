//! A loss of one's own: the squared difference of softmax and labels (Brier 1950), written in a few lines, used beside
//! the losses of the list and differentiated by the same means.

use segcal_core::{Backend, Reference, Result, Rng, Shape, Tensor, axis, ops, stable};
use segcal_losses::{Batch, Convention, Criterion, Given, Loss, Value};

#[derive(Debug)]
struct Brier;

impl Criterion for Brier {
    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let softmax = stable::softmax(batch.logits);
        let share = 1.0 / batch.labels.shape().len() as f64;
        let total = ops::sum_all(&[&softmax, batch.labels], |p| {
            (p.input(0) - p.input(1).equals(p.coord(axis::C))).square() * share
        });
        Value { terms: vec![("brier", total.detach())], total }
    }
}

fn main() -> Result<()> {
    let (rng, shape) = (Rng::new(1), Shape::new(2, 3, 1, 8, 8));
    let logits = Tensor::from_f64(&Reference, shape, &(0..384).map(|i| rng.normal(i)).collect::<Vec<_>>()).tracked();
    let labels = (0..128).map(|i| rng.stream(1).below(i, 3) as f64).collect();
    let labels = Tensor::new(&Reference, shape.with(axis::C, 1), labels);
    let batch = Batch::new(&logits, &labels);
    let own = Brier.value(&batch);
    let listed = Loss::new("ce", &Given::new(), Convention::Authors)?.value(&batch);
    println!("brier {:.4}, ce {:.4}", own.total.item()?, listed.total.item()?);
    let gradients = own.total.backward();
    let slope = gradients.of(&logits).expect("the loss depends on the logits").to_f64()?;
    println!("largest slope {:.5}", slope.iter().fold(0.0, |most: f64, slope| most.max(slope.abs())));
    Ok(())
}
