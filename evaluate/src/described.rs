//! What a data set says of its labels.

use std::collections::BTreeMap;
use std::path::Path;

use segcal_core::{Context, Error, Result};
use segcal_metrics::volume::Label;

/// What a `dataset.json` says of the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// What labels are called: MSD's `{"1": "name"}` or nnU-Net's `{"name": 1}`, without background and ignored voxels.
    pub names: BTreeMap<Label, String>,
    /// The label that is called `ignore`, as by nnU-Net.
    pub ignored: Option<Label>,
    /// nnU-Net's regions: classes that are made of several labels.
    pub regions: BTreeMap<String, Vec<Label>>,
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
        for (key, value) in document["labels"].as_object().into_iter().flatten() {
            let number = |value: &serde_json::Value| value.as_u64().and_then(|label| Label::try_from(label).ok());
            if let Some(labels) = value.as_array().and_then(|labels| labels.iter().map(number).collect()) {
                described.regions.insert(key.clone(), labels);
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
        Ok(described)
    }

    /// That beside the folder of labels; nothing where there is none that can be read.
    pub fn beside(labels: &Path) -> Self {
        let file = labels.parent().map(|folder| folder.join("dataset.json"));
        file.and_then(|file| Self::read(&file).ok()).unwrap_or_default()
    }
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
        assert_eq!(described.names.into_iter().collect::<Vec<_>>(), [(2, "core".to_owned())]);
        assert!(Described::read(&root.path().join("none.json")).is_err());
    }
}
