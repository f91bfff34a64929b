//! `metric`: the passes of an evaluation over one volume of 160 x 192 x 192 voxels and 4 classes.

use std::path::Path;

use segcal_core::{Backend, Error, Result, Rng};
use segcal_metrics::calibration::{Calibration, DEFAULT_BINS, EqualMass, Region, Voxels};
use segcal_metrics::guard::Evidence;
use segcal_metrics::overlap::Confusion;
use segcal_metrics::surface::{Surface, SurfaceDistances};
use segcal_metrics::volume::{Grid, Label, Probabilities, softmax};
use serde_json::{Map, Value, json};

use crate::card::{Benchmark, Card};
use crate::measure::timed;
use crate::options::Options;

const SPATIAL: [usize; 3] = [160, 192, 192];
const CLASSES: usize = 4;
/// Voxels of 1 x 1 x 2 mm, depth first.
const GRID: Grid = Grid::new(SPATIAL, [2.0, 1.0, 1.0]);

/// Milliseconds of every pass over a made-up volume, or with `--volumes FOLDER` the seconds and the figures of two
/// tasks that other packages have, on the volumes that `tests/peers/speed.py` wrote there.
pub(crate) struct Metrics<'a>(pub(crate) &'a Options);

impl Benchmark for Metrics<'_> {
    fn measure<B: Backend>(&self, backend: B, _: &Card) -> Result<Value> {
        let reps = self.0.number("reps", 5)?;
        let folder = self.0.text("volumes", "");
        let mut table = Map::new();
        if folder.is_empty() {
            passes(reps, &mut table)?;
            distances(&backend, [&ball(55.0, 0.0), &ball(53.0, 3.0)], reps, &mut table)?;
        } else {
            let mask = |name: &str| -> Result<Vec<bool>> {
                Ok(numbers(&Path::new(&folder).join(name))?.into_iter().map(|x| x == 1).collect())
            };
            distances(&backend, [&mask("a.npy")?, &mask("b.npy")?], reps, &mut table)?;
            let values = numbers(&Path::new(&folder).join("p.npy"))?;
            let values: Vec<f32> =
                values.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let labels: Vec<Label> = numbers(&Path::new(&folder).join("y.npy"))?.into_iter().map(Label::from).collect();
            calibration(Probabilities::new(&values, CLASSES), &labels, reps, &mut table)?;
        }
        Ok(table.into())
    }
}

/// Times one pass, which gives figures, into a row of the table.
fn row(table: &mut Map<String, Value>, name: &str, reps: usize, mut pass: impl FnMut() -> Result<Value>) -> Result<()> {
    let mut found = Value::Null;
    let (best, median) = timed(reps, || {
        found = pass()?;
        Ok(())
    })?;
    table.insert(name.into(), json!({ "best_ms": best * 1e3, "median_ms": median * 1e3, "found": found }));
    Ok(())
}

fn passes(reps: usize, table: &mut Map<String, Value>) -> Result<()> {
    let (logits, labels) = volume();
    let mut values = logits.clone();
    row(table, "softmax", reps, || {
        values.copy_from_slice(&logits);
        softmax(&mut values, CLASSES);
        Ok(values[0].into())
    })?;
    let p = Probabilities::new(&values, CLASSES);
    row(table, "guard", reps, || Ok(Evidence::new(p).not_finite.into()))?;
    row(table, "argmax", reps, || Ok(p.argmax().len().into()))?;
    let prediction = p.argmax();
    row(table, "confusion", reps, || {
        let mut confusion = Confusion::new(CLASSES);
        confusion.add(&labels, &prediction)?;
        Ok(confusion.count(1, 1).into())
    })?;
    calibration(p, &labels, reps, table)?;
    row(table, "equal-mass-every-region", reps, || {
        let voxels = Voxels::new(p, &labels, &prediction, None);
        let figures = EqualMass::new(CLASSES, DEFAULT_BINS).add(&voxels);
        Ok(figures[&Region::All].aece.into())
    })
}

/// Every figure of calibration but those of equal mass; found are ECE and classwise ECE.
fn calibration(p: Probabilities, labels: &[Label], reps: usize, table: &mut Map<String, Value>) -> Result<()> {
    row(table, "calibration", reps, || {
        let mut state = Calibration::new(CLASSES, DEFAULT_BINS);
        state.add(p, labels, None)?;
        let all = state.region(Region::All);
        Ok(json!([all.ece(), all.cece_mean()]))
    })
}

/// Every figure of two surfaces; found is HD95.
fn distances<B: Backend>(
    backend: &B,
    [prediction, reference]: [&[bool]; 2],
    reps: usize,
    table: &mut Map<String, Value>,
) -> Result<()> {
    row(table, "distance", reps, || {
        let surface = Surface::measure(backend, prediction, reference, GRID)?;
        Ok(json!([surface.figure(SurfaceDistances::hd95_max).formula()]))
    })
}

/// Distance of a voxel from a centre that lies that far from the middle along each axis, in voxels.
fn radius(voxel: usize, centre: f64) -> f64 {
    let [_, height, width] = SPATIAL;
    let at = [voxel / (height * width), voxel / width % height, voxel % width];
    (0..3).map(|axis| (at[axis] as f64 - SPATIAL[axis] as f64 / 2.0 - centre).powi(2)).sum::<f64>().sqrt()
}

fn voxels() -> std::ops::Range<usize> {
    0..SPATIAL.iter().product()
}

fn ball(size: f64, centre: f64) -> Vec<bool> {
    voxels().map(|voxel| radius(voxel, centre) < size).collect()
}

/// Three nested balls; logits that favour the label, less so near its boundary, with noise.
fn volume() -> (Vec<f32>, Vec<Label>) {
    let rng = Rng::new(1);
    let mut logits = vec![0.0; CLASSES * voxels().len()];
    let label = |voxel: usize| {
        let depth = [75.0, 55.0, 35.0].map(|size| size - radius(voxel, 0.0));
        let label = depth.iter().filter(|&&inside| inside > 0.0).count() as Label;
        let certainty = depth.map(f64::abs).into_iter().fold(12.0, f64::min);
        logits[usize::from(label) * voxels().len() + voxel] = (certainty + rng.normal(voxel as u64)) as f32;
        label
    };
    let labels = voxels().map(label).collect();
    (logits, labels)
}

/// The numbers of a C-ordered .npy of a version 1 header, whose length stands in bytes 8 and 9.
fn numbers(path: &Path) -> Result<Vec<u8>> {
    let mut file = std::fs::read(path).map_err(Error::from).map_err(|error| error.at(path.display()))?;
    let short = || Error::new("too short for an .npy").at(path.display());
    let header = file.get(8..10).map(|len| 10 + usize::from(u16::from_le_bytes([len[0], len[1]]))).ok_or_else(short)?;
    if header > file.len() {
        return Err(short());
    }
    Ok(file.split_off(header))
}
