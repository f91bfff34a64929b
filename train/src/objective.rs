//! The `[loss]` table of a config.
//!
//! It contains `name` and the loss's own parameters; `convention`, which applies to all losses; and further losses,
//! each with a `weight`, as `[[loss.plus]]` tables of the same form.

use segcal_core::{Backend, Context, Error, Result};
use segcal_losses::{Batch, Convention, Criterion, Given, Loss, Objective, Regional, Setting, Spec, State};
use segcal_metrics::measure::Nested;
use toml::{Table, Value};

/// What training on files minimises.
#[derive(Clone, Debug)]
pub enum Target {
    /// Losses of mutually exclusive classes.
    Classes(Objective),
    /// The same for regions, each a binary problem.
    Regions(Regional),
}

/// The target that the table describes, for images with this many channels and, if the data set defines them, regions.
/// Dice covers only the regions, as in nnU-Net, unless `include_background` says otherwise.
///
/// # Errors
/// As [`objective`]; a loss that does not apply to regions.
pub fn target(table: &Table, channels: usize, ignored: Option<i32>, regions: Option<&Nested>) -> Result<Target> {
    let Some(Nested { regions, .. }) = regions else {
        return objective(table, channels, ignored).map(Target::Classes);
    };
    let objective = sum(table, &Data { channels, ignored, regions: true })?;
    let labels = |labels: &[u16]| labels.iter().map(|&label| i32::from(label)).collect();
    let regions = regions.iter().map(|region| (region.name.clone(), labels(&region.labels))).collect();
    Regional::new(&objective, regions, ignored).at("loss").map(Target::Regions)
}

impl Criterion for Target {
    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> segcal_losses::Value<B> {
        match self {
            Self::Classes(objective) => objective.value(batch),
            Self::Regions(regional) => regional.value(batch),
        }
    }

    fn views(&self) -> usize {
        match self {
            Self::Classes(objective) => objective.views(),
            Self::Regions(regional) => regional.views(),
        }
    }

    fn check(&self, classes: usize) -> Result<()> {
        match self {
            Self::Classes(objective) => objective.check(classes),
            Self::Regions(regional) => regional.check(classes),
        }
    }

    fn state(&self) -> State {
        match self {
            Self::Classes(objective) => objective.state(),
            Self::Regions(regional) => regional.state(),
        }
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        match self {
            Self::Classes(objective) => objective.restore(state),
            Self::Regions(regional) => regional.restore(state),
        }
    }

    fn observe<B: Backend>(&mut self, batch: &Batch<'_, B>) -> Result<()> {
        match self {
            Self::Classes(objective) => objective.observe(batch),
            Self::Regions(regional) => regional.observe(batch),
        }
    }

    fn end_epoch(&mut self) {
        match self {
            Self::Classes(objective) => objective.end_epoch(),
            Self::Regions(regional) => regional.end_epoch(),
        }
    }
}

/// The objective that the table describes, for images with this many channels. Every loss excludes the pixels with the
/// data set's ignore label, if it has one.
///
/// # Errors
/// An unknown loss, parameter or convention, or a value out of range; the message names the key. If the data set has an
/// ignore label: a loss that cannot exclude pixels, or that is told to ignore others.
pub fn objective(table: &Table, channels: usize, ignored: Option<i32>) -> Result<Objective> {
    sum(table, &Data { channels, ignored, regions: false })
}

fn sum(table: &Table, data: &Data) -> Result<Objective> {
    let convention = match table.get("convention") {
        None => Convention::default(),
        Some(Value::String(name)) => Convention::from_name(name).at("convention").at("loss")?,
        Some(other) => return Err(Error::new(format!("{other} is not a name")).at("loss.convention")),
    };
    let mut parts = vec![part(table, convention, data).at("loss")?];
    match table.get("plus") {
        None => {}
        Some(Value::Array(more)) => {
            for entry in more {
                let table = entry.as_table().ok_or_else(|| Error::new("is not a list of tables").at("loss.plus"))?;
                parts.push(part(table, convention, data).at("loss.plus")?);
            }
        }
        Some(_) => return Err(Error::new("is not a list of tables").at("loss.plus").help("write [[loss.plus]]")),
    }
    Objective::new(parts)
}

/// What losses need to know about the data set.
struct Data {
    channels: usize,
    ignored: Option<i32>,
    /// Whether its labels are regions, each a binary problem.
    regions: bool,
}

fn part(table: &Table, convention: Convention, data: &Data) -> Result<(f64, Loss)> {
    let name = table.get("name").and_then(Value::as_str);
    let name =
        name.ok_or_else(|| Error::new("is missing or is not text").at("name").help("see `segcal list losses`"))?;
    let mut weight = 1.0;
    let mut given = Given::new();
    for (key, value) in table {
        match key.as_str() {
            "name" | "convention" | "plus" => {}
            "weight" => {
                weight = number(value).ok_or_else(|| Error::new(format!("{value} is not a number")).at("weight"))?;
            }
            _ => {
                given.insert(key.clone(), setting(value).at(key)?);
            }
        }
    }
    let spec = Loss::spec(name)?;
    if let Some(label) = data.ignored {
        ignore(&mut given, label, spec).at(name)?;
    }
    if data.regions && spec.params().any(|param| param.name == BACKGROUND) {
        given.entry(BACKGROUND.to_owned()).or_insert_with(|| false.into());
    }
    let settings = spec.settings(&given, convention)?;
    if settings.needs_image() && data.channels != 1 {
        let problem = format!("reads the image, which must have one channel, not {}", data.channels);
        return Err(Error::new(problem).at(name).help("choose a prior that reads only the labels"));
    }
    Ok((weight, Loss::build(name, &settings)?))
}

