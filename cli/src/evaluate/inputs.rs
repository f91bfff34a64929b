//! Which prediction belongs to which reference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result, nearest};
use segcal_metrics::volume::Label;

use crate::data::{self, nifti, npy};

/// Files that hold one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// One file: NIfTI (class last, or one label map), PNG, `.npy` or `.npz`.
    One(PathBuf),
    /// One NIfTI per class, in order.
    PerClass(Vec<PathBuf>),
}

impl Files {
    /// The first file, for messages.
    pub fn first(&self) -> &Path {
        match self {
            Self::One(path) => path,
            Self::PerClass(paths) => &paths[0],
        }
    }
}

/// A reference with its prediction.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Name of the case.
    pub case: String,
    /// The prediction's files.
    pub prediction: Files,
    /// The reference label map.
    pub reference: PathBuf,
    /// The image that was segmented, for the report.
    pub image: Option<PathBuf>,
}

/// Pairs a file with a file, or the files of two folders by case name. Predictions without a reference are an error;
/// references without a prediction are given by name, so that nothing is left out silently.
///
/// # Errors
/// A path does not exist, a folder holds nothing to read, or a prediction has no reference.
pub fn pairs(predictions: &Path, labels: &Path) -> Result<(Vec<Pair>, Vec<String>)> {
    if predictions.is_file() && labels.is_file() {
        let case = case_name(labels).unwrap_or_else(|| "case".into());
        let prediction = Files::One(predictions.into());
        return Ok((vec![Pair { case, prediction, reference: labels.into(), image: None }], Vec::new()));
    }
    let references = folder(labels, false)?;
    // Numbered cases are cases, not classes, where the references are numbered alike.
    let single = folder(predictions, false)?;
    let numbered = single.keys().all(|case| references.contains_key(case));
    let found = if numbered { single } else { folder(predictions, true)? };
    let mut pairs = Vec::with_capacity(found.len());
    for (case, prediction) in found {
        let Some(Files::One(reference)) = references.get(&case) else {
            let error = Error::new(format!("the case {case} has no reference in {}", labels.display()));
            let error = error.at(prediction.first().display());
            if case.contains("_label-") {
                return Err(error.help(
                    "the names do not say the order of the classes: rename files of one class each to CASE_0 (background), \
                     CASE_1 …",
                ));
            }
            return Err(match nearest(&case, references.keys().map(String::as_str)) {
                Some(near) => error.help(format!("there is {near}: predictions and references must share their names")),
                None => error.help("predictions and references must share their names"),
            });
        };
        pairs.push(Pair { case, prediction, reference: reference.clone(), image: None });
    }
    let missing = references.keys().filter(|name| !pairs.iter().any(|pair| pair.case == **name)).cloned().collect();
    Ok((pairs, missing))
}

/// Gives each pair its image: from `images`, a file or a folder, or else from the folder beside the labels that data sets
/// have (`imagesTs` beside `labelsTs`). Gives the names of the cases that have none in the folder that was asked for.
///
/// # Errors
/// `images` does not exist, or holds nothing to read.
pub fn add_images(pairs: &mut [Pair], images: Option<&Path>, labels: &Path) -> Result<Vec<String>> {
    let beside = || {
        let name = labels.file_name()?.to_str()?.strip_prefix("labels")?;
        let path = labels.with_file_name(format!("images{name}"));
        path.is_dir().then_some(path)
    };
    let asked = images.is_some();
    let Some(path) = images.map(Path::to_path_buf).or_else(beside) else { return Ok(Vec::new()) };
    if let ([pair], true) = (&mut *pairs, path.is_file()) {
        pair.image = Some(path);
        return Ok(Vec::new());
    }
    let mut found = match folder(&path, false) {
        Err(_) if !asked => return Ok(Vec::new()),
        found => found?,
    };
    for pair in pairs.iter_mut() {
        // nnU-Net numbers the channels; the first is shown.
        let file = found.remove(&pair.case).or_else(|| found.remove(&format!("{}_0000", pair.case)));
        pair.image = file.map(|file| file.first().to_path_buf());
    }
    let without = pairs.iter().filter(|pair| asked && pair.image.is_none());
    Ok(without.map(|pair| pair.case.clone()).collect())
}

