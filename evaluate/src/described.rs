//! What a data set says of its labels.

use std::collections::BTreeMap;
use std::path::Path;

use segcal_core::{Context, Error, Result};
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::{Label, Structure};

/// What a `dataset.json` says of the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// What labels are called: MSD's `{"1": "name"}` or nnU-Net's `{"name": 1}`, without background and ignored voxels.
    pub names: BTreeMap<Label, String>,
    /// The label that is called `ignore`, as by nnU-Net.
    pub ignored: Option<Label>,
    /// nnU-Net's regions: classes that are made of several labels, and where there are such, the single labels as well.
    pub regions: BTreeMap<String, Vec<Label>>,
    /// The regions in the order of the file, which is that of the channels of their scores, with the label that each becomes
    /// (`regions_class_order`). None where there are no regions, or the order of the labels is missing.
    pub nested: Option<Nested>,
}

impl Described {
    /// Reads the file.
    ///
    /// # Errors
    /// It is missing or no JSON.
    pub fn read(file: &Path) -> Result<Self> {
        let text = segcal_data::limits::read_text(file)?;
        // Editors of Windows put a byte order mark in front.
        let document: serde_json::Value =
            serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(Error::from_source).at(file.display())?;
        let mut described = Self::default();
        let mut listed = Vec::new();
        for (key, value) in document["labels"].as_object().into_iter().flatten() {
            let number = |value: &serde_json::Value| value.as_u64().and_then(|label| Label::try_from(label).ok());
            let labels: Option<Vec<Label>> = match value.as_array() {
                Some(labels) => labels.iter().map(number).collect(),
                None => number(value).map(|label| vec![label]),
            };
            if let Some(labels) = labels.filter(|labels| key != "ignore" && labels[..] != [0]) {
                listed.push(Structure { name: key.clone(), labels });
            }
            let (name, label) = match (value.as_str(), value.as_u64()) {
                (Some(name), _) => (name, key.parse().ok()),
                (_, Some(label)) => (key.as_str(), Label::try_from(label).ok()),
                _ => continue,
            };
            match label {
                Some(label) if name == "ignore" => described.ignored = Some(label),
                Some(label) if label > 0 && !name.trim().is_empty() => {
                    described.names.insert(label, name.to_owned());
                }
                _ => {}
            }
        }
        if document["labels"].as_object().is_some_and(|labels| labels.values().any(serde_json::Value::is_array)) {
            described.regions = listed.iter().map(|region| (region.name.clone(), region.labels.clone())).collect();
            described.nested = nested(listed, &document["regions_class_order"]);
        }
        Ok(described)
    }

    /// That beside the folder of labels; nothing where there is none that can be read.
    pub fn beside(labels: &Path) -> Self {
        let file = labels.parent().map(|folder| folder.join("dataset.json"));
        file.and_then(|file| Self::read(&file).ok()).unwrap_or_default()
    }
}

/// Regions with the labels that they become, if there is one for each.
fn nested(regions: Vec<Structure>, order: &serde_json::Value) -> Option<Nested> {
    let label = |value: &serde_json::Value| Label::try_from(value.as_u64()?).ok();
    let order: Vec<Label> = order.as_array()?.iter().map(label).collect::<Option<_>>()?;
    (order.len() == regions.len()).then_some(Nested { regions, order })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_named_by_either_kind_of_dataset_json() {
        let root = tempfile::tempdir().unwrap();
        let names = |text: &str| {
            std::fs::write(root.path().join("dataset.json"), text).unwrap();
            Described::beside(&root.path().join("labelsTr")).names.into_iter().collect::<Vec<_>>()
        };
        let expected = [(1, "liver".to_owned())];
        assert_eq!(names(r#"{"labels": {"0": "background", "1": "liver"}}"#), expected);
        assert_eq!(names(r#"{"labels": {"background": 0, "liver": 1, "whole": [1, 2]}}"#), expected);
        assert!(names("no json").is_empty());
    }

    #[test]
    fn ignored_voxels_and_regions() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("dataset.json");
        assert_eq!(Described::beside(&root.path().join("labelsTr")), Described::default());
        let text = r#"{"labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 4}}"#;
        std::fs::write(&file, format!("\u{feff}{text}")).unwrap();
        let described = Described::read(&file).unwrap();
        assert_eq!((described.ignored, &described.regions["whole"][..]), (Some(4), &[1, 2][..]));
        assert_eq!((&described.regions["core"][..], described.nested), (&[2][..], None));
        assert_eq!(described.names.into_iter().collect::<Vec<_>>(), [(2, "core".to_owned())]);
        std::fs::write(&file, format!("{}, \"regions_class_order\": [2, 1]}}", &text[..text.len() - 1])).unwrap();
        let nested = Described::read(&file).unwrap().nested.unwrap();
        let names: Vec<&str> = nested.regions.iter().map(|region| region.name.as_str()).collect();
        assert_eq!((names, nested.order), (vec!["whole", "core"], vec![2, 1]));
        assert!(Described::read(&root.path().join("none.json")).is_err());
    }
}
