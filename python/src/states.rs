//! States of metrics, which merge to the same bits in any order, and their bytes.

use std::collections::BTreeMap;

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use segcal_core::{Error, Result};
use segcal_metrics::calibration::{self, Region, Voxels};
use segcal_metrics::definitions::{Compute, rows};
use segcal_metrics::overlap::Confusion;
use segcal_metrics::volume::{Label, Probabilities, Structure};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::arrays::cases;
use crate::errors::OrRaise;
use crate::processes::detached;

/// Figures by metric key.
type Figures = BTreeMap<&'static str, f64>;

/// Most classes that labels can name.
const MOST_CLASSES: usize = Label::MAX as usize + 1;

/// Bins of every region.
#[pyclass(module = "segcal._native")]
pub(crate) struct Calibration(calibration::Calibration);

#[pymethods]
impl Calibration {
    #[new]
    fn new(classes: usize, bins: usize) -> PyResult<Self> {
        expect_sizes(classes, bins).or_raise()?;
        Ok(Self(calibration::Calibration::new(classes, bins)))
    }

    /// Adds probabilities `(B, C, *spatial)` with labels `(B, *spatial)`; `boundary` marks the voxels of that region.
    #[pyo3(signature = (probabilities, labels, ignored, boundary))]
    fn update(
        &mut self,
        py: Python<'_>,
        probabilities: PyReadonlyArrayDyn<'_, f32>,
        labels: PyReadonlyArrayDyn<'_, u16>,
        ignored: Option<Label>,
        boundary: Option<PyReadonlyArrayDyn<'_, bool>>,
    ) -> PyResult<()> {
        let (classes, voxels) = cases("probabilities", probabilities.shape(), labels.shape())?;
        expect_classes(classes, self.0.classes())?;
        if let Some(boundary) = &boundary {
            cases("boundary", probabilities.shape(), boundary.shape())?;
        }
        let boundary = boundary.as_ref().map(|boundary| boundary.as_slice()).transpose()?;
        let (p, labels) = (probabilities.as_slice()?, labels.as_slice()?);
        expect_numbers(p)?;
        // All or nothing: a case that is refused leaves the state as it was.
        let mut added = calibration::Calibration::new(classes, self.0.bins());
        let band = |case: usize| boundary.map(|boundary| &boundary[case * voxels..][..voxels]);
        detached(py, || {
            each_case(p, labels, (classes, voxels), |case, p, labels, prediction| {
                let seen = Voxels::new(p, labels, prediction, ignored);
                added.add_voxels(&band(case).into_iter().fold(seen, Voxels::with_boundary))
            })
        })?
        .or_raise()?;
        self.0.merge(&added);
        Ok(())
    }

    /// Adds another state of the same classes and bins.
    fn merge(&mut self, other: &Self) -> PyResult<()> {
        expect_same((self.0.classes(), self.0.bins()), (other.0.classes(), other.0.bins()))?;
        self.0.merge(&other.0);
        Ok(())
    }

    /// Every figure of a region.
    fn compute(&self, region: &str) -> PyResult<Figures> {
        let bins = self.0.region(region.parse().or_raise()?);
        let figure = |compute| match compute {
            Compute::Calibration(figure) | Compute::Description(figure) => Some(figure(&bins)),
            _ => None,
        };
        Ok(rows().filter_map(|(metric, compute)| Some((metric.key, figure(compute)?))).collect())
    }

    /// Count, confidence and accuracy of each bin of the largest probability.
    fn reliability(&self, region: &str) -> PyResult<Vec<(u64, f64, f64)>> {
        let bins = self.0.region(region.parse().or_raise()?).top_bins();
        Ok(bins.iter().map(|bin| (bin.count, bin.confidence(), bin.accuracy())).collect())
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        bytes(py, "calibration", &self.0)
    }

    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        read("calibration", bytes, |state: &calibration::Calibration, value| {
            expect_sizes(state.classes(), state.bins())?;
            let sizes = [("classes", state.classes()), ("bins", state.bins())];
            let of_state = |region: &Value| sizes.iter().all(|(key, size)| region[key].as_u64() == Some(*size as u64));
            expect(regions(value).all(of_state))
        })
        .map(Self)
        .or_raise()
    }
}

/// Bins of equal mass, of the regions that every number of classes has.
#[pyclass(module = "segcal._native")]
pub(crate) struct EqualMass {
    state: calibration::EqualMass,
    classes: usize,
    bins: usize,
}