/// What `dataset.json` beside the folder of labels calls them: MSD's `{"1": "name"}` or nnU-Net's `{"name": 1}`. Empty
/// where there is none.
pub fn label_names(labels: &Path) -> BTreeMap<Label, String> {
    let text = labels.parent().and_then(|folder| std::fs::read_to_string(folder.join("dataset.json")).ok());
    let document: serde_json::Value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let Some(named) = document["labels"].as_object() else { return BTreeMap::new() };
    let pair = |(key, value): (&String, &serde_json::Value)| match (value.as_str(), value.as_u64()) {
        (Some(name), _) => Some((key.parse().ok()?, name.to_owned())),
        (_, Some(label)) => Some((Label::try_from(label).ok()?, key.clone())),
        _ => None,
    };
    named.iter().filter_map(pair).filter(|(label, name)| *label > 0 && !name.trim().is_empty()).collect()
}

/// The predictions of a folder (or of one file) by case name. `CASE_0`, `CASE_1` … are one case only if they are NIfTI
/// of one volume each.
///
/// # Errors
/// The path does not exist, or a folder holds nothing to read.
pub fn predictions(path: &Path) -> Result<BTreeMap<String, Files>> {
    let gathered = folder(path, true)?;
    let whole = |path: &PathBuf| nifti::read_header(path).map_or(true, |header| header.extent().1 > 1);
    match gathered.values().next() {
        Some(Files::PerClass(paths)) if paths.iter().any(whole) => folder(path, false),
        _ => Ok(gathered),
    }
}

/// The cases of a folder (or of one file) by name. With `per_class`, files `CASE_0`, `CASE_1` … are one case.
fn folder(path: &Path, per_class: bool) -> Result<BTreeMap<String, Files>> {
    let mut files = BTreeMap::new();
    if path.is_file() {
        files.insert(case_name(path).unwrap_or_else(|| "case".into()), path.to_path_buf());
    } else {
        for entry in std::fs::read_dir(path).map_err(missing_folder).at(path.display())? {
            let file = entry.at(path.display())?.path();
            let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if let (Some(name), false) = (case_name(&file), hidden)
                && let Some(other) = files.insert(name.clone(), file.clone())
            {
                let error = Error::new(format!("the case {name} is there twice, as {} too", other.display()));
                return Err(error.at(file.display()).help("keep one of the two"));
            }
        }
    }
    if files.is_empty() {
        let error = Error::new("holds no file that can be read").at(path.display());
        return Err(error.help("known are .nii .nii.gz .hdr .png .npy .npz"));
    }
    Ok(if per_class {
        gathered(files)
    } else {
        files.into_iter().map(|(name, file)| (name, Files::One(file))).collect()
    })
}

fn missing_folder(error: std::io::Error) -> Error {
    Error::from(error).help("give a file or a folder that exists")
}

/// Puts `CASE_0`, `CASE_1` … together where every file of the folder is of that form and the numbers are complete.
fn gathered(files: BTreeMap<String, PathBuf>) -> BTreeMap<String, Files> {
    let mut cases: BTreeMap<String, BTreeMap<usize, PathBuf>> = BTreeMap::new();
    for (name, file) in &files {
        if let Some((case, class)) = name.rsplit_once('_').and_then(|(case, number)| Some((case, number.parse().ok()?)))
        {
            cases.entry(case.to_owned()).or_default().insert(class, file.clone());
        }
    }
    let complete =
        |classes: &BTreeMap<usize, PathBuf>| classes.len() > 1 && classes.keys().copied().eq(0..classes.len());
    if cases.values().map(BTreeMap::len).sum::<usize>() == files.len() && cases.values().all(complete) {
        cases.into_iter().map(|(case, classes)| (case, Files::PerClass(classes.into_values().collect()))).collect()
    } else {
        files.into_iter().map(|(name, file)| (name, Files::One(file))).collect()
    }
}