/// The parameter of losses that average over classes: in a region's problem, class 0 is everything else.
const BACKGROUND: &str = "include_background";

/// Passes the data set's ignore label to a loss.
fn ignore(given: &mut Given, label: i32, spec: &Spec) -> Result<()> {
    const KEY: &str = "ignore_index";
    if spec.params().all(|param| param.name != KEY) {
        let problem = format!("cannot ignore pixels, but the data set has the ignore label {label}");
        return Err(Error::new(problem).help("choose another loss, or give these pixels a class in dataset.json"));
    }
    let own = Setting::Number(f64::from(label));
    match given.insert(KEY.to_owned(), own.clone()) {
        Some(other) if other != own => {
            let problem = format!("{other} is not the data set's ignore label, which is {label}");
            Err(Error::new(problem).at(KEY).help("leave the key out"))
        }
        _ => Ok(()),
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
}

fn setting(value: &Value) -> Result<Setting> {
    match value {
        Value::String(word) => Ok(Setting::Word(word.clone())),
        Value::Boolean(flag) => Ok((*flag).into()),
        Value::Array(items) => {
            let numbers: Option<Vec<f64>> = items.iter().map(number).collect();
            numbers.map(Setting::Numbers).ok_or_else(|| Error::new(format!("{value} is not a list of numbers")))
        }
        other => number(other).map(Setting::Number).ok_or_else(|| Error::new(format!("{other} is not a parameter"))),
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::{Reference, Shape, Tensor};
    use segcal_losses::{Batch, Criterion};

    use super::*;

    fn parse(text: &str) -> Result<Objective> {
        objective(&text.parse().unwrap(), 2, None)
    }

    #[test]
    fn the_label_to_ignore_reaches_every_loss_or_is_an_error() {
        let ignoring = |text: &str| objective(&text.parse().unwrap(), 1, Some(3));
        let message = |text: &str| ignoring(text).unwrap_err().to_string();
        for name in Loss::names() {
            match ignoring(&format!("name = \"{name}\"")) {
                Ok(_) => assert_ne!(name, "bwcr"),
                Err(error) => assert!(error.to_string().contains("bwcr") && error.to_string().contains("label 3")),
            }
        }
        assert!(message("name = \"ce\"\nignore_index = 2").contains("ignore_index"));
        assert!(message("name = \"ce\"\n[[plus]]\nname = \"bwcr\"").contains("bwcr"));
        // The pixels of class 3 count nowhere: two pixels, the second ignored.
        let logits = Tensor::new(&Reference, Shape::new(1, 2, 1, 1, 2), vec![1.0, 5.0, 0.0, -5.0]);
        let labels = Tensor::new(&Reference, Shape::new(1, 1, 1, 1, 2), vec![0.0, 3.0]);
        let value = ignoring("name = \"ce\"").unwrap().value(&Batch::new(&logits, &labels)).total.item().unwrap();
        assert!((value - (1.0 + f64::exp(-1.0)).ln()).abs() < 1e-12, "{value}");
    }

    #[test]
    fn regions_have_losses_of_their_own() {
        use segcal_metrics::volume::Structure;
        let region = |name: &str, labels| Structure { name: name.into(), labels };
        let nested = Nested { regions: vec![region("whole", vec![1, 2]), region("core", vec![2])], order: vec![1, 2] };
        let of = |text: &str| target(&text.parse().unwrap(), 2, Some(3), Some(&nested));
        let logits = Tensor::new(&Reference, Shape::new(1, 2, 1, 1, 2), vec![2.0, 5.0, -1.0, -5.0]);
        let labels = Tensor::new(&Reference, Shape::new(1, 1, 1, 1, 2), vec![1.0, 3.0]);
        let value = |text: &str| {
            let target = of(text).unwrap();
            target.check(2).unwrap();
            target.value(&Batch::new(&logits, &labels)).total.item().unwrap()
        };
        // The second pixel is ignored; of the first, whole is right with sigmoid(2), and core absent with sigmoid(1).
        let expected = 0.5 * ((1.0 + f64::exp(-2.0)).ln() + (1.0 + f64::exp(-1.0)).ln());
        assert!((value("name = \"ce\"") - expected).abs() < 1e-12);
        let plain = value("name = \"dice\"");
        assert!((plain - value("name = \"dice\"\ninclude_background = false")).abs() < 1e-15);
        assert!((plain - value("name = \"dice\"\ninclude_background = true")).abs() > 1e-3);
        let message = of("name = \"ce\"\n[[plus]]\nname = \"nacl\"").unwrap_err().to_string();
        assert!(message.starts_with("loss: nacl: ") && message.contains("on = \"softmax\""), "{message}");
    }

    #[test]
    fn a_weighted_sum() {
        let sum = parse("name = \"ce\"\n[[plus]]\nname = \"nacl\"\nweight = 0.5\nlambda = 0.2").unwrap();
        assert_eq!(sum.parts().iter().map(|(weight, _)| *weight).collect::<Vec<_>>(), [1.0, 0.5]);
    }

    #[test]
    fn mistakes_name_the_key() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert!(message("name = \"nakl\"").contains("nacl"));
        assert!(message("name = \"ce\"\nconvention = \"theirs\"").contains("convention"));
        assert!(message("lambda = 1").contains("name"));
        assert!(message("name = \"nacl\"\nlamda = 1").contains("lambda"));
        assert!(message("name = \"nacl\"\nlambda = -1").contains("lambda"));
        assert!(message("name = \"nacl\"\nprior = \"bilateral\"").contains("one channel, not 2"));
    }
}
