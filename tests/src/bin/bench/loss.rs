//! `loss`: value and gradient of every loss.

use segcal_core::{Backend, Elem, Result, Shape, Tensor, ops};
use segcal_losses::{Batch, Convention, Given, Loss};
use serde_json::{Value, json};

use crate::card::{Benchmark, Card};
use crate::measure::{random, timed};
use crate::options::Options;

/// Milliseconds for value and gradient of every loss (or of `--loss NAME`) on `16 x 4 x 224 x 224` logits.
pub(crate) struct Losses<'a>(pub(crate) &'a Options);

impl Benchmark for Losses<'_> {
    fn measure<B: Backend>(&self, backend: B, card: &Card) -> Result<Value> {
        let shape = Shape::new(16, 4, 1, 224, 224);
        let logits = ops::map(&[&random(&backend, shape, 1)], |p| p.input(0) * 8.0 - 4.0).tracked();
        let label = |place: usize| B::Elem::of(((place / 224 / 40 + place % 224 / 50) % 4) as f64);
        let pixels = shape.with(1, 1);
        let labels = Tensor::new(&backend, pixels, (0..pixels.len()).map(label).collect());
        let second = ops::map(&[&logits.detach()], |p| p.input(0) + 0.5);
        let mask = Tensor::full(&backend, pixels, 1.0);
        let mut table = serde_json::Map::new();
        let only = self.0.text("loss", "");
        for spec in Loss::SPECS.iter().filter(|spec| only.is_empty() || spec.name == only) {
            let loss = Loss::new(spec.name, &Given::new(), Convention::Authors)?;
            let step = || {
                let batch = Batch::new(&logits, &labels).with_second(&second, &mask);
                let total = loss.value(&batch).total;
                let value = total.detach();
                drop(total.backward());
                value.item().map(drop)
            };
            let (best, median) = timed(self.0.number("reps", 9)?, step)?;
            let mut row = json!({ "best_ms": best * 1e3, "median_ms": median * 1e3 });
            card.add_to(&mut row, step)?;
            table.insert(spec.name.into(), row);
        }
        Ok(table.into())
    }
}
