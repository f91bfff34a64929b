//! Label maps stored as one mask per class, in a folder for each case, as TotalSegmentator writes them:
//! `CASE/liver.nii.gz` or `CASE/segmentations/liver.nii.gz`.
//!
//! The labels of the classes come from `dataset.json` if it names them all. Otherwise, if both sides are such folders,
//! classes are numbered in the order of their names. A class that is missing in all cases of one side is left out, with
//! a warning. A class that is missing in a single case fails that case. Overlapping masks do not define a label map and
//! are an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_data::{self as data, Grid, Volume, names};
use segcal_metrics::volume::Label;

use super::inputs::{self, Files, Holds, Masks, Names, Pair, Pairing};
use super::reading::Reading;
use super::scores;

/// The files of each class of each case.
pub type Cases = BTreeMap<String, BTreeMap<String, PathBuf>>;

/// One side of a pairing.
enum Side {
    Masks(Cases),
    Maps(BTreeMap<String, PathBuf>),
}

/// Pairs the cases of two folders, if one or both contain a folder of masks for each case; `None` if neither does.
///
/// # Errors
/// Scores are expected, a class has no label, or the sides have no class or no case in common.
pub(super) fn pairs(predictions: &Path, labels: &Path, holds: Holds, known: &Names) -> Result<Option<Pairing>> {
    let (predicted, referred) = match (cases(predictions)?, cases(labels)?) {
        (None, None) => return Ok(None),
        (predicted, referred) => (Side::of(predicted, predictions, holds)?, Side::of(referred, labels, Holds::Other)?),
    };
    if matches!(predicted, Side::Masks(_)) && holds == Holds::Scores {
        let error =
            Error::new("contains one file per class by name: these are masks, not scores").at(predictions.display());
        return Err(error.help("use --segmentations for masks; scores are named CASE_0 (background), CASE_1 …"));
    }
    let names = numbered([(&predicted, predictions), (&referred, labels)], known)?;
    let mut pairing = Pairing { names: names.clone(), ..Pairing::default() };
    for case in referred.cases() {
        if !predicted.cases().contains(&case) {
            pairing.unpredicted.push(case);
            continue;
        }
        match (predicted.files(&case, &names), referred.files(&case, &names)) {
            (Ok(prediction), Ok(reference)) => {
                let (reference, masks) = match reference {
                    Files::Masks(masks) => (referred.folder(&case), Some(masks)),
                    other => (other.first().to_path_buf(), None),
                };
                pairing.pairs.push(Pair { case, prediction, reference, masks, image: None });
            }
            (Err(error), _) | (_, Err(error)) => pairing.unusable.push((case, error)),
        }
    }
    let unlabelled = predicted.cases().into_iter().filter(|case| !referred.cases().contains(case));
    pairing.unusable.extend(unlabelled.map(|case| {
        let error = Error::new(format!("has no reference in {}", labels.display()));
        (case, error.help("predictions and references must have the same names"))
    }));
    if pairing.pairs.is_empty() { pairing.every_prediction().map(|_| None) } else { Ok(Some(pairing)) }
}

/// The masks of the cases of a folder; `None` if it contains readable files itself, or no folders of masks.
///
/// # Errors
/// A folder cannot be read, or contains two files of one class.
pub fn cases(root: &Path) -> Result<Option<Cases>> {
    let whole = |path: &PathBuf| path.is_file() && !names::is_hidden(path) && inputs::case_name(path).is_some();
    if !root.is_dir() || entries(root)?.iter().any(whole) || data::folder_of_classes(root).is_none() {
        return Ok(None);
    }
    let mut cases = Cases::new();
    for folder in entries(root)?.into_iter().filter(|path| path.is_dir() && !names::is_hidden(path)) {
        let inner = folder.join("segmentations");
        let masks = of_case(if inner.is_dir() { &inner } else { &folder })?;
        if let (Some(name), false) = (names::of_folder(&folder), masks.is_empty()) {
            cases.insert(name, masks);
        }
    }
    Ok(Some(cases))
}

