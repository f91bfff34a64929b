//! The `[loss]` table of a config.
//!
//! `name` and the loss's own parameters; `convention` for all; further losses, each with a `weight`, as
//! `[[loss.plus]]` tables of the same form.

use segcal_core::{Context, Error, Result};
use segcal_losses::{Convention, Given, Loss, Objective, Setting, Spec};
use toml::{Table, Value};

/// The objective that the table describes, for images of that many channels. Every loss leaves out the pixels of the
/// data set's label to ignore, if it has one.
///
/// # Errors
/// An unknown loss, parameter or convention, or a value out of range; the message names the key. A loss that cannot leave
/// pixels out, or is told to leave out others, where the data set has a label to ignore.
pub fn objective(table: &Table, channels: usize, ignored: Option<i32>) -> Result<Objective> {
    let convention = match table.get("convention") {
        None => Convention::default(),
        Some(Value::String(name)) => Convention::from_name(name).at("convention").at("loss")?,
        Some(other) => return Err(Error::new(format!("{other} is not a name")).at("loss.convention")),
    };
    let data = Data { channels, ignored };
    let mut parts = vec![part(table, convention, &data).at("loss")?];
    match table.get("plus") {
        None => {}
        Some(Value::Array(more)) => {
            for entry in more {
                let table = entry.as_table().ok_or_else(|| Error::new("is not a list of tables").at("loss.plus"))?;
                parts.push(part(table, convention, &data).at("loss.plus")?);
            }
        }
        Some(_) => return Err(Error::new("is not a list of tables").at("loss.plus").help("write [[loss.plus]]")),
    }
    Objective::new(parts)
}

/// What losses must know of the data set.
struct Data {
    channels: usize,
    ignored: Option<i32>,
}

fn part(table: &Table, convention: Convention, data: &Data) -> Result<(f64, Loss)> {
    let name = table.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| Error::new("is missing or no text").at("name").help("see `segcal list losses`"))?;
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
    let settings = spec.settings(&given, convention)?;
    if settings.needs_image() && data.channels != 1 {
        let problem = format!("reads the image, which must have one channel, not {}", data.channels);
        return Err(Error::new(problem).at(name).help("choose a prior that reads the labels alone"));
    }
    Ok((weight, Loss::build(name, &settings)?))
}

/// Hands the data set's label to ignore to a loss.
fn ignore(given: &mut Given, label: i32, spec: &Spec) -> Result<()> {
    const KEY: &str = "ignore_index";
    if spec.params().all(|param| param.name != KEY) {
        let problem = format!("cannot leave pixels out, and the data set has the label {label} to ignore");
        return Err(Error::new(problem).help("choose another loss, or give these pixels a class in dataset.json"));
    }
    let own = Setting::Number(f64::from(label));
    match given.insert(KEY.to_owned(), own.clone()) {
        Some(other) if other != own => {
            let problem = format!("{other} is not the data set's label to ignore, which is {label}");
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
