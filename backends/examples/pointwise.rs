//! Seconds and memory traffic of typical programs, reductions and data movements on the CPU backend.
//!
//! `cargo run --release -p segcal-backends --example pointwise [FILTER]` prints the best and the median of some runs.
//! The traffic counts every input and output once.

use std::time::{Duration, Instant};

use segcal_backends::Cpu;
use segcal_core::{Backend, Fold, Interpolation, Program, Rank, Result, Sampling, Shape, Window, axis};

/// How long each case is repeated.
const PATIENCE: Duration = Duration::from_millis(300);

struct Bench {
    cpu: Cpu,
    filter: String,
}

impl Bench {
    fn time<T>(&self, name: &str, numbers: usize, mut act: impl FnMut() -> T) {
        if !name.contains(&self.filter) {
            return;
        }
        let _warm = act();
        let begin = Instant::now();
        let mut seconds = Vec::new();
        while begin.elapsed() < PATIENCE || seconds.len() < 3 {
            let start = Instant::now();
            let _result = std::hint::black_box(act());
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let (best, median) = (seconds[0], seconds[seconds.len() / 2]);
        let traffic = (numbers * 4) as f64 / best * 1e-9;
        println!("{name:<44} {:>9.3} ms  median {:>9.3} ms  {traffic:>6.1} GB/s", best * 1e3, median * 1e3);
    }

    fn programs(&self, shape: Shape) {
        let cpu = &self.cpu;
        let len = shape.len();
        let x = cpu.upload((0..len).map(|i| (i % 1000) as f32 * 0.004 - 2.0).collect::<Vec<_>>());
        let y = cpu.upload((0..len).map(|i| (i % 777) as f32 * 0.003 - 1.0).collect::<Vec<_>>());
        let channel = Shape::new(1, shape.c(), 1, 1, 1);
        let plane = Shape::new(shape.n(), 1, 1, shape.spatial()[1], shape.spatial()[2]);
        let statistics = cpu.upload(vec![0.5; channel.len()]);
        let (xv, yv, cv) = ((&x, shape), (&y, shape), (&statistics, channel));

        let mut out = vec![0.0f32; len];
        self.time("bound: copy of a slice, one thread", 2 * len, || out.copy_from_slice(&x));
        self.time("bound: sum of a slice, one thread", len, || {
            x.chunks(16).map(|c| c.iter().sum::<f32>()).sum::<f32>()
        });
        drop(out);

        let program = Program::new(|p| p.input(0).max(0.0));
        self.time("map relu", 2 * len, || cpu.map(&program, &[], &[xv], shape));
        let program = Program::new(|p| p.input(0) + p.input(1));
        self.time("map add", 3 * len, || cpu.map(&program, &[], &[xv, yv], shape));
        let normalise = Program::new(|p| {
            let normal = (p.input(0) - p.input(1)) * p.input(2) * p.input(3) + p.input(4);
            normal.max(normal * p.scalar(0))
        });
        self.time("map normalise + affine + leaky relu", 2 * len, || {
            cpu.map(&normalise, &[0.01], &[xv, cv, cv, cv, cv], shape)
        });
        let slope = normalise.vjp(&[0]);
        self.time("map its gradient", 3 * len, || cpu.map(&slope, &[0.01], &[xv, cv, cv, cv, cv, yv], shape));
        for (name, program) in [
            ("map exp", Program::new(|p| p.input(0).exp())),
            ("map ln", Program::new(|p| (p.input(0).square() + 0.1).ln())),
            ("map tanh", Program::new(|p| p.input(0).tanh())),
            ("map pow", Program::new(|p| p.input(0).abs().pow(p.scalar(0)))),
        ] {
            self.time(name, 2 * len, || cpu.map(&program, &[1.7], &[xv], shape));
        }
        let adam = Program::with_outputs(|p| {
            let g = p.input(1);
            let m = p.input(2) * 0.9 + g * 0.1;
            let v = p.input(3) * 0.999 + g.square() * 0.001;
            vec![p.input(0) - p.scalar(0) * m / ((v * p.scalar(1)).sqrt() + 1e-8), m, v]
        });
        self.time("map adam", 7 * len, || cpu.map(&adam, &[1e-3, 1.0], &[xv, yv, xv, yv], shape));
        let softmax = Program::new(|p| (p.input(0) - p.input(1)).exp() / p.input(2));
        let (mv, sv) = ((&y, plane), (&x, plane));
        if plane.len() == len / shape.c() {
            let top = cpu.slice(yv, [0; 5], plane);
            self.time("map softmax from max and sum", 2 * len, || {
                cpu.map(&softmax, &[], &[xv, (&top, plane), (&top, plane)], shape)
            });
        }
        let _ = (mv, sv);

        let identity = Program::new(|p| p.input(0));
        let products = Program::with_outputs(|p| vec![p.input(0), p.input(0) * p.input(1)]);
        let exp = Program::new(|p| p.input(0).exp());
        let instance = shape.with_spatial([1; 3]);
        let classes = shape.with(axis::C, 1);
        for (name, target) in
            [("all", Shape::SCALAR), ("to [n, c]", instance), ("to [1, c]", channel), ("over c", classes)]
        {
            self.time(&format!("reduce sum {name}"), len, || {
                cpu.reduce(Fold::Sum, &identity, &[], &[xv], shape, target)
            });
            self.time(&format!("reduce sum, product {name}"), 2 * len, || {
                cpu.reduce(Fold::Sum, &products, &[], &[xv, yv], shape, target)
            });
        }
        self.time("reduce max over c", len, || cpu.reduce(Fold::Max, &identity, &[], &[xv], shape, classes));
        self.time("reduce sum of exp over c", len, || cpu.reduce(Fold::Sum, &exp, &[], &[xv], shape, classes));
        self.movement(shape, xv);
    }

    fn movement(&self, shape: Shape, xv: (&segcal_backends::CpuBuffer, Shape)) {
        let (cpu, len) = (&self.cpu, shape.len());
        let double = shape.with(axis::C, 2 * shape.c());
        let start = [0, shape.c(), 0, 0, 0];
        self.time("place: concatenate", 4 * len, || cpu.place(&[(xv, [0; 5]), (xv, start)], double));
        let padded = shape.with_spatial([shape.spatial()[0], shape.spatial()[1] + 2, shape.spatial()[2] + 2]);
        self.time("place: pad by one", 2 * len, || cpu.place(&[(xv, [0, 0, 0, 1, 1])], padded));
        let inner = shape.with_spatial([shape.spatial()[0], shape.spatial()[1] - 2, shape.spatial()[2] - 2]);
        self.time("slice: crop by one", 2 * len, || cpu.slice(xv, [0, 0, 0, 1, 1], inner));
        let size = [if shape.spatial()[0] > 1 { 2 } else { 1 }, 2, 2];
        let window = Window::tiles(size);
        let small = window.output(shape).expect("even extents");
        self.time("max_pool", len + 2 * small.len(), || cpu.max_pool(xv, &window, small));
        let (y, index) = cpu.max_pool(xv, &window, small);
        self.time("max_unpool", len + 2 * small.len(), || cpu.max_unpool((&y, small), (&index, small), &window, shape));
        for (name, interpolation) in [("nearest", Interpolation::Nearest), ("linear", Interpolation::Linear)] {
            let up = Sampling::resize(small.spatial(), shape.spatial(), interpolation);
            self.time(&format!("resample {name} x2"), len + small.len(), || cpu.resample((&y, small), &up, shape));
            self.time(&format!("resample_adjoint {name} x2"), len + small.len(), || {
                cpu.resample_adjoint(xv, &up, small)
            });
        }
        let mut turned = Sampling::resize(shape.spatial(), shape.spatial(), Interpolation::Linear);
        turned.matrix[1] = [0.0, 0.98, 0.17, 1.0];
        turned.matrix[2] = [0.0, -0.17, 0.98, 3.0];
        self.time("resample affine", 2 * len, || cpu.resample(xv, &turned, shape));
        self.time("resample_adjoint affine", 2 * len, || cpu.resample_adjoint(xv, &turned, shape));
        for (name, size) in [("3x3", [1, 3, 3]), ("5x5", [1, 5, 5])] {
            let out = Window::sliding(size).output(shape).expect("larger than the window");
            for (kind, rank) in
                [("min", Rank::Nth(0)), ("median", Rank::Nth(size[1] * size[2] / 2)), ("mode", Rank::Mode)]
            {
                self.time(&format!("rank_filter {name} {kind}"), 2 * len, || cpu.rank_filter(xv, size, rank, out));
            }
        }
        let bins = &cpu.map(&Program::new(|p| (p.input(0) * 3.7 + 7.5).floor()), &[], &[xv], shape)[0];
        self.time("bincount, 15 bins, 2 weights", 3 * len, || cpu.bincount((bins, shape), &[xv, xv], 15));
        let table = cpu.upload(vec![1.0; 15]);
        self.time("take, 15 entries", 2 * len, || cpu.take((&table, Shape::new(1, 1, 1, 1, 15)), (bins, shape)));
    }

    fn distances(&self) {
        let shape = Shape::new(1, 1, 160, 192, 192);
        let radius = |place: usize, centre: [f64; 3]| {
            let [_, _, d, h, w] = shape.coordinate(place);
            [d, h, w].iter().zip(centre).map(|(&i, c)| (i as f64 - c).powi(2)).sum::<f64>().sqrt()
        };
        let shell = |r: f64, centre| (0..shape.len()).map(|i| f32::from((radius(i, centre) - r).abs() < 0.6)).collect();
        for (name, mask) in [
            ("sphere's surface", shell(50.0, [80.0, 96.0, 90.0])),
            ("one corner", (0..shape.len()).map(|i| f32::from(i == 0)).collect::<Vec<f32>>()),
            ("noise", (0..shape.len()).map(|i| f32::from(i * 7919 % 1009 == 0)).collect()),
        ] {
            let mask = self.cpu.upload(mask);
            self.time(&format!("distance 160x192x192 {name}"), 2 * shape.len(), || {
                self.cpu.distance((&mask, shape), [3.0, 1.0, 1.0])
            });
        }
    }
}

fn main() -> Result<()> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    for threads in [1, 2] {
        let bench = Bench { cpu: Cpu::new(Some(threads))?, filter: filter.clone() };
        for shape in [Shape::new(4, 32, 1, 128, 128), Shape::new(16, 64, 1, 8, 8), Shape::new(4, 4, 1, 128, 128)] {
            println!("\n{threads} threads, {shape}");
            bench.programs(shape);
        }
        bench.distances();
    }
    Ok(())
}
