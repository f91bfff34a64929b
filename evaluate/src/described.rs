//! The description of the labels in a `dataset.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::{Label, Structure};

/// The description of the labels in a `dataset.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// Names of the labels, from MSD's `{"1": "name"}` or nnU-Net's `{"name": 1}`, without background and ignore label.
    pub names: BTreeMap<Label, String>,
    /// The label with the name `ignore`, as in nnU-Net.
    pub ignored: Option<Label>,
    /// nnU-Net's regions: classes that unite several labels and, if there are any, the single labels as well.
    pub regions: BTreeMap<String, Vec<Label>>,
    /// The regions in the order of the file, which is that of the channels of their scores, with the label that each
    /// becomes (`regions_class_order`). `None` if there are no regions, or the order of the labels is missing.
    pub nested: Option<Nested>,
}

impl Described {
    /// Reads the file.
    ///
    /// # Errors
    /// It is missing or is not JSON.
    pub fn read(file: &Path) -> Result<Self> {
        let text = segcal_data::limits::read_text(file)?;
        // Windows editors put a byte order mark in front.
        let document: serde_json::Value =
            serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(Error::from_source).at(file.display())?;
        let mut described = Self::default();
        let mut listed = Vec::new();
        for (key, value) in document["labels"].as_object().into_iter().flatten() {
            let labels: Option<Vec<Label>> = match value.as_array() {
                Some(labels) => labels.iter().map(number).collect(),
                None => number(value).map(|label| vec![label]),
            };
            let is_region = |labels: &Vec<Label>| key != "ignore" && key.parse::<u64>().is_err() && labels[..] != [0];
            if let Some(labels) = labels.filter(is_region) {
                listed.push(Structure { name: key.clone(), labels });
            }
            let (name, label) = match (value.as_str(), number(value)) {
                (_, Some(label)) if key.parse::<u64>().is_err() => (key.as_str(), Some(label)),
                (Some(name), _) => (name, key.parse().ok()),
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

    /// Reads the file beside the folder of labels, or beside the folder of a single label file; empty if there is none.
    /// A file that cannot be read triggers a warning, since it may define an ignore label.
    pub fn beside(labels: &Path) -> Self {
        // Paths such as `.` have no named parent folder.
        let whole = labels.canonicalize().unwrap_or_else(|_| labels.to_path_buf());
        // First beside a link, then beside its target.
        let named = Some(labels).filter(|labels| labels.file_name().is_some());
        let levels = if whole.is_file() { 2 } else { 1 };
        let above = |path: &Path| path.ancestors().skip(1).take(levels).map(Path::to_path_buf).collect::<Vec<_>>();
        let folders = named.map(above).unwrap_or_default().into_iter().chain(above(&whole));
        Self::first(folders.map(|folder| folder.join("dataset.json")))
    }

    /// Reads the file in a folder of predictions, where nnU-Net leaves a copy.
    pub fn within(predictions: &Path) -> Self {
        Self::first(std::iter::once(predictions.join("dataset.json")))
    }

    fn first(mut files: impl Iterator<Item = PathBuf>) -> Self {
        let Some(file) = files.find(|file| file.is_file()) else { return Self::default() };
        Self::read(&file).unwrap_or_else(|error| {
            log::warn!("{error}; the names of the labels and the ignored label are unknown");
            Self::default()
        })
    }

    /// A warning about the first label that has another name in the description of the references.
    pub fn differs(&self, references: &Self) -> Option<String> {
        let same = |one: &str, other: &str| one.trim().eq_ignore_ascii_case(other.trim());
        self.names.iter().find_map(|(label, name)| {
            let other = references.names.get(label).filter(|other| !same(name, other))?;
            Some(format!(
                "its dataset.json calls label {label} \"{name}\", the one beside the references calls it \"{other}\": if the \
                 classes are in a different order, all their results are wrong"
            ))
        })
    }

    /// Whether it defines nothing that changes a result.
    pub const fn is_silent(&self) -> bool {
        self.ignored.is_none() && self.nested.is_none()
    }
}

/// A label. Some tools write it as text.
fn number(value: &serde_json::Value) -> Option<Label> {
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    number.and_then(|label| Label::try_from(label).ok())
}

/// Regions with the labels that they become, if there is one label for each.
fn nested(regions: Vec<Structure>, order: &serde_json::Value) -> Option<Nested> {
    let order: Vec<Label> = order.as_array()?.iter().map(number).collect::<Option<_>>()?;
    (order.len() == regions.len()).then_some(Nested { regions, order })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_in_another_order_are_noticed() {
        let named = |names: [&str; 2]| Described {
            names: (1..).zip(names.map(str::to_owned)).collect(),
            ..Described::default()
        };
        let references = named(["Anterior", "Posterior"]);
        let doubt = named(["Posterior", "Anterior"]).differs(&references).unwrap();
        assert!(
            doubt.starts_with(
                "its dataset.json calls label 1 \"Posterior\", the one beside the references calls it \"Anterior\""
            ),
            "{doubt}"
        );
        assert_eq!(named(["anterior", " Posterior"]).differs(&references), None);
        assert_eq!(Described::default().differs(&references), None);
    }

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
    fn one_file_of_labels_and_numbers_as_text() {
        let root = tempfile::tempdir().unwrap();
        let labels = root.path().join("labelsTr");
        std::fs::create_dir(&labels).unwrap();
        std::fs::write(labels.join("a.nii"), "").unwrap();
        let text = r#"{"labels": {"background": "0", "lesion": "1", "ignore": "2"}}"#;
        std::fs::write(root.path().join("dataset.json"), text).unwrap();
        for given in [labels.clone(), labels.join("."), labels.join("a.nii")] {
            let described = Described::beside(&given);
            assert_eq!((described.ignored, &described.names[&1][..]), (Some(2), "lesion"), "{}", given.display());
        }
        assert_eq!(Described::within(root.path()).ignored, Some(2));
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
