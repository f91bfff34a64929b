//! All metrics of one case, in memory.

mod figures;
mod nested;
mod options;
mod scored;
mod structures;
#[cfg(feature = "ndarray")]
mod views;

use std::borrow::Cow;

use segcal_core::{Backend, Error, Result};

use crate::volume::{Grid, Label, softmax};

pub use figures::{Authors, Figures, RegionFigures, States, StructureFigures};
pub use options::{Nested, Options, Prediction};

/// Measures one case: every metric of [`crate::definitions::METRICS`], for every structure and region.
///
/// The reference is a label map `[d, h, w]`; scores are `[k, d, h, w]`, borrowed or owned. Owned scores are freed
/// before the distances are measured; borrowed logits are copied. Distances, tolerance and band are in the unit of the
/// grid's voxel size.
///
/// Voxels whose reference label is [`Options::ignored`] are excluded from all metrics. Only for the distances, both
/// maps count as background there, as in nnU-Net.
///
/// ```
/// use segcal_core::Reference;
/// use segcal_metrics::measure::{Options, Prediction, measure};
/// use segcal_metrics::volume::Grid;
///
/// // Two classes on a 2-D grid of 2 x 3 voxels of 1.5 x 1 mm.
/// let background = [0.9, 0.8, 0.3, 0.9, 0.4, 0.1];
/// let structure = background.map(|p: f32| 1.0 - p);
/// let probabilities = [background, structure].concat();
/// let reference = [0, 0, 1, 0, 0, 1];
/// let grid = Grid::new([1, 2, 3], [1.0, 1.5, 1.0]);
///
/// let prediction = Prediction::Probabilities((&probabilities[..]).into());
/// let figures = measure(&Reference, prediction, &reference, grid, &Options::default())?;
/// assert_eq!(figures.structures["1"]["dsc"].formula(), Some(0.8));
/// assert_eq!(figures.structures["1"]["hd"].formula(), Some(1.0)); // one voxel too many, 1 mm away
/// assert!((figures.regions["predicted"]["accuracy"] - 2.0 / 3.0).abs() < 1e-12);
/// assert!((figures.regions["predicted"]["confidence"] - (0.7 + 0.6 + 0.9) / 3.0).abs() < 1e-7);
/// # Ok::<(), segcal_core::Error>(())
/// ```
///
/// # Errors
/// Sizes do not match the grid, a voxel size is not positive, a label has no class, the scores are not finite or not
/// probabilities, or the backend's device fails.
pub fn measure<B: Backend>(
    backend: &B,
    prediction: Prediction<'_>,
    reference: &[Label],
    grid: Grid,
    options: &Options,
) -> Result<Figures> {
    let grid = grid.checked()?;
    expect_size("the reference has", reference.len(), grid.voxels(), "labels")?;
    match prediction {
        Prediction::Labels(labels) => {
            expect_size("the prediction has", labels.len(), grid.voxels(), "labels")?;
            structures::of_labels(backend, labels.into_owned(), (reference, grid), None, options)
        }
        Prediction::Probabilities(scores) => {
            let classes = classes(scores.len(), grid.voxels())?;
            let logits = scored::logarithms(&scores, classes, reference, options)?;
            scored::measure(backend, scores, logits, (reference, grid), options)
        }
        Prediction::Logits(scores) => {
            let classes = classes(scores.len(), grid.voxels())?;
            let logits = scored::logits(&scores, classes, reference, options)?;
            let mut values = scores.into_owned();
            softmax(&mut values, classes);
            scored::measure(backend, Cow::Owned(values), logits, (reference, grid), options)
        }
        Prediction::Regions(scores, nested) => {
            let channels = classes(scores.len(), grid.voxels())?;
            if [nested.regions.len(), nested.order.len()] != [channels; 2] {
                let problem = format!(
                    "{channels} channels, but {} regions and {} labels in their order",
                    nested.regions.len(),
                    nested.order.len()
                );
                return Err(Error::new(problem).help("give one region and one label per channel"));
            }
            nested::measure(backend, scores, nested, (reference, grid), options)
        }
    }
}

/// The number of classes of some scores.
fn classes(values: usize, voxels: usize) -> Result<usize> {
    let classes = values / voxels.max(1);
    if classes == 0 || classes * voxels != values {
        let problem = format!("{values} class scores do not divide into volumes of {voxels} voxels");
        return Err(Error::new(problem).help("give scores [k, d, h, w] on the grid of the reference"));
    }
    if classes > usize::from(Label::MAX) + 1 {
        let problem = format!("{classes} classes, but labels go up to {}", Label::MAX);
        return Err(Error::new(problem).help("evaluate fewer classes"));
    }
    Ok(classes)
}

fn expect_size(what: &str, found: usize, voxels: usize, things: &str) -> Result<()> {
    if found == voxels {
        return Ok(());
    }
    Err(Error::new(format!("{what} {found} {things}, but the grid has {voxels} voxels"))
        .help("the arrays must have the extents of the grid"))
}

#[cfg(test)]
mod tests;
