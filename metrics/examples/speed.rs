//! Times the passes over a volume of 192 x 192 x 160 voxels and 4 classes: `cargo run --release -p segcal-metrics
//! --example speed`. With a task (`distance`, `calibration`) and the folder of volumes that `tests/peers/speed.py` wrote, it
//! times that task once and prints the seconds and what it found.

use std::path::Path;
use std::time::Instant;

use segcal_backends::Cpu;
use segcal_core::Rng;
use segcal_metrics::calibration::{Calibration, DEFAULT_BINS, EqualMass, Region, every_region};
use segcal_metrics::guard::Evidence;
use segcal_metrics::overlap::Confusion;
use segcal_metrics::surface::{Surface, SurfaceDistances};
use segcal_metrics::volume::{Grid, Label, Probabilities, softmax};

const SPATIAL: [usize; 3] = [160, 192, 192];
const CLASSES: usize = 4;

/// Three nested balls; logits that favour the label, less so near its boundary, with noise.
fn volume() -> (Vec<f32>, Vec<Label>) {
    let [depth, height, width] = SPATIAL;
    let voxels = depth * height * width;
    let rng = Rng::new(1);
    let mut logits = vec![0.0; CLASSES * voxels];
    let mut labels = vec![0; voxels];
    for voxel in 0..voxels {
        let at = [voxel / (height * width), voxel / width % height, voxel % width];
        let distance = (0..3).map(|axis| (at[axis] as f64 - SPATIAL[axis] as f64 / 2.0).powi(2)).sum::<f64>().sqrt();
        let depth = [75.0, 55.0, 35.0].map(|radius| radius - distance);
        labels[voxel] = depth.iter().filter(|&&inside| inside > 0.0).count() as Label;
        let certainty = depth.map(f64::abs).into_iter().fold(f64::INFINITY, f64::min).min(12.0);
        logits[usize::from(labels[voxel]) * voxels + voxel] = (certainty + rng.normal(voxel as u64)) as f32;
    }
    (logits, labels)
}

/// The quickest of five runs, in seconds.
fn time(name: &str, mut run: impl FnMut()) {
    let seconds = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    let best = std::iter::repeat_with(seconds).take(5).fold(f64::INFINITY, f64::min);
    println!("{name:<44} {best:.3} s");
}

/// Two balls of radius 55 and 53, voxels of 1 x 1 x 2 mm, as in the table of other packages' times.
fn distances() {
    let [depth, height, width] = SPATIAL;
    let ball = |radius: f64, centre: f64| -> Vec<bool> {
        let inside = |voxel: usize| {
            let at = [voxel / (height * width), voxel / width % height, voxel % width];
            (0..3).map(|axis| (at[axis] as f64 - SPATIAL[axis] as f64 / 2.0 - centre).powi(2)).sum::<f64>()
                < radius * radius
        };
        (0..depth * height * width).map(inside).collect()
    };
    let (prediction, reference) = (ball(55.0, 0.0), ball(53.0, 3.0));
    let grid = Grid { spatial: SPATIAL, spacing_mm: [2.0, 1.0, 1.0] };
    let backend = Cpu::new(None).expect("threads");
    time("every surface figure of two large balls", || {
        let surface = Surface::measure(&backend, &prediction, &reference, grid).expect("a grid");
        assert!(surface.figure(SurfaceDistances::hd95_pooled).formula() > Some(0.0));
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["distance", folder] => peer_distance(Path::new(folder)),
        ["calibration", folder] => peer_calibration(Path::new(folder)),
        _ => passes(),
    }
}

/// The numbers of a C-ordered .npy of a version 1 header, whose length stands in bytes 8 and 9.
fn bytes(path: &Path) -> Vec<u8> {
    let file = std::fs::read(path).expect("a volume of tests/peers/speed.py");
    let header = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    file[header..].to_vec()
}

fn peer_distance(folder: &Path) {
    let mask = |name: &str| -> Vec<bool> { bytes(&folder.join(name)).into_iter().map(|x| x == 1).collect() };
    let (a, b) = (mask("a.npy"), mask("b.npy"));
    let grid = Grid { spatial: SPATIAL, spacing_mm: [2.0, 1.0, 1.0] };
    let backend = Cpu::new(None).expect("threads");
    // The first run takes the memory and starts the threads, as the packages' first round does.
    let measure = || Surface::measure(&backend, &a, &b, grid).expect("a grid");
    measure();
    let start = Instant::now();
    let surface = measure();
    let hd95 = surface.figure(SurfaceDistances::hd95_max).formula();
    println!("{} {}", start.elapsed().as_secs_f64(), hd95.unwrap_or(f64::NAN));
}

fn peer_calibration(folder: &Path) {
    let numbers = bytes(&folder.join("p.npy"));
    let values: Vec<f32> =
        numbers.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
    let labels: Vec<Label> = bytes(&folder.join("y.npy")).into_iter().map(Label::from).collect();
    let measure = || {
        let mut state = Calibration::new(CLASSES, DEFAULT_BINS);
        state.add(Probabilities::new(&values, CLASSES), &labels, None).expect("probabilities");
        let all = state.region(Region::All);
        (all.ece(), all.cece_mean())
    };
    measure();
    let start = Instant::now();
    let (ece, cece) = measure();
    println!("{} {ece} {cece}", start.elapsed().as_secs_f64());
}

fn passes() {
    let (mut values, labels) = volume();
    let start = Instant::now();
    softmax(&mut values, CLASSES);
    println!("{:<44} {:.3} s", "softmax, once", start.elapsed().as_secs_f64());
    let p = Probabilities::new(&values, CLASSES);
    println!("{} voxels, {CLASSES} classes, {} threads", p.voxels(), rayon::current_num_threads());
    time("guard", || assert_eq!(Evidence::new(p).not_finite, 0));
    time("argmax", || assert_eq!(p.argmax().len(), labels.len()));
    let prediction = p.argmax();
    time("confusion", || Confusion::new(CLASSES).add(&labels, &prediction).expect("labels"));
    time("every calibration figure but equal mass", || {
        let mut state = Calibration::new(CLASSES, DEFAULT_BINS);
        state.add(p, &labels, None).expect("probabilities");
        for region in Region::every(CLASSES) {
            assert!(state.region(region).cece_mean() >= 0.0 || region == Region::Boundary);
        }
    });
    let all = vec![true; labels.len()];
    time("equal-mass ECE and TACE of one region", || {
        assert!(EqualMass::of(p, &labels, &all, DEFAULT_BINS).figures().aece >= 0.0);
    });
    time("equal-mass ECE and TACE of every region", || {
        assert!(every_region(p, &labels, &all, DEFAULT_BINS)[0].aece >= 0.0);
    });
    distances();
}
