//! Measures two arrays in memory: class probabilities against a label map.

use segcal_core::{Reference, Result};
use segcal_metrics::definitions::METRICS;
use segcal_metrics::measure::{Options, Prediction, measure};
use segcal_metrics::volume::{Grid, Label};

fn main() -> Result<()> {
    // One slice of 8 x 8 pixels of 0.5 mm, slices 3 mm apart; the structure is a square.
    let grid = Grid::new([1, 8, 8], [3.0, 0.5, 0.5]);
    let inside = |at: usize, shift: usize| (2 + shift..6 + shift).contains(&(at % 8)) && (2..6).contains(&(at / 8));
    let reference: Vec<Label> = (0..64).map(|at| Label::from(inside(at, 0))).collect();
    // The prediction lies one pixel to the right and is sure of itself: [k, d, h, w], the background first.
    let structure: Vec<f32> = (0..64).map(|at| if inside(at, 1) { 0.9 } else { 0.2 }).collect();
    let probabilities: Vec<f32> = structure.iter().map(|p| 1.0 - p).chain(structure.iter().copied()).collect();

    let prediction = Prediction::Probabilities(probabilities.into());
    let figures = measure(&Reference, prediction, &reference, grid, &Options::default())?;
    for metric in METRICS {
        let value = if metric.per_structure() {
            figures.structures["1"].get(metric.key).and_then(|outcome| outcome.formula())
        } else {
            figures.regions["all"].get(metric.key).copied()
        };
        println!("{:<16} {:>10} {}", metric.key, value.map_or("-".into(), |x| format!("{x:.4}")), metric.unit);
    }
    Ok(())
}