#[pymethods]
impl EqualMass {
    #[new]
    fn new(classes: usize, bins: usize) -> PyResult<Self> {
        expect_sizes(classes, bins).or_raise()?;
        Ok(Self { state: calibration::EqualMass::new(classes, bins), classes, bins })
    }

    /// Adds probabilities `(B, C, *spatial)` with labels `(B, *spatial)`.
    #[pyo3(signature = (probabilities, labels, ignored))]
    fn update(
        &mut self,
        py: Python<'_>,
        probabilities: PyReadonlyArrayDyn<'_, f32>,
        labels: PyReadonlyArrayDyn<'_, u16>,
        ignored: Option<Label>,
    ) -> PyResult<()> {
        let (classes, voxels) = cases("probabilities", probabilities.shape(), labels.shape())?;
        expect_classes(classes, self.classes)?;
        let (p, labels) = (probabilities.as_slice()?, labels.as_slice()?);
        expect_numbers(p)?;
        let mut added = calibration::EqualMass::new(classes, self.bins);
        detached(py, || {
            each_case(p, labels, (classes, voxels), |_, p, labels, prediction| {
                let seen = Voxels::new(p, labels, prediction, ignored);
                // Refuses what is not a probability or a class.
                calibration::Calibration::new(classes, 1).add_voxels(&seen)?;
                added.add(&seen);
                Ok(())
            })
        })?
        .or_raise()?;
        self.state.merge(&added);
        Ok(())
    }

    /// Adds another state of the same classes and bins.
    fn merge(&mut self, other: &Self) -> PyResult<()> {
        expect_same((self.classes, self.bins), (other.classes, other.bins))?;
        self.state.merge(&other.state);
        Ok(())
    }

    /// `aece` and `tace` of a region.
    fn compute(&self, region: &str) -> PyResult<Figures> {
        let region: Region = region.parse().or_raise()?;
        let kept = Region::COMMON.map(|region| region.to_string()).join(", ");
        let found = self.state.figures(region);
        let found =
            found.ok_or_else(|| PyValueError::new_err(format!("region: {region} is not kept (kept are {kept})")))?;
        let figure = |compute| if let Compute::EqualMass(figure) = compute { Some(figure(&found)) } else { None };
        Ok(rows().filter_map(|(metric, compute)| Some((metric.key, figure(compute)?))).collect())
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        bytes(py, "equal-mass", &self.state)
    }

    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        let mut sizes = (0, 0);
        let state = read("equal-mass", bytes, |_: &calibration::EqualMass, value| {
            let size = |key: &str| value[key].as_u64().map_or(0, |size| size as usize);
            sizes = (size("classes"), size("bins"));
            expect_sizes(sizes.0, sizes.1)?;
            let template =
                serde_json::to_value(calibration::EqualMass::new(sizes.0, sizes.1)).map_err(Error::from_source)?;
            let columns = |region: &Value| region.as_array().map(Vec::len);
            expect(regions(value).all(|region| columns(region) == columns(&template["regions"]["all"])))
        });
        Ok(Self { state: state.or_raise()?, classes: sizes.0, bins: sizes.1 })
    }
}

/// Voxel counts of pairs of labels.
#[pyclass(module = "segcal._native")]
pub(crate) struct Overlap(Confusion);

#[pymethods]
impl Overlap {
    #[new]
    fn new(classes: usize) -> PyResult<Self> {
        expect_sizes(classes, 1).or_raise()?;
        Ok(Self(Confusion::new(classes)))
    }

    /// Adds two label maps of one shape.
    #[pyo3(signature = (prediction, labels, ignored))]
    fn update(
        &mut self,
        py: Python<'_>,
        prediction: PyReadonlyArrayDyn<'_, u16>,
        labels: PyReadonlyArrayDyn<'_, u16>,
        ignored: Option<Label>,
    ) -> PyResult<()> {
        if prediction.shape() != labels.shape() {
            let problem = format!("prediction: shape {:?}, the labels have {:?}", prediction.shape(), labels.shape());
            return Err(PyValueError::new_err(problem));
        }
        let (prediction, labels) = (prediction.as_slice()?, labels.as_slice()?);
        detached(py, || self.0.add_but(labels, prediction, ignored))?.or_raise()
    }

    /// Adds another state of the same number of classes.
    fn merge(&mut self, other: &Self) -> PyResult<()> {
        expect_same((self.0.classes(), 1), (other.0.classes(), 1))?;
        self.0.merge(&other.0);
        Ok(())
    }

