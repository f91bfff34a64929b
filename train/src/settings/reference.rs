//! The keys of a training config as data, extracted from the doc comments of [`Settings`].

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use segcal_models::Rule;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Augment, Preset, Settings};

/// One key of a training config.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Key {
    /// Its full name, such as `samples.size`.
    pub key: String,
    /// The name of the optimiser or schedule that it belongs to; none for keys that always exist.
    pub only_with: Option<String>,
    /// The accepted values: `whole number`, `slices | patches`.
    pub kind: String,
    /// The default; null if there is none or if a preset decides.
    pub default: Value,
    /// Its meaning.
    pub doc: String,
}

/// Returns every key of a training config in file order, except those of networks and losses, which have their own
/// lists.
pub fn keys() -> Vec<Key> {
    let defaults = serde_json::to_value(Settings::known_keys()).unwrap_or_default();
    let mut rows = Vec::new();
    add_keys(&mut rows, "", None, &schema(), &defaults);
    rows
}

/// JSON Schema (draft 2020-12) of a training config, for editors that complete and check TOML.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Settings>().to_value();
    without_required(&mut schema);
    schema["title"] = "training config of segcal".into();
    schema
}

/// Drops `required`: every key has a default, or comes from the command line.
fn without_required(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        // A choice requires its name.
        let named = object.get("properties").is_some_and(|properties| properties.get("name").is_some());
        if !named {
            object.remove("required");
        }
        object.values_mut().for_each(without_required);
    } else if let Some(list) = schema.as_array_mut() {
        list.iter_mut().for_each(without_required);
    }
}

/// A name, plus the keys that the list of networks defines.
pub(super) fn network(_: &mut SchemaGenerator) -> Schema {
    let name = json!({ "type": "string", "description": "Name of the network; its own keys go in the same table (`segcal list networks`)." });
    json_schema!({ "type": "object", "properties": { "name": name }, "required": ["name"] })
}

/// A name, the keys common to all losses, plus the parameters that the list of losses defines.
pub(super) fn loss(_: &mut SchemaGenerator) -> Schema {
    let properties = json!({
        "name": { "type": "string", "description": "Name of the loss; its parameters go in the same table (`segcal list losses`)." },
        "convention": {
            "enum": ["authors", "paper"],
            "description": "Which definition applies where public code and paper differ: the authors' code, or the paper as printed."
        },
        "plus": {
            "type": "array",
            "items": { "type": "object" },
            "description": "Additional terms: `[[loss.plus]]` tables like `loss`, each with a `weight`, 1 by default."
        }
    });
    json_schema!({ "type": "object", "properties": properties, "required": ["name"] })
}

/// The optimisers, each with the learning rate.
pub(super) fn optimiser(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Rule::json_schema(generator);
    let rate = json!({ "type": "number", "exclusiveMinimum": 0, "description": "Base learning rate, which the schedule scales." });
    for variant in schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
        variant["properties"]["learning_rate"] = rate.clone();
    }
    schema
}

/// The name of a preset, or a table with a preset and the keys that differ from it.
pub(super) fn augment(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [Preset::json_schema(generator), Augment::json_schema(generator)] })
}

fn add_keys(rows: &mut Vec<Key>, prefix: &str, only_with: Option<&str>, schema: &Value, defaults: &Value) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let (key, default) = (format!("{prefix}{name}"), &defaults[name]);
        let inside = format!("{key}.");
        if let Some(choices) = choices(field) {
            let names: Vec<&str> =
                choices.iter().filter_map(|choice| choice["properties"]["name"]["const"].as_str()).collect();
            rows.push(row(format!("{inside}name"), only_with, names.join(" | "), &default["name"], field));
            for (choice, name) in choices.iter().zip(names) {
                let mut of_choice = choice.clone();
                if let Some(properties) = of_choice["properties"].as_object_mut() {
                    properties.shift_remove("name");
                }
                let mine = default["name"].as_str() == Some(name);
                add_keys(rows, &inside, Some(name), &of_choice, if mine { default } else { &Value::Null });
            }
        } else if let Some(table) = table(field) {
            add_keys(rows, &inside, only_with, table, default);
        } else if only_with.is_none() || name != "name" {
            rows.push(row(key, only_with, kind(field), default, field));
        }
    }
}

fn row(key: String, only_with: Option<&str>, kind: String, default: &Value, field: &Value) -> Key {
    let doc = field["description"].as_str().unwrap_or_default().replace('\n', " ");
    let default = if default.is_null() { &field["default"] } else { default };
    Key { key, only_with: only_with.map(Into::into), kind, default: default.clone(), doc }
}

/// The alternative tables of a field, distinguished by their name.
fn choices(field: &Value) -> Option<&Vec<Value>> {
    field["oneOf"].as_array().filter(|list| list.iter().all(|choice| choice["properties"].is_object()))
}

/// The table form of a field, if it has one.
fn table(field: &Value) -> Option<&Value> {
    if field["properties"].is_object() {
        return Some(field);
    }
    field["anyOf"].as_array()?.iter().find(|choice| choice["properties"].is_object())
}

/// The accepted values, in words.
fn kind(field: &Value) -> String {
    let words: Option<Vec<&str>> = match (&field["enum"], &field["oneOf"]) {
        (Value::Array(words), _) => words.iter().map(Value::as_str).collect(),
        (_, Value::Array(words)) => words.iter().map(|word| word["const"].as_str()).collect(),
        _ => None,
    };
    if let Some(words) = words {
        return words.join(" | ");
    }
    match field["type"].as_str() {
        Some("boolean") => "true | false".into(),
        Some("integer") => "whole number".into(),
        Some("number") => "number".into(),
        Some("object") => "table".into(),
        Some("array") => match (&field["minItems"], kind(&field["items"])) {
            (Value::Number(count), item) => format!("{count} {item}s"),
            (_, item) if item.contains('|') => format!("list of {item}"),
            (_, item) => format!("list of {item}s").replace("numberss", "numbers"),
        },
        _ => "text".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_defaults_is_described() {
        let keys = keys();
        for key in &keys {
            assert!(!key.doc.is_empty() && !key.kind.is_empty(), "{key:?}");
        }
        for (name, value) in &Settings::known_keys() {
            let Some(table) = value.as_table() else {
                assert!(keys.iter().any(|key| key.key == *name), "{name}");
                continue;
            };
            for inner in table.keys() {
                assert!(keys.iter().any(|key| key.key == format!("{name}.{inner}")), "{name}.{inner}");
            }
        }
    }

    #[test]
    fn kinds_and_defaults_are_those_of_the_reader() {
        let keys = keys();
        let of = |key: &str, with: Option<&str>| {
            let found = keys.iter().find(|row| row.key == key && row.only_with.as_deref() == with);
            let found = found.unwrap_or_else(|| panic!("{key}"));
            (found.kind.clone(), found.default.clone())
        };
        assert_eq!(of("epochs", None), ("whole number".into(), json!(100)));
        assert_eq!(of("samples.kind", None), ("slices | patches".into(), json!("slices")));
        assert_eq!(of("input.clip_percentiles", None), ("2 numbers".into(), json!([0.0, 100.0])));
        assert_eq!(of("optimiser.name", None).0, "adam | adamw | sgd");
        assert_eq!(of("optimiser.weight_decay", Some("adamw")).1, json!(0.01));
        assert_eq!(of("optimiser.learning_rate", Some("adam")).1, json!(1e-3));
        assert_eq!(of("schedule.factor", Some("step")), ("number".into(), json!(0.1)));
        assert_eq!(of("augment.noise.p", None).0, "number");
    }
}
