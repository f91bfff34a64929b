//! A fitted map, and the small JSON file that stores it.

use std::path::Path;

use segcal_core::{Context, Error, Result};
use segcal_metrics::measure::Nested;
use segcal_metrics::posthoc::{
    ClassTemperature, Isotonic, Platt, Samples, StepFunction, Temperature, VectorScaling, log_odds_of, logits_of,
};
use segcal_metrics::volume::softmax;
use serde::{Deserialize, Serialize};

use super::regions::RegionMaps;
use crate::scores::Scores;
use segcal_data::{limits, output};

/// The format of the file.
const SCHEMA: &str = "segcal.calibration-map/1";

/// Kinds of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One temperature for all classes: keeps the labels.
    Temperature,
    /// One temperature per class.
    ClassTemperature,
    /// Scale and bias per class.
    Vector,
    /// A sigmoid of the log-odds per class, then divided by the sum.
    Platt,
    /// An increasing function of the probability per class, then divided by the sum.
    Isotonic,
    /// A temperature for every voxel, from a small network that sees logits and image: keeps the labels.
    Local,
}

impl Method {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Temperature, Self::ClassTemperature, Self::Vector, Self::Platt, Self::Isotonic, Self::Local];

    /// Name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::ClassTemperature => "class-temperature",
            Self::Vector => "vector",
            Self::Platt => "platt",
            Self::Isotonic => "isotonic",
            Self::Local => "local",
        }
    }

    /// Checks that the method makes sense for regions, where the logit of the rest is always 0.
    ///
    /// # Errors
    /// The method needs one logit per class.
    pub fn expect_of_regions(self) -> Result<()> {
        if [Self::Temperature, Self::Platt, Self::Isotonic].contains(&self) {
            return Ok(());
        }
        let problem =
            format!("{} needs one logit per class, but a region has a single logit against the rest", self.name());
        Err(Error::new(problem).at("METHOD").help("use temperature, platt or isotonic"))
    }

    /// A one-line description.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Temperature => "One temperature for all classes: keeps the labels",
            Self::ClassTemperature => "One temperature per class",
            Self::Vector => "Scale and bias per class",
            Self::Platt => "A sigmoid of the log-odds per class, then divided by the sum",
            Self::Isotonic => "An increasing function of the probability per class, then divided by the sum",
            Self::Local => {
                "A temperature for every voxel, from a small network that sees logits and image: keeps the labels"
            }
        }
    }
}

/// A fitted map, which acts on the scores of single voxels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "parameters", rename_all = "kebab-case")]
pub enum Map {
    /// See [`Temperature`].
    Temperature(Temperature),
    /// See [`ClassTemperature`].
    ClassTemperature(ClassTemperature),
    /// See [`VectorScaling`].
    Vector(VectorScaling),
    /// See [`Platt`].
    Platt(Platt),
    /// See [`Isotonic`].
    Isotonic(Isotonic),
    /// See [`RegionMaps`].
    Regions(RegionMaps<Self>),
}

impl Map {
    /// Fits a map.
    ///
    /// # Errors
    /// There are no samples, one cannot be read, or the method needs more than single voxels.
    pub fn fit(method: Method, samples: &mut dyn Samples) -> Result<Self> {
        Ok(match method {
            Method::Temperature => Self::Temperature(Temperature::fit(samples)?),
            Method::ClassTemperature => Self::ClassTemperature(ClassTemperature::fit(samples)?),
            Method::Vector => Self::Vector(VectorScaling::fit(samples)?),
            Method::Platt => Self::Platt(Platt::fit(samples)?),
            Method::Isotonic => Self::Isotonic(Isotonic::fit(samples)?),
            Method::Local => return Err(Error::new("local temperatures are fitted on whole slices")),
        })
    }

    /// Name on the command line.
    pub fn method(&self) -> Method {
        match self {
            Self::Temperature(_) => Method::Temperature,
            Self::ClassTemperature(_) => Method::ClassTemperature,
            Self::Vector(_) => Method::Vector,
            Self::Platt(_) => Method::Platt,
            Self::Isotonic(_) => Method::Isotonic,
            Self::Regions(maps) => maps.each().next().map_or(Method::Platt, |(_, map)| map.method()),
        }
    }

