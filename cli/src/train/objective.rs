//! The `[loss]` table of a config.
//!
//! `name` and the loss's own parameters; `convention` for all; further losses, each with a `weight`, as
//! `[[loss.plus]]` tables of the same form.

use segcal_core::{Context, Error, Result};
use segcal_losses::{Convention, Given, Loss, Objective, Setting};
use toml::{Table, Value};

/// The objective that the table describes, for images of that many channels.
///
/// # Errors
/// An unknown loss, parameter or convention, or a value out of range; the message names the key.
pub fn objective(table: &Table, channels: usize) -> Result<Objective> {
    let convention = match table.get("convention") {
        None => Convention::default(),
        Some(Value::String(name)) => Convention::from_name(name).at("convention").at("loss")?,
        Some(other) => return Err(Error::new(format!("{other} is no name")).at("loss.convention")),
    };
    let mut parts = vec![part(table, convention, channels).at("loss")?];
    match table.get("plus") {
        None => {}
        Some(Value::Array(more)) => {
            for entry in more {
                let table = entry.as_table().ok_or_else(|| Error::new("is no list of tables").at("loss.plus"))?;
                parts.push(part(table, convention, channels).at("loss.plus")?);
            }
        }
        Some(_) => return Err(Error::new("is no list of tables").at("loss.plus").help("write [[loss.plus]]")),
    }
    Objective::new(parts)
}

fn part(table: &Table, convention: Convention, channels: usize) -> Result<(f64, Loss)> {
    let name = table.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| Error::new("is missing or no text").at("name").help("see `segcal list losses`"))?;
    let mut weight = 1.0;
    let mut given = Given::new();
    for (key, value) in table {
        match key.as_str() {
            "name" | "convention" | "plus" => {}
            "weight" => {
                weight = number(value).ok_or_else(|| Error::new(format!("{value} is no number")).at("weight"))?;
            }
            _ => {
                given.insert(key.clone(), setting(value).at(key)?);
            }
        }
    }
    let settings = Loss::spec(name)?.settings(&given, convention)?;
    if settings.needs_image() && channels != 1 {
        let problem = format!("reads the image, which must have one channel, not {channels}");
        return Err(Error::new(problem).at(name).help("choose a prior that reads the labels alone"));
    }
    Ok((weight, Loss::build(name, &settings)?))
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
            numbers.map(Setting::Numbers).ok_or_else(|| Error::new(format!("{value} is no list of numbers")))
        }
        other => number(other).map(Setting::Number).ok_or_else(|| Error::new(format!("{other} is no parameter"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Objective> {
        objective(&text.parse().unwrap(), 2)
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
