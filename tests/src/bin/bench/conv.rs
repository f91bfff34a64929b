//! `conv`: one convolution, and with its two gradients.

use segcal_core::{Backend, Geometry, Result, Shape, ops};
use serde_json::{Value, json};

use crate::card::{Benchmark, Card};
use crate::measure::{finish, random, share_of_peak, timed};
use crate::options::Options;

pub(crate) struct Conv<'a>(pub(crate) &'a Options);

impl Benchmark for Conv<'_> {
    fn measure<B: Backend>(&self, backend: B, card: &Card) -> Result<Value> {
        let options = self.0;
        let (batch, size) = (options.number("batch", 4)?, options.number("size", 128)?);
        let (inputs, outputs) = (options.number("in", 32)?, options.number("out", 32)?);
        let (dims, reps) = (options.number("dims", 2)?, options.number("reps", 9)?);
        let depth = |extent| if dims == 3 { extent } else { 1 };
        let x = random(&backend, Shape::new(batch, inputs, depth(size), size, size), 1);
        let w = random(&backend, Shape::new(outputs, inputs, depth(3), 3, 3), 2);
        let geometry = Geometry::same([depth(3), 3, 3]);
        let (forward, _) = timed(reps, || finish(&ops::conv(&x, &w, &geometry)))?;
        let step = || {
            let (x, w) = (x.tracked(), w.tracked());
            let y = ops::conv(&x, &w, &geometry);
            let gradients = ops::sum_all(&[&y], |p| p.input(0).square()).backward();
            finish(gradients.of(&x).expect("a gradient"))?;
            finish(gradients.of(&w).expect("a gradient"))
        };
        let (both, _) = timed(reps, step)?;
        let operations = 2.0 * (x.shape().n() * x.shape().voxels() * w.shape().len()) as f64;
        let mut result = json!({
            "in": inputs, "out": outputs, "batch": batch, "size": size, "dims": dims,
            "forward_ms": forward * 1e3, "forward_gflops": operations * 1e-9 / forward,
            "forward_backward_ms": both * 1e3,
        });
        share_of_peak(&mut result, &backend, 3.0 * operations, both);
        card.add_to(&mut result, step)?;
        Ok(result)
    }
}