    /// The regions that the scores are of, if they are separate binary problems.
    pub const fn nested(&self) -> Option<&Nested> {
        if let Self::Regions(maps) = self { Some(&maps.nested) } else { None }
    }

    /// Converts probabilities to the logits that the map takes, in place.
    pub fn logits_of(&self, probabilities: &mut [f32]) {
        if self.nested().is_some() { log_odds_of(probabilities) } else { logits_of(probabilities) }
    }

    /// Checks that the parameters are finite, in range, and match the number of classes.
    fn check(&self, classes: usize) -> Result<()> {
        match self {
            Self::Regions(maps) => {
                maps.expect_channels(classes)?;
                let check = |map: &Self| map.method().expect_of_regions().and_then(|()| map.check(2));
                maps.each().try_for_each(|(region, map)| check(map).at(&region.name))
            }
            Self::Temperature(map) => positive("temperature", &[map.temperature]),
            Self::ClassTemperature(map) => {
                sized("temperatures", map.temperatures.len(), classes)?;
                positive("temperatures", &map.temperatures)
            }
            Self::Vector(map) => {
                sized("scale", map.scale.len(), classes)?;
                sized("bias", map.bias.len(), classes)?;
                finite("scale", &map.scale)?;
                finite("bias", &map.bias)
            }
            Self::Platt(map) => {
                sized("slope", map.slope.len(), classes)?;
                sized("intercept", map.intercept.len(), classes)?;
                finite("slope", &map.slope)?;
                finite("intercept", &map.intercept)
            }
            Self::Isotonic(map) => {
                sized("classes", map.classes.len(), classes)?;
                map.classes
                    .iter()
                    .enumerate()
                    .try_for_each(|(class, function)| increasing(function).at(format!("classes[{class}]")))
            }
        }
    }

    /// Turns logits `[k, d, h, w]`, of classes or of regions, into calibrated probabilities, in place.
    ///
    /// # Panics
    /// The map has another number of classes.
    pub fn apply(&self, logits: &mut [f32], classes: usize) {
        match self {
            Self::Temperature(map) => map.apply(logits),
            Self::ClassTemperature(map) => map.apply(logits),
            Self::Vector(map) => map.apply(logits),
            Self::Platt(map) => return map.apply(logits),
            Self::Isotonic(map) => return map.apply(logits),
            Self::Regions(maps) => return maps.apply(logits, |map, pair| map.apply(pair, 2)),
        }
        softmax(logits, classes);
    }

