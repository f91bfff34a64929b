//! All figures of one case in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use segcal_backends::{Device, Visitor};
use segcal_core::{Backend, Result};
use segcal_metrics::definitions::{METRICS, metric};
use segcal_metrics::empty::Policy;
use segcal_metrics::measure::{Figures, Options, Prediction, StructureFigures};
use segcal_metrics::volume::{Grid, Label};

use crate::errors::OrRaise;
use crate::processes::detached;

/// A prediction: class scores, or a label map.
#[derive(FromPyObject)]
pub(crate) enum Given<'py> {
    Scores(PyReadonlyArrayDyn<'py, f32>),
    Labels(PyReadonlyArrayDyn<'py, u16>),
}

/// How a case is measured: bins, tolerance, band, ignored label, unions, rule of empty masks, backend.
#[derive(FromPyObject)]
pub(crate) struct Settings(usize, f64, f64, Option<Label>, BTreeMap<String, Vec<Label>>, String, String);

/// Figures by metric key, by the name of a structure or a region.
type Table = BTreeMap<String, BTreeMap<&'static str, f64>>;

/// Number of classes, of ignored voxels, figures of structures and of regions.
pub(crate) type Measured = (usize, u64, Table, Table);

/// Every figure of one case: scores `(C, *spatial)` or labels `(*spatial)`, against labels `(*spatial)`.
#[pyfunction]
pub(crate) fn measure(
    py: Python<'_>,
    prediction: Given<'_>,
    logits: bool,
    labels: PyReadonlyArrayDyn<'_, u16>,
    spacing: Option<Vec<f64>>,
    settings: Settings,
) -> PyResult<Measured> {
    let grid = grid(labels.shape(), spacing)?;
    let prediction = match &prediction {
        Given::Scores(scores) => {
            expect(scores.shape().get(1..), labels.shape(), "(C, *spatial)", scores.shape())?;
            let values = Cow::Borrowed(scores.as_slice()?);
            if logits { Prediction::Logits(values) } else { Prediction::Probabilities(values) }
        }
        Given::Labels(map) => {
            expect(Some(map.shape()), labels.shape(), "(*spatial)", map.shape())?;
            Prediction::Labels(Cow::Borrowed(map.as_slice()?))
        }
    };
    let Settings(bins, tolerance, band, ignored, unions, empty, backend) = settings;
    let empty = policy(&empty)?;
    let options = Options { bins, tolerance, band, ignored, unions, ..Options::default() };
    let (device, reference) = (Device::open(&backend, None).or_raise()?, labels.as_slice()?);
    let request = Request { prediction, reference, grid, options: &options };
    let Figures { classes, ignored, structures, regions, .. } = detached(py, || device.run(request))?.or_raise()?;
    let resolved = structures.into_iter().map(|(name, figures)| (name, resolve(&figures, empty, grid.diagonal())));
    Ok((classes, ignored, resolved.collect(), regions))
}

struct Request<'a> {
    prediction: Prediction<'a>,
    reference: &'a [Label],
    grid: Grid,
    options: &'a Options,
}

impl Visitor for Request<'_> {
    type Output = Result<Figures>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        segcal_metrics::measure::measure(&backend, self.prediction, self.reference, self.grid, self.options)
    }
}

/// The grid of labels `(H, W)` or `(D, H, W)`; voxels of size 1 where no spacing is given.
fn grid(extents: &[usize], spacing: Option<Vec<f64>>) -> PyResult<Grid> {
    let spacing = spacing.unwrap_or_else(|| vec![1.0; extents.len()]);
    match (extents, &spacing[..]) {
        (&[h, w], &[y, x]) => Ok(Grid::new([1, h, w], [1.0, y, x])),
        (&[d, h, w], &[z, y, x]) => Ok(Grid::new([d, h, w], [z, y, x])),
        ([_, _] | [_, _, _], _) => {
            let problem =
                format!("spacing: expected {} numbers, one per spatial axis, got {}", extents.len(), spacing.len());
            Err(PyValueError::new_err(problem))
        }
        _ => Err(PyValueError::new_err(format!("labels: expected shape (H, W) or (D, H, W), got {extents:?}"))),
    }
}

fn expect(spatial: Option<&[usize]>, labels: &[usize], wanted: &str, found: &[usize]) -> PyResult<()> {
    if spatial == Some(labels) {
        return Ok(());
    }
    let problem = format!("prediction: expected {wanted} on the grid {labels:?} of the labels, got shape {found:?}");
    Err(PyValueError::new_err(problem))
}

fn policy(name: &str) -> PyResult<Policy> {
    let names = || Policy::ALL.map(Policy::name).join(", ");
    Policy::named(name).ok_or_else(|| PyValueError::new_err(format!("empty: {name:?} is not one of {}", names())))
}

/// The numbers that stand for the outcomes of a structure.
fn resolve(figures: &StructureFigures, empty: Policy, diagonal: f64) -> BTreeMap<&'static str, f64> {
    let value = |(&key, &outcome): (&&'static str, &_)| Some((key, empty.resolve(outcome, metric(key)?, diagonal)));
    figures.iter().filter_map(value).collect()
}

/// Key, unit, definition and source of every metric, and whether it is of a structure or of a region.
#[pyfunction]
pub(crate) fn metrics() -> Vec<(&'static str, &'static str, &'static str, &'static str, bool)> {
    METRICS.iter().map(|row| (row.key, row.unit, row.definition, row.source, row.per_structure())).collect()
}