/// The case that a file is named after: without ending, and without BIDS's `_probseg` or `_dseg`. `None` if the
/// ending is none that is read.
pub fn case_name(path: &Path) -> Option<String> {
    let stem = if npy::is_array(path) { path.file_stem()?.to_str()? } else { data::stem(path)? };
    let stem = stem.strip_suffix("_probseg").or_else(|| stem.strip_suffix("_dseg")).unwrap_or(stem);
    Some(stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(folder: &Path, names: &[&str]) {
        std::fs::create_dir_all(folder).unwrap();
        names.iter().for_each(|name| std::fs::write(folder.join(name), b"").unwrap());
    }

    fn paired(predictions: &[&str], labels: &[&str]) -> Result<(Vec<Pair>, Vec<String>)> {
        let root = tempfile::tempdir().unwrap();
        touch(&root.path().join("p"), predictions);
        touch(&root.path().join("y"), labels);
        pairs(&root.path().join("p"), &root.path().join("y"))
    }

    #[test]
    fn names_meet_across_formats() {
        let (pairs, missing) = paired(&["a.npz", "b_probseg.nii.gz"], &["a.nii.gz", "b_dseg.nii", "c.nii"]).unwrap();
        assert_eq!(pairs.iter().map(|pair| pair.case.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(missing, ["c"]);
    }

    #[test]
    fn one_file_a_class() {
        let (pairs, _) = paired(&["a_0.nii", "a_1.nii", "b_0.nii", "b_1.nii"], &["a.nii", "b.nii"]).unwrap();
        assert!(matches!(&pairs[0].prediction, Files::PerClass(paths) if paths.len() == 2));
        // Numbered cases are cases, not classes.
        let (pairs, _) = paired(&["case_1.nii", "case_2.nii"], &["case_1.nii", "case_2.nii"]).unwrap();
        assert_eq!(pairs.len(), 2);
        let (pairs, _) = paired(&["case_0.nii", "case_1.nii"], &["case_0.nii", "case_1.nii"]).unwrap();
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn images_are_found_by_name_and_beside_the_labels() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        touch(&at("p"), &["a.npz", "b.npz"]);
        touch(&at("labelsTs"), &["a.nii", "b.nii"]);
        touch(&at("imagesTs"), &["a_0000.nii", "a_0001.nii"]);
        touch(&at("other"), &["b.nii.gz"]);
        let (mut pairs, _) = pairs(&at("p"), &at("labelsTs")).unwrap();
        let images = |pairs: &[Pair]| pairs.iter().map(|pair| pair.image.clone()).collect::<Vec<_>>();
        assert!(add_images(&mut pairs, None, &at("labelsTs")).unwrap().is_empty());
        assert_eq!(images(&pairs), [Some(at("imagesTs/a_0000.nii")), None]);
        assert_eq!(add_images(&mut pairs, Some(&at("other")), &at("labelsTs")).unwrap(), ["a"]);
        assert_eq!(images(&pairs), [None, Some(at("other/b.nii.gz"))]);
        assert!(add_images(&mut pairs, Some(&at("nothing")), &at("labelsTs")).is_err());
    }

    #[test]
    fn labels_are_named_by_either_kind_of_dataset_json() {
        let root = tempfile::tempdir().unwrap();
        let names = |text: &str| {
            std::fs::write(root.path().join("dataset.json"), text).unwrap();
            label_names(&root.path().join("labelsTr")).into_iter().collect::<Vec<_>>()
        };
        let expected = [(1, "liver".to_owned())];
        assert_eq!(names(r#"{"labels": {"0": "background", "1": "liver"}}"#), expected);
        assert_eq!(names(r#"{"labels": {"background": 0, "liver": 1, "whole": [1, 2]}}"#), expected);
        assert!(names("no json").is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        let message = |predictions: &[&str], labels: &[&str]| paired(predictions, labels).unwrap_err().to_string();
        assert!(message(&["case1.nii"], &["case2.nii"]).contains("there is case2"));
        let bids = message(&["sub-1_label-GM_probseg.nii", "sub-1_label-WM_probseg.nii"], &["sub-1_dseg.nii"]);
        assert!(bids.contains("CASE_0"), "{bids}");
        assert!(message(&[], &["a.nii"]).contains("no file that can be read"));
        assert!(message(&["a.nii", "a.npz"], &["a.nii"]).contains("twice"));
    }
}
