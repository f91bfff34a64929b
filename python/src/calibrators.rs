//! Post-hoc maps of arrays in memory, and the files of `segcal calibrate`.

use std::path::PathBuf;

use numpy::{IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use segcal_core::{Context, Result};
use segcal_evaluate::calibrate::map::{Map, MapFile, Method};
use segcal_evaluate::scores::Scores;
use segcal_metrics::posthoc::{Chunk, InMemory, logits_of};

use crate::arrays::cases;
use crate::errors::OrRaise;
use crate::processes::detached;

/// A fitted map with what it was fitted on.
#[pyclass(module = "segcal._native", frozen)]
pub(crate) struct Calibrator(MapFile);

#[pymethods]
impl Calibrator {
    /// Fits a map on scores `(B, C, *spatial)` with labels `(B, *spatial)`.
    #[staticmethod]
    fn fit(
        py: Python<'_>,
        method: &str,
        probabilities: bool,
        scores: PyReadonlyArrayDyn<'_, f32>,
        labels: PyReadonlyArrayDyn<'_, u16>,
    ) -> PyResult<Self> {
        let method = self::method(method)?;
        let (classes, voxels) = cases("scores", scores.shape(), labels.shape())?;
        let (scores, labels) = (scores.as_slice()?, labels.as_slice()?);
        let kind = if probabilities { Scores::Probabilities } else { Scores::Logits };
        let map = detached(py, || {
            let logits = if probabilities { Some(logarithms(scores)) } else { None };
            let logits = logits.as_deref().unwrap_or(scores);
            fit(method, classes, logits.chunks(classes * voxels).zip(labels.chunks(voxels)))
        })?;
        Ok(Self(MapFile::new(map.or_raise()?, classes, kind, "all".into(), Vec::new())))
    }

    /// Calibrated probabilities of scores `(B, C, *spatial)`, in their shape.
    fn transform<'py>(
        &self,
        py: Python<'py>,
        probabilities: bool,
        scores: PyReadonlyArrayDyn<'py, f32>,
    ) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let extents = scores.shape();
        let MapFile { classes, map, .. } = &self.0;
        if extents.len() < 2 || extents[1] != *classes {
            let problem = format!("scores: the map is of {classes} classes, the array has the shape {extents:?}");
            return Err(PyValueError::new_err(problem));
        }
        let kind = if probabilities { Scores::Probabilities } else { Scores::Logits };
        self.0.expect(kind, map.ignores_offsets()).or_raise()?;
        let (values, per_case) = (scores.as_slice()?, extents[1..].iter().product::<usize>().max(1));
        let calibrated = detached(py, || {
            let mut values = values.to_vec();
            if probabilities {
                map.logits_of(&mut values);
            }
            values.chunks_mut(per_case).for_each(|case| map.apply(case, *classes));
            values
        })?;
        calibrated.into_pyarray(py).reshape(extents)
    }

    /// Reads a file of `segcal calibrate fit`.
    #[staticmethod]
    fn read(path: PathBuf) -> PyResult<Self> {
        MapFile::read(&path).map(Self).or_raise()
    }

    /// Writes such a file.
    fn write(&self, path: PathBuf) -> PyResult<()> {
        self.0.write(&path).or_raise()
    }

    /// The map of a file's text.
    #[staticmethod]
    fn parse(text: &str) -> PyResult<Self> {
        MapFile::parse(text).map(Self).or_raise()
    }

    /// The text of a file.
    fn text(&self) -> PyResult<String> {
        self.0.to_text().or_raise()
    }

    /// Name of the method.
    #[getter]
    fn method(&self) -> &'static str {
        self.0.map.method().name()
    }

    /// Why the fit has no optimum, if so.
    #[getter]
    fn doubt(&self) -> Option<&'static str> {
        self.0.map.doubt()
    }
}

fn method(name: &str) -> PyResult<Method> {
    let found = Method::ALL.into_iter().find(|method| method.name() == name);
    found.ok_or_else(|| PyValueError::new_err(format!("method: unknown calibration map {name:?}")))
}

fn logarithms(probabilities: &[f32]) -> Vec<f32> {
    let mut logits = probabilities.to_vec();
    logits_of(&mut logits);
    logits
}

fn fit<'a>(method: Method, classes: usize, cases: impl Iterator<Item = (&'a [f32], &'a [u16])>) -> Result<Map> {
    let chunks = cases
        .enumerate()
        .map(|(case, (logits, labels))| Chunk::new(logits, labels, classes).at(format!("case {case}")));
    Map::fit(method, &mut InMemory::new(classes, chunks.collect::<Result<_>>()?))
}