    /// Overlap figures of a union of labels against everything else; NaN where a figure has no value.
    fn compute(&self, labels: Vec<Label>) -> Figures {
        let counts = self.0.counts(&Structure { name: String::new(), labels });
        let figure = |compute| if let Compute::Overlap(figure) = compute { Some(figure(&counts)) } else { None };
        let value = |(metric, compute): (&segcal_metrics::metric::Metric, _)| {
            Some((metric.key, figure(compute)?.formula().unwrap_or(f64::NAN)))
        };
        rows().filter_map(value).collect()
    }

    /// Number of voxels of each pair of labels that occurs: reference, prediction, count.
    fn counts(&self) -> PyResult<Vec<(Label, Label, u64)>> {
        let value = serde_json::to_value(&self.0).map_err(Error::from_source).or_raise()?;
        serde_json::from_value(value["counts"].clone()).map_err(Error::from_source).or_raise()
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        bytes(py, "overlap", &self.0)
    }

    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        read("overlap", bytes, |state: &Confusion, value| {
            expect_sizes(state.classes(), 1)?;
            let rows: Vec<(usize, usize, u64)> =
                serde_json::from_value(value["counts"].clone()).map_err(Error::from_source)?;
            let ascending = rows.windows(2).all(|pair| (pair[0].0, pair[0].1) < (pair[1].0, pair[1].1));
            expect(ascending && rows.iter().all(|row| row.0.max(row.1) < state.classes()))
        })
        .map(Self)
        .or_raise()
    }
}

/// Calls `act` with the number of each case, its probabilities, labels and prediction.
fn each_case(
    p: &[f32],
    labels: &[Label],
    (classes, voxels): (usize, usize),
    mut act: impl FnMut(usize, Probabilities<'_>, &[Label], &[Label]) -> Result<()>,
) -> Result<()> {
    let of_cases = p.chunks(classes * voxels).zip(labels.chunks(voxels)).enumerate();
    of_cases.into_iter().try_for_each(|(case, (p, labels))| {
        let p = Probabilities::new(p, classes);
        act(case, p, labels, &p.argmax()).map_err(|error| error.at(format!("case {case}")))
    })
}

fn expect_sizes(classes: usize, bins: usize) -> Result<()> {
    if !(1..=MOST_CLASSES).contains(&classes) {
        return Err(Error::new(format!("{classes} is not in 1 to {MOST_CLASSES}")).at("classes"));
    }
    if !(1..=1000).contains(&bins) {
        return Err(Error::new(format!("{bins} is not in 1 to 1000")).at("bins"));
    }
    Ok(())
}

fn expect_classes(found: usize, wanted: usize) -> PyResult<()> {
    if found == wanted {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("probabilities: {found} classes, the state has {wanted}")))
}

fn expect_same(own: (usize, usize), other: (usize, usize)) -> PyResult<()> {
    if own == other {
        return Ok(());
    }
    let name = |(classes, bins)| format!("{classes} classes and {bins} bins");
    Err(PyValueError::new_err(format!("other: a state of {} does not merge with one of {}", name(other), name(own))))
}

/// A state as JSON with the name of its kind.
fn bytes<'py>(py: Python<'py>, kind: &str, state: &impl Serialize) -> PyResult<Bound<'py, PyBytes>> {
    let text = serde_json::to_vec(&(format!("segcal.state.{kind}/1"), state)).map_err(Error::from_source).or_raise()?;
    Ok(PyBytes::new(py, &text))
}

/// The state of some bytes; `check` gets it together with its JSON, and refuses what no state looks like.
fn read<T: DeserializeOwned>(kind: &str, bytes: &[u8], check: impl FnOnce(&T, &Value) -> Result<()>) -> Result<T> {
    let read = || {
        let (found, value): (String, Value) = serde_json::from_slice(bytes).map_err(Error::from_source)?;
        expect(found == format!("segcal.state.{kind}/1"))?;
        let state = T::deserialize(&value).map_err(Error::from_source)?;
        check(&state, &value)?;
        Ok(state)
    };
    read().map_err(|error: Error| error.at("bytes"))
}

fn expect(whole: bool) -> Result<()> {
    if whole {
        Ok(())
    } else {
        Err(Error::new("not the bytes of a state of this kind").help("pass the bytes that to_bytes returned"))
    }
}

fn regions(state: &Value) -> impl Iterator<Item = &Value> {
    state["regions"].as_object().into_iter().flat_map(|regions| regions.values())
}

/// Refuses probabilities that are not numbers.
fn expect_numbers(p: &[f32]) -> PyResult<()> {
    if p.iter().any(|x| x.is_nan()) {
        return Err(PyValueError::new_err("probabilities: NaN"));
    }
    Ok(())
}
