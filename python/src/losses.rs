//! Losses and priors by name, and the theorem suite.

use numpy::{IntoPyArray, PyArrayDyn, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use segcal_backends::{Device, Visitor};
use segcal_core::{Backend, Result, Shape, axis};
use segcal_losses::calculator::{self, Arrays, Found, Numbers};
use segcal_losses::theorems::{self, Theorem};
use segcal_losses::{Convention, Given, Prior, Setting, Settings, Spec};

use crate::arrays::{Floats, batch_shape, labels_shape};
use crate::errors::OrRaise;
use crate::processes::detached;

/// A loss by name, with its parameters and what it remembers between epochs.
#[pyclass(module = "segcal._native")]
pub(crate) struct Loss {
    criterion: segcal_losses::Loss,
    settings: Settings,
    backend: String,
}

/// Value, terms and gradient, as Python gets them.
type Answer<'py> = (f64, Bound<'py, PyDict>, Option<Bound<'py, PyArrayDyn<f64>>>);

#[pymethods]
impl Loss {
    #[new]
    fn new(name: &str, convention: &str, backend: String, parameters: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = segcal_losses::Loss::spec(name).and_then(|spec| settings(spec, convention, parameters));
        let settings = settings.or_raise()?;
        let criterion = segcal_losses::Loss::build(name, &settings).or_raise()?;
        Device::open(&backend, None).or_raise()?;
        Ok(Self { criterion, settings, backend })
    }

    /// Every parameter with its value.
    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.settings)
    }

    /// Value, terms and, if wanted, the gradient in the shape of the logits.
    fn value<'py>(&self, py: Python<'py>, batch: Batch<'py>, gradient: bool) -> PyResult<Answer<'py>> {
        let arrays = self.checked(&batch)?;
        let device = Device::open(&self.backend, None).or_raise()?;
        let Found { value, terms, gradient } =
            detached(py, || device.run(Evaluate { loss: &self.criterion, arrays, gradient }))?.or_raise()?;
        let named = PyDict::new(py);
        terms.iter().try_for_each(|(name, term)| named.set_item(name, term))?;
        let gradient = gradient.map(|gradient| gradient.into_pyarray(py).reshape(batch.0.extents())).transpose()?;
        Ok((value, named, gradient))
    }

    /// Looks at a batch of the validation pass.
    fn observe(&mut self, py: Python<'_>, batch: Batch<'_>) -> PyResult<()> {
        let arrays = self.checked(&batch)?;
        let device = Device::open(&self.backend, None).or_raise()?;
        detached(py, || device.run(Observe { loss: &mut self.criterion, arrays }))?.or_raise()
    }

    /// Updates the state from what was observed since the last epoch.
    fn end_epoch(&mut self) {
        self.criterion.end_epoch();
    }

    /// What it remembers: names and numbers.
    fn state(&self) -> Vec<(String, Vec<f64>)> {
        self.criterion.state()
    }

    /// Takes up a state.
    fn restore(&mut self, state: Vec<(String, Vec<f64>)>) -> PyResult<()> {
        self.criterion.restore(&state).or_raise()
    }
}

impl Loss {
    fn checked<'a>(&self, batch: &'a Batch<'_>) -> PyResult<Arrays<'a>> {
        let arrays = batch.arrays()?;
        let ignored = self.settings.iter().find(|(name, _)| *name == "ignore_index").map(|(_, value)| value);
        let ignored = if let Some(Setting::Number(number)) = ignored { Some(*number) } else { None };
        arrays.check(ignored, self.settings.needs_image()).or_raise()?;
        self.criterion.check(arrays.shape.c()).map_err(|error| error.at(self.criterion.own_spec().name)).or_raise()?;
        Ok(arrays)
    }
}

/// Arrays of a batch, a tuple of Python's.
#[derive(FromPyObject)]
struct Batch<'py>(Floats<'py>, Floats<'py>, Option<Floats<'py>>, Option<Floats<'py>>, Option<Floats<'py>>);

impl Batch<'_> {
    fn arrays(&self) -> PyResult<Arrays<'_>> {
        let Self(logits, labels, image, second, mask) = self;
        let shape = batch_shape("logits", logits.extents())?;
        let pixels = shape.with(axis::C, 1);
        fits("labels", labels_shape("labels", labels.extents())?, pixels)?;
        let mut arrays = Arrays::new(shape, logits.numbers()?, labels.numbers()?);
        if let Some(image) = image {
            fits("image", batch_shape("image", image.extents())?, pixels)?;
            arrays.image = Some(image.numbers()?);
        }
        if let Some(second) = second {
            fits("second", batch_shape("second", second.extents())?, shape)?;
            arrays.second = Some(second.numbers()?);
        }
        if let Some(mask) = mask {
            fits("mask", labels_shape("mask", mask.extents())?, pixels)?;
            arrays.mask = Some(mask.numbers()?);
        }
        Ok(arrays)
    }
}

fn fits(name: &str, shape: Shape, wanted: Shape) -> PyResult<()> {
    if shape == wanted {
        return Ok(());
    }
    let problem = format!("{name}: as [b, c, d, h, w] the shape is {shape}, the logits need {wanted}");
    Err(PyValueError::new_err(problem))
}

struct Evaluate<'a> {
    loss: &'a segcal_losses::Loss,
    arrays: Arrays<'a>,
    gradient: bool,
}