/// The masks of a case, by class.
fn of_case(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut masks = BTreeMap::new();
    for path in entries(folder)?.into_iter().filter(|path| path.is_file() && !names::is_hidden(path)) {
        let Some(class) = data::case_name(&path) else { continue };
        if let Some(other) = masks.insert(class.clone(), path.clone()) {
            let error = Error::new(format!("the class {class} is also in {}", other.display())).at(path.display());
            return Err(error.help("keep one of the two"));
        }
    }
    Ok(masks)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).at(folder.display())?;
    entries.map(|entry| Ok(entry.at(folder.display())?.path())).collect()
}

impl Side {
    fn of(cases: Option<Cases>, path: &Path, holds: Holds) -> Result<Self> {
        cases.map_or_else(|| inputs::listed(path, holds).map(Self::Maps), |cases| Ok(Self::Masks(cases)))
    }

    fn cases(&self) -> BTreeSet<String> {
        match self {
            Self::Masks(cases) => cases.keys().cloned().collect(),
            Self::Maps(files) => files.keys().cloned().collect(),
        }
    }

    /// The names of all classes; `None` for label maps, which have no names.
    fn classes(&self) -> Option<BTreeSet<&String>> {
        match self {
            Self::Masks(cases) => Some(cases.values().flat_map(BTreeMap::keys).collect()),
            Self::Maps(_) => None,
        }
    }

    fn folder(&self, case: &str) -> PathBuf {
        let first = match self {
            Self::Masks(cases) => cases.get(case).and_then(|masks| masks.values().next()),
            Self::Maps(files) => files.get(case),
        };
        first.and_then(|path| path.parent()).map(Path::to_path_buf).unwrap_or_default()
    }

    fn files(&self, case: &str, names: &Names) -> Result<Files> {
        let masks = match self {
            Self::Masks(cases) => &cases[case],
            Self::Maps(files) => return Ok(Files::One(files[case].clone())),
        };
        let mut found = Masks::default();
        for (label, name) in names {
            let Some(path) = masks.get(name) else {
                let problem = format!("has no file of the class {name}, which other cases have");
                return Err(Error::new(problem)
                    .at(self.folder(case).display())
                    .help("if the case does not have it, add an empty mask"));
            };
            found.labels.push(*label);
            found.paths.push(path.clone());
        }
        Ok(Files::Masks(found))
    }
}

/// The names of the measured classes, by label.
fn numbered(sides: [(&Side, &Path); 2], known: &Names) -> Result<Names> {
    let [predicted, referred] = sides.map(|(side, path)| (side.classes(), path));
    let (common, both) = match (&predicted, &referred) {
        ((Some(ours), path), (Some(theirs), other)) => {
            left_out(ours.difference(theirs), path, other);
            left_out(theirs.difference(ours), other, path);
            (ours.intersection(theirs).copied().cloned().collect::<BTreeSet<String>>(), true)
        }
        ((Some(own), _), _) | (_, (Some(own), _)) => (own.iter().copied().cloned().collect(), false),
        _ => return Ok(Names::new()),
    };
    if common.is_empty() {
        let problem = format!("{} and {} have no class in common", predicted.1.display(), referred.1.display());
        return Err(Error::new(problem).help("the files of a class must have the same name on both sides"));
    }
    let named: Names = known.iter().filter(|(_, name)| common.contains(*name)).map(|(l, n)| (*l, n.clone())).collect();
    if named.len() == common.len() {
        return Ok(named);
    }
    if both {
        return Ok((1..).zip(common).collect());
    }
    let unnamed: Vec<&str> =
        common.iter().filter(|name| !known.values().any(|own| own == *name)).map(String::as_str).collect();
    let problem = format!(
        "one side has one file per class by name, the other has label maps: unknown label of {}",
        unnamed.join(", ")
    );
    Err(Error::new(problem)
        .at(predicted.1.display())
        .help("name them in dataset.json: \"labels\": {\"background\": 0, \"NAME\": 1, …}"))
}

