//! Times the three convolutions of the CPU backend on the layers of a UNet.
//!
//! `cargo run --release -p segcal-backends --example conv [threads]` prints the best of several runs in milliseconds,
//! and GFLOP/s counted as the direct sum's multiplications and additions, whatever the algorithm saves of them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use segcal_backends::Cpu;
use segcal_core::{Backend, Geometry, Result, Shape};

/// Batch, channels in and out, spatial extents, kernel; a kernel of even extents moves by its own size.
type Layer = (usize, [usize; 2], [usize; 3], [usize; 3]);

const PLANE: [usize; 3] = [1, 3, 3];
const CUBE: [usize; 3] = [3, 3, 3];

const LAYERS: &[Layer] = &[
    // The layer that the other libraries were timed on.
    (4, [32, 32], [1, 128, 128], PLANE),
    // A UNet of base 16 on 16 x 64 x 64, from the first layer down, up again and to the head.
    (16, [1, 16], [1, 64, 64], PLANE),
    (16, [16, 16], [1, 64, 64], PLANE),
    (16, [16, 32], [1, 32, 32], PLANE),
    (16, [32, 32], [1, 32, 32], PLANE),
    (16, [32, 64], [1, 16, 16], PLANE),
    (16, [64, 64], [1, 16, 16], PLANE),
    (16, [64, 128], [1, 8, 8], PLANE),
    (16, [128, 128], [1, 8, 8], PLANE),
    (16, [256, 256], [1, 4, 4], PLANE),
    (16, [192, 64], [1, 16, 16], PLANE),
    (16, [48, 16], [1, 64, 64], PLANE),
    (16, [16, 4], [1, 64, 64], [1, 1, 1]),
    (16, [16, 32], [1, 64, 64], [1, 2, 2]),
    // Large and small extremes, and 3-D.
    (16, [512, 512], [1, 4, 4], PLANE),
    (4, [512, 512], [1, 8, 8], PLANE),
    (16, [32, 32], [1, 192, 192], PLANE),
    (2, [16, 16], [64, 64, 64], CUBE),
    (2, [64, 64], [16, 16, 16], CUBE),
    (2, [16, 32], [32, 32, 32], [2, 2, 2]),
];

/// The shortest of the runs that fit into a third of a second, at least three.
fn best(mut act: impl FnMut()) -> f64 {
    let (start, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 3 || start.elapsed() < Duration::from_millis(300) {
        let run = Instant::now();
        act();
        best = best.min(run.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

fn time(cpu: &Cpu, &(batch, [ins, outs], spatial, kernel): &Layer) {
    let even = kernel.iter().any(|k| k % 2 == 0);
    let g = if even { Geometry { stride: kernel, ..Geometry::VALID } } else { Geometry::same(kernel) };
    let xs = Shape::new(batch, ins, 1, 1, 1).with_spatial(spatial);
    let ws = Shape::new(outs, ins, 1, 1, 1).with_spatial(kernel);
    let Some(ys) = g.output(xs, ws) else { return };
    let upload =
        |shape: Shape| cpu.upload((0..shape.len()).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect::<Vec<_>>());
    let (x, w, y) = (upload(xs), upload(ws), upload(ys));
    let work = 2e-9 * (ys.len() * ins * ws.voxels()) as f64;
    let times = [
        best(|| drop(black_box(cpu.conv((&x, xs), (&w, ws), &g, ys)))),
        best(|| drop(black_box(cpu.conv_transpose((&y, ys), (&w, ws), &g, xs)))),
        best(|| drop(black_box(cpu.conv_weight((&x, xs), (&y, ys), &g, ws)))),
    ];
    print!("{batch:3} x {ins:3} -> {outs:3} at {spatial:?}, kernel {kernel:?}:");
    for (name, seconds) in ["y", "x", "w"].iter().zip(times) {
        print!("  {name} {:8.3} ms {:5.0} GFLOP/s", 1e3 * seconds, work / seconds);
    }
    println!();
}

fn main() -> Result<()> {
    let threads = std::env::args().nth(1).and_then(|count| count.parse().ok());
    let cpu = Cpu::new(threads)?;
    cpu.install(|| LAYERS.iter().for_each(|layer| time(&cpu, layer)));
    Ok(())
}