impl Visitor for Evaluate<'_> {
    type Output = Result<Found>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        self.arrays.evaluate(&backend, self.loss, self.gradient)
    }
}

struct Observe<'a> {
    loss: &'a mut segcal_losses::Loss,
    arrays: Arrays<'a>,
}

impl Visitor for Observe<'_> {
    type Output = Result<()>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        self.arrays.observe(&backend, self.loss)
    }
}

/// The prior `(B, classes, *spatial)` of labels `(B, *spatial)`; `which` is its name, the convention and the backend.
#[pyfunction]
pub(crate) fn prior<'py>(
    py: Python<'py>,
    which: (String, String, String),
    parameters: &Bound<'py, PyDict>,
    labels: Floats<'py>,
    classes: u16,
    image: Option<Floats<'py>>,
) -> PyResult<Bound<'py, PyArrayDyn<f64>>> {
    let (name, convention, backend) = (&which.0, &which.1, &which.2);
    let settings = Prior::spec(name).and_then(|spec| settings(spec, convention, parameters)).or_raise()?;
    let prior = Prior::build(name, &settings).or_raise()?;
    let shape = labels_shape("labels", labels.extents())?;
    if let Some(image) = &image {
        fits("image", batch_shape("image", image.extents())?, shape)?;
    }
    let (numbers, image) = (labels.numbers()?, image.as_ref().map(Floats::numbers).transpose()?);
    let (device, classes) = (Device::open(backend, None).or_raise()?, usize::from(classes));
    let found = detached(py, || device.run(Spread { prior: &prior, labels: (numbers, shape), classes, image }))?;
    let mut extents = labels.extents().to_vec();
    extents.insert(1, classes);
    found.or_raise()?.into_pyarray(py).reshape(extents)
}

struct Spread<'a> {
    prior: &'a Prior,
    labels: (Numbers<'a>, Shape),
    classes: usize,
    image: Option<Numbers<'a>>,
}

impl Visitor for Spread<'_> {
    type Output = Result<Vec<f64>>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        calculator::prior(&backend, self.prior, self.labels, self.classes, self.image)
    }
}

/// Parameters as Python gives them: numbers, words, flags, `None`, lists of numbers.
fn settings(spec: &Spec, convention: &str, parameters: &Bound<'_, PyDict>) -> Result<Settings> {
    let mut given = Given::new();
    for (name, value) in parameters {
        given.insert(name.to_string(), setting(&value));
    }
    spec.settings(&given, Convention::from_name(convention)?)
}

fn setting(value: &Bound<'_, PyAny>) -> Setting {
    if value.is_none() {
        return "none".into();
    }
    if value.is_instance_of::<PyBool>() {
        return value.is_truthy().unwrap_or_default().into();
    }
    if let Ok(word) = value.extract::<String>() {
        return Setting::from(word.as_str());
    }
    let number = value.extract::<f64>().map(Setting::from);
    let numbers = || value.extract::<Vec<f64>>().map(Setting::from);
    number.or_else(|_| numbers()).unwrap_or_else(|_| Setting::Word(value.to_string()))
}

fn to_dict<'py>(py: Python<'py>, settings: &Settings) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in settings.iter() {
        match value {
            Setting::Number(number) => dict.set_item(name, number)?,
            Setting::Numbers(numbers) => dict.set_item(name, numbers)?,
            Setting::Word(word) => match word.as_str() {
                "true" => dict.set_item(name, true)?,
                "false" => dict.set_item(name, false)?,
                "none" => dict.set_item(name, py.None())?,
                word => dict.set_item(name, word)?,
            },
        }
    }
    Ok(dict)
}

/// Name, title, source, whether an image is needed, and parameters (name, default, range, what it does) of every loss
/// or every prior.
type Row = (&'static str, &'static str, &'static str, bool, Vec<(&'static str, &'static str, String, &'static str)>);

/// What every loss (`"loss"`) or every prior (`"prior"`) says about itself.
#[pyfunction]
pub(crate) fn specs(kind: &str) -> Vec<Row> {
    let specs = if kind == "prior" { Prior::SPECS } else { segcal_losses::Loss::SPECS };
    let row = |spec: &Spec| {
        let params = spec.params().map(|param| (param.name, param.default, param.range.to_string(), param.doc));
        (spec.name, spec.title, spec.source, spec.image, params.collect())
    };
    specs.iter().map(row).collect()
}

/// Name, statement, source, problems tried, worst deviation and bound of every theorem.
type Tried = (&'static str, &'static str, &'static str, usize, f64, f64);

/// Checks every theorem on random problems. Ctrl-C is heard between two theorems.
#[pyfunction]
pub(crate) fn verify(py: Python<'_>, backend: &str, cases: usize, seed: u64) -> PyResult<Vec<Tried>> {
    Device::open(backend, None).or_raise()?.run(Suite { py, cases, seed })
}

struct Suite<'py> {
    py: Python<'py>,
    cases: usize,
    seed: u64,
}

impl Visitor for Suite<'_> {
    type Output = PyResult<Vec<Tried>>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let Self { py, cases, seed } = self;
        let check = |theorem: &Theorem<B>| {
            py.check_signals()?;
            let found = detached(py, || theorem.outcome(&backend, cases, seed))?.or_raise()?;
            Ok((found.name, found.statement, found.source, found.cases, found.worst, found.bound))
        };
        theorems::all::<B>().iter().map(check).collect()
    }
}
