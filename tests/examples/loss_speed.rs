//! Milliseconds for value and gradient of every loss on `16 x 4 x 224 x 224` logits, on the CPU backend:
//! `cargo run --release -p segcal-tests --example loss_speed [THREADS]`.

use std::time::Instant;

use segcal_backends::Cpu;
use segcal_core::{Result, Rng, Shape, Tensor, axis};
use segcal_losses::{Batch, Convention, Given, Loss};

fn main() -> Result<()> {
    let threads = std::env::args().nth(1).and_then(|count| count.parse().ok());
    let backend = Cpu::new(threads)?;
    let shape = Shape::new(16, 4, 1, 224, 224);
    let pixels = shape.with(axis::C, 1);
    let rng = Rng::new(1);
    let logits: Vec<f32> = (0..shape.len() as u64).map(|i| rng.range(i, -4.0, 4.0) as f32).collect();
    let label = |place: usize| ((place / 224 / 40 + place % 224 / 50) % 4) as f32;
    let labels = Tensor::new(&backend, pixels, (0..pixels.len()).map(label).collect());
    let logits = Tensor::new(&backend, shape, logits).tracked();
    let second = Tensor::new(&backend, shape, logits.to_vec()?.iter().map(|l| l + 0.5).collect());
    let mask = Tensor::full(&backend, pixels, 1.0);
    for spec in Loss::SPECS {
        let loss = Loss::new(spec.name, &Given::new(), Convention::Authors)?;
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..9 {
            let start = Instant::now();
            let value = loss.value(&Batch::new(&logits, &labels).with_second(&second, &mask));
            let gradients = value.total.backward();
            gradients.of(&logits).expect("a gradient");
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        println!("{:<16} {:8.1} ms", spec.name, times[times.len() / 2]);
    }
    Ok(())
}