    /// A warning if the fit did not converge.
    pub fn doubt(&self) -> Option<&'static str> {
        let converged = match self {
            Self::Temperature(map) => map.fit.converged,
            Self::ClassTemperature(map) => map.fit.converged,
            Self::Vector(map) => map.fit.converged,
            Self::Platt(map) => map.fit.converged,
            Self::Isotonic(_) => true,
            Self::Regions(maps) => maps.each().all(|(_, map)| map.doubt().is_none()),
        };
        (!converged)
            .then_some("the fit did not converge: there may be too few cases, or classes that separate perfectly")
    }

    /// The parameters as text; for isotonic regression, the number of functions.
    pub fn summary(&self) -> String {
        let list = |values: &[f64]| values.iter().map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Temperature(map) => format!("temperature {:.4}", map.temperature),
            Self::ClassTemperature(map) => format!("temperatures {}", list(&map.temperatures)),
            Self::Vector(map) => format!("scale {}; bias {}", list(&map.scale), list(&map.bias)),
            Self::Platt(map) => format!("slope {}; intercept {}", list(&map.slope), list(&map.intercept)),
            Self::Isotonic(map) => format!("{} increasing functions", map.classes.len()),
            Self::Regions(maps) => {
                let each = maps.each().map(|(region, map)| format!("{}: {}", region.name, map.summary()));
                each.collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// Whether adding a constant to all logits of a voxel changes nothing, so that logits and log-probabilities give
    /// the same result.
    pub const fn ignores_offsets(&self) -> bool {
        matches!(self, Self::Temperature(_) | Self::Platt(_) | Self::Isotonic(_) | Self::Regions(_))
    }
}

fn refused(what: String) -> Error {
    Error::new(what).help("fit the map again")
}

fn sized(name: &str, found: usize, classes: usize) -> Result<()> {
    if classes >= 2 && found == classes {
        return Ok(());
    }
    Err(refused(format!("{found} values for {classes} classes")).at(name))
}

/// Checks that values are numbers and not too large for the 32-bit floats in which maps are computed.
fn finite(name: &str, values: &[f64]) -> Result<()> {
    let fits = |value: &f64| value.abs() <= f64::from(f32::MAX);
    values
        .iter()
        .find(|value| !fits(value))
        .map_or(Ok(()), |bad| Err(refused(format!("{bad} is out of range")).at(name)))
}

fn positive(name: &str, values: &[f64]) -> Result<()> {
    finite(name, values)?;
    let fits = |value: &f64| *value >= f64::from(f32::MIN_POSITIVE);
    values
        .iter()
        .find(|value| !fits(value))
        .map_or(Ok(()), |bad| Err(refused(format!("{bad} is not positive")).at(name)))
}

/// Checks that the knots are those of an increasing function from probabilities to probabilities.
fn increasing(function: &StepFunction) -> Result<()> {
    let (x, y) = function.knots();
    if x.len() != y.len() {
        return Err(refused(format!("x has {} values, y has {}", x.len(), y.len())));
    }
    let inside = |values: &[f64]| values.iter().all(|value| (0.0..=1.0).contains(value));
    let ascending = x.windows(2).all(|pair| pair[0] < pair[1]) && y.windows(2).all(|pair| pair[0] <= pair[1]);
    if inside(x) && inside(y) && ascending {
        return Ok(());
    }
    Err(refused("x and y are not ascending values in [0, 1]".to_owned()))
}

/// The file that `calibrate fit` writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapFile<M = Map> {
    schema: String,
    /// Version of the program that fitted it.
    pub version: String,
    /// Number of classes, or of regions.
    pub classes: usize,
    /// Whether it was fitted on logits or probabilities.
    pub input: Scores,
    /// The region that it was fitted on.
    pub region: String,
    /// The cases that it was fitted on.
    pub cases: Vec<String>,
    /// The map.
    pub map: M,
}

impl<M> MapFile<M> {
    /// A map, with the data that it was fitted on.
    pub fn new(map: M, classes: usize, input: Scores, region: String, cases: Vec<String>) -> Self {
        Self { schema: SCHEMA.into(), version: env!("CARGO_PKG_VERSION").into(), classes, input, region, cases, map }
    }

    /// Checks the format of the file.
    ///
    /// # Errors
    /// The file has another format.
    pub fn expect_schema(&self) -> Result<()> {
        let problem = || Error::new(format!("has the format {}, not {SCHEMA}", self.schema));
        if self.schema == SCHEMA { Ok(()) } else { Err(problem()) }
    }

    /// Checks that the scores are of the kind that the map was fitted on, unless it does not matter.
    ///
    /// # Errors
    /// They are of the other kind, and it matters.
    pub fn expect(&self, kind: Scores, ignores_offsets: bool) -> Result<()> {
        if kind == self.input || ignores_offsets {
            return Ok(());
        }
        let name = |kind| if kind == Scores::Logits { "logits" } else { "probabilities" };
        let problem = format!("was fitted on {}, but {} were given", name(self.input), name(kind));
        Err(Error::new(problem).help("give the kind it was fitted on, or use temperature, platt or isotonic"))
    }
}

impl MapFile {
    /// Reads the file; numbers are restored bit for bit.
    ///
    /// # Errors
    /// It is missing, malformed, or another kind of file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&limits::read_text(path)?).at(path.display())
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// It is malformed, or another kind of file.
    pub fn parse(text: &str) -> Result<Self> {
        let refused =
            |error: serde_json::Error| Error::from_source(error).help("give a file written by segcal calibrate fit");
        let file: Self = serde_json::from_str(text).map_err(refused)?;
        file.expect_schema()?;
        file.map.check(file.classes).at("map")?;
        Ok(file)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// The file cannot be serialised.
    pub fn to_text(&self) -> Result<String> {
        Ok(output::to_json(self)? + "\n")
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        output::write_text(path, &self.to_text()?)
    }
}