fn left_out<'a, 'b: 'a>(classes: impl Iterator<Item = &'a &'b String>, here: &Path, there: &Path) {
    let classes: Vec<&str> = classes.map(|name| name.as_str()).collect();
    if !classes.is_empty() {
        log::warn!("{}: {} left out: {} has no file of that name", here.display(), classes.join(", "), there.display());
    }
}

/// Combines masks into a label map on the grid of the first mask.
///
/// # Errors
/// A file is malformed or not a mask, its grid differs from that of the first, or two masks overlap.
pub fn read(masks: &Masks, how: &Reading) -> Result<Volume<Label>> {
    let mut whole: Option<Volume<Label>> = None;
    for (path, &label) in masks.paths.iter().zip(&masks.labels) {
        let volume = scores::read_reference(path)?;
        let grid = how.grid(path, volume.grid.clone())?;
        let whole = whole.get_or_insert_with(|| Volume::new(vec![0; volume.values().len()], 1, grid.clone()));
        let own = Volume { grid, data: volume.data };
        let own = if own.grid.axes() == whole.grid.axes() { own } else { own.reoriented(whole.grid.axes()) };
        whole.grid.expect_same(&masks.paths[0].display().to_string(), &own.grid, "this mask").at(path.display())?;
        add(whole, own.values(), label, masks).at(path.display())?;
    }
    whole.ok_or_else(|| Error::new("the case has no mask"))
}

/// As [`read`], on the grid of a reference.
///
/// # Errors
/// As [`read`]; or the geometry differs from that of the reference.
pub fn read_onto(masks: &Masks, reference: &Grid, how: &Reading) -> Result<Vec<Label>> {
    let volume = read(masks, how)?;
    let volume = if volume.grid.axes() == reference.axes() { volume } else { volume.reoriented(reference.axes()) };
    let first = masks.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    reference.expect_same("the reference", &volume.grid, "the prediction").at(first)?;
    Ok(volume.data.into_raw_vec_and_offset().0)
}

fn add(whole: &mut Volume<Label>, mask: &[Label], label: Label, masks: &Masks) -> Result<()> {
    let inside = mask.iter().copied().find(|&value| value != 0);
    if let Some(other) = mask.iter().find(|&&value| value != 0 && Some(value) != inside) {
        let problem =
            format!("contains {} and {other}: a mask has only one value besides 0", inside.unwrap_or_default());
        return Err(Error::new(problem).help("give label maps as one file per case"));
    }
    let values = whole.data.as_slice_mut().expect("volumes are in standard layout");
    let (mut overlap, mut with) = (0_u64, 0);
    for (own, _) in values.iter_mut().zip(mask).filter(|(_, inside)| **inside != 0) {
        if *own != 0 {
            (overlap, with) = (overlap + 1, *own);
        }
        *own = label;
    }
    if overlap == 0 {
        return Ok(());
    }
    let other =
        masks.labels.iter().position(|&label| label == with).map(|place| masks.paths[place].display().to_string());
    let problem = format!("{overlap} voxels are also in another mask, such as {}", other.unwrap_or_default());
    Err(Error::new(problem).help("overlapping masks do not define a label map: evaluate them separately"))
}

impl Pair {
    /// Reads the reference, from one file or from masks.
    ///
    /// # Errors
    /// As [`scores::read_reference`] and [`read`].
    pub fn read_reference(&self) -> Result<Volume<Label>> {
        match &self.masks {
            Some(masks) => read(masks, &Reading::default()),
            None => scores::read_reference(&self.reference),
        }
    }

    /// Every file of the reference.
    pub fn references(&self) -> &[PathBuf] {
        match &self.masks {
            Some(masks) => &masks.paths,
            None => std::slice::from_ref(&self.reference),
        }
    }

    /// The first file of the reference, whose header stands for all.
    pub fn reference_file(&self) -> &Path {
        self.references().first().map_or(&*self.reference, PathBuf::as_path)
    }
}
