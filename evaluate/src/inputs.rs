//! Pairs predictions with references.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result, nearest};

use segcal_data::{self as data, npy};
use segcal_metrics::volume::Label;

/// The files of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// One file: NIfTI (class last, or one label map), PNG, `.npy` or `.npz`.
    One(PathBuf),
    /// One NIfTI per class, in order.
    PerClass(Vec<PathBuf>),
    /// A label map stored as one mask per class.
    Masks(Masks),
}

/// The masks of one case, with their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// The label of each file.
    pub labels: Vec<Label>,
}

/// Names of the classes.
pub type Names = BTreeMap<Label, String>;

impl Files {
    /// Every file.
    pub fn all(&self) -> &[PathBuf] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::PerClass(paths) | Self::Masks(Masks { paths, .. }) => paths,
        }
    }

    /// The first file, for messages.
    pub fn first(&self) -> &Path {
        match self {
            Self::One(path) => path,
            Self::PerClass(paths) | Self::Masks(Masks { paths, .. }) => &paths[0],
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
    /// The reference label map, or the folder of its masks.
    pub reference: PathBuf,
    /// The masks that make up the reference, if it is not a single file.
    pub masks: Option<Masks>,
    /// The image that was segmented, for the report.
    pub image: Option<PathBuf>,
}

/// The content wanted from a folder, which decides between two files of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Class scores: nnU-Net's `CASE.npz` rather than `CASE.nii.gz`.
    Scores,
    /// Predicted label maps: `CASE.nii.gz` rather than `CASE.npz`.
    Labels,
    /// References or images, for which a second file is an error.
    Other,
}

/// The cases of two folders.
#[derive(Debug, Default)]
pub struct Pairing {
    /// References with their predictions.
    pub pairs: Vec<Pair>,
    /// Predictions that have no reference or lack a class, with the error.
    pub unusable: Vec<(String, Error)>,
    /// References that have no prediction.
    pub unpredicted: Vec<String>,
    /// Names of the classes, if the files are named after them.
    pub names: Names,
}

impl Pairing {
    /// The pairs and the references without a prediction, provided that every prediction is usable.
    ///
    /// # Errors
    /// The error of the first prediction that is not usable.
    pub fn every_prediction(self) -> Result<(Vec<Pair>, Vec<String>)> {
        self.unusable.into_iter().next().map_or(Ok((self.pairs, self.unpredicted)), |(_, error)| Err(error))
    }
}

/// Pairs a file with a file, or the files of two folders by case name. Also returns the files without a pair, so that
/// nothing is dropped silently.
///
/// # Errors
/// A path does not exist, a folder contains nothing to read or a case twice, or there is no pair.
pub fn pairs(predictions: &Path, labels: &Path, holds: Holds) -> Result<Pairing> {
    if predictions.is_file() && labels.is_file() {
        let [case, _] = [known(labels)?, known(predictions)?];
        let pair = Pair {
            case,
            prediction: Files::One(predictions.into()),
            reference: labels.into(),
            masks: None,
            image: None,
        };
        return Ok(Pairing { pairs: vec![pair], ..Pairing::default() });
    }
    let mut references = listed(labels, Holds::Other)?;
    // A file with the name of a reference is a case. Only other files may be one class of a case.
    let (named, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        listed(predictions, holds)?.into_iter().partition(|(name, _)| references.contains_key(name));
    let (classes, others) = by_class(others, |case| references.contains_key(case) && !named.contains_key(case));
    let unlabelled = gathered(others).into_iter().map(|(case, files)| {
        let error = without_reference(&case, &files, labels, &references);
        (case, error)
    });
    let mut unusable: Vec<(String, Error)> = unlabelled.collect();
    let mut found: BTreeMap<String, Files> = named.into_iter().map(|(case, file)| (case, Files::One(file))).collect();
    for (case, numbered) in classes {
        match complete(&numbered) {
            Ok(files) => drop(found.insert(case, files)),
            Err(error) => unusable.push((case, error)),
        }
    }
    let pair = |(case, prediction): (String, Files)| {
        let reference = references.remove(&case)?;
        Some(Pair { case, prediction, reference, masks: None, image: None })
    };
    let pairs: Vec<Pair> = found.into_iter().filter_map(pair).collect();
    unusable.iter().for_each(|(case, _)| drop(references.remove(case)));
    let pairing = Pairing { pairs, unusable, unpredicted: references.into_keys().collect(), names: Names::new() };
    // If the folders do not match at all, the command is wrong, not a single case.
    if pairing.pairs.is_empty() { pairing.every_prediction().map(|_| Pairing::default()) } else { Ok(pairing) }
}

fn without_reference(case: &str, files: &Files, labels: &Path, references: &BTreeMap<String, PathBuf>) -> Error {
    let error = Error::new(format!("has no reference in {}", labels.display())).at(files.first().display());
    if case.contains("_label-") {
        return error.help(
            "the names do not give the order of the classes: rename the files, one per class, to CASE_0 (background), \
             CASE_1 …",
        );
    }
    match nearest(case, references.keys().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean {near}? predictions and references must have the same names")),
        None => error.help("predictions and references must have the same names"),
    }
}

/// Sets the image of each pair: from `images`, a file or a folder, or by default from the folder beside the labels
/// (`imagesTs` beside `labelsTs`). Returns the names of the cases that have no image in `images`.
///
/// # Errors
/// `images` does not exist, or contains nothing to read.
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
    let mut found = match listed(&path, Holds::Other) {
        Err(_) if !asked => return Ok(Vec::new()),
        found => found?,
    };
    for pair in pairs.iter_mut() {
        // nnU-Net numbers the channels. The first one is shown.
        let file = found.remove(&pair.case).or_else(|| found.remove(&format!("{}_0000", pair.case)));
        pair.image = file;
    }
    let without = pairs.iter().filter(|pair| asked && pair.image.is_none());
    Ok(without.map(|pair| pair.case.clone()).collect())
}

/// The files of a folder (or one file) by case name. `CASE_0`, `CASE_1` … are one case only if each is a NIfTI file
/// with one volume.
///
/// # Errors
/// The path does not exist, or a folder contains nothing to read or a case twice.
pub fn predictions(path: &Path, holds: Holds) -> Result<BTreeMap<String, Files>> {
    let files = listed(path, holds)?;
    let whole = |path: &PathBuf| data::read_grid(path).map_or(true, |(_, channels)| channels > 1);
    let gathered = gathered(files.clone());
    match gathered.values().next() {
        Some(Files::PerClass(paths)) if paths.iter().any(whole) => Ok(single(files)),
        _ => Ok(gathered),
    }
}

/// The files of a folder, or one file, by the name of the case.
pub(super) fn listed(path: &Path, holds: Holds) -> Result<BTreeMap<String, PathBuf>> {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    if path.is_file() {
        files.insert(known(path)?, vec![path.to_path_buf()]);
    } else {
        for entry in std::fs::read_dir(path).map_err(missing_folder).at(path.display())? {
            let file = entry.at(path.display())?.path();
            if let (Some(name), false) = (case_name(&file), data::names::is_hidden(&file)) {
                files.entry(name).or_default().push(file);
            }
        }
    }
    if files.is_empty() {
        if let Some(case) = data::folder_of_classes(path) {
            let problem =
                format!("contains a folder for each case with one file per class, such as {}", case.display());
            return Err(Error::new(problem).at(path.display()).help(data::ONE_FILE_A_CASE));
        }
        let error = Error::new("contains no file that can be read").at(path.display());
        return Err(error.help("supported: .nii .nii.gz .hdr .png .mha .mhd .nrrd .nhdr .npy .npz"));
    }
    files.into_iter().map(|(name, files)| Ok((name, meant(files, holds)?))).collect()
}

/// Chooses the file of a case. nnU-Net writes `CASE.npz`, which contains probabilities, beside the label map
/// `CASE.nii.gz`. Any other second file is an error.
fn meant(mut files: Vec<PathBuf>, holds: Holds) -> Result<PathBuf> {
    // Folders are read in no particular order.
    files.sort_by_key(|file| (npy::is_archive(file), file.clone()));
    match (&mut files[..], holds) {
        ([only], _) => Ok(std::mem::take(only)),
        ([map, scores], Holds::Scores | Holds::Labels) if npy::is_archive(scores) && !npy::is_array(map) => {
            Ok(std::mem::take(if holds == Holds::Scores { scores } else { map }))
        }
        ([first, second, ..], _) => {
            let error = Error::new(format!("duplicate case: also found as {}", second.display()));
            Err(error.at(first.display()).help("keep one of the two"))
        }
        ([], _) => unreachable!("each name is that of a file"),
    }
}

/// The case of a file given by its path, whose extension must be supported.
fn known(path: &Path) -> Result<String> {
    case_name(path).ok_or_else(|| data::unknown_ending(path, " .npy .npz"))
}

fn missing_folder(error: std::io::Error) -> Error {
    Error::from(error).help("give a file or a folder that exists")
}

/// Groups `CASE_0`, `CASE_1` … by case, if every file of the folder has that form and the numbers are complete.
fn gathered(files: BTreeMap<String, PathBuf>) -> BTreeMap<String, Files> {
    let (cases, others) = by_class(files.clone(), |_| true);
    let cases: Option<_> = cases.into_iter().map(|(case, numbered)| Some((case, complete(&numbered).ok()?))).collect();
    cases.filter(|_| others.is_empty()).unwrap_or_else(|| single(files))
}

fn single(files: BTreeMap<String, PathBuf>) -> BTreeMap<String, Files> {
    files.into_iter().map(|(name, file)| (name, Files::One(file))).collect()
}

/// Files of one case, by class number.
type Numbered = Vec<(usize, PathBuf)>;

/// Splits files into those of the form `CASE_0`, `CASE_1` …, grouped by case, for wanted cases with several of them,
/// and the others.
fn by_class(
    files: BTreeMap<String, PathBuf>,
    wanted: impl Fn(&str) -> bool,
) -> (BTreeMap<String, Numbered>, BTreeMap<String, PathBuf>) {
    let class = |name: &str| {
        let (case, number) = name.rsplit_once('_')?;
        Some((case.to_owned(), number.parse::<usize>().ok().filter(|_| wanted(case))?))
    };
    let mut cases: BTreeMap<String, Numbered> = BTreeMap::new();
    for (name, file) in &files {
        if let Some((case, number)) = class(name) {
            cases.entry(case).or_default().push((number, file.clone()));
        }
    }
    cases.retain(|_, numbered| numbered.len() > 1);
    cases.values_mut().for_each(|numbered| numbered.sort());
    let others = files.into_iter().filter(|(name, _)| class(name).is_none_or(|(case, _)| !cases.contains_key(&case)));
    let others = others.collect();
    (cases, others)
}

/// The files of a case with one per class, checked to be complete.
fn complete(numbered: &Numbered) -> Result<Files> {
    let numbers: Vec<usize> = numbered.iter().map(|(number, _)| *number).collect();
    if numbers.iter().copied().eq(0..numbers.len()) {
        return Ok(Files::PerClass(numbered.iter().map(|(_, file)| file.clone()).collect()));
    }
    let missing = (0..numbers.len()).find(|number| !numbers.contains(number)).unwrap_or(numbers.len());
    let there = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(Error::new(format!("class {missing} has no file; found files of classes {there}"))
        .at(numbered[0].1.display())
        .help("give one file per class, numbered from 0 (background)"))
}

/// The name of a file's case: the file name without its extension and without BIDS's `_probseg` or `_dseg`. `None` if
/// the extension is not supported.
pub fn case_name(path: &Path) -> Option<String> {
    let stem = data::case_name(path).or_else(|| data::names::without_ending(path, &[".npy", ".npz"]))?;
    let plain = stem.strip_suffix("_probseg").or_else(|| stem.strip_suffix("_dseg"));
    Some(plain.map_or_else(|| stem.clone(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(folder: &Path, names: &[&str]) {
        std::fs::create_dir_all(folder).unwrap();
        names.iter().for_each(|name| std::fs::write(folder.join(name), b"").unwrap());
    }

    fn paired_as(holds: Holds, predictions: &[&str], labels: &[&str]) -> Result<Pairing> {
        let root = tempfile::tempdir().unwrap();
        touch(&root.path().join("p"), predictions);
        touch(&root.path().join("y"), labels);
        pairs(&root.path().join("p"), &root.path().join("y"), holds)
    }

    fn paired(predictions: &[&str], labels: &[&str]) -> Result<(Vec<Pair>, Vec<String>)> {
        paired_as(Holds::Scores, predictions, labels)?.every_prediction()
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
        let mut pairs = pairs(&at("p"), &at("labelsTs"), Holds::Scores).unwrap().pairs;
        let images = |pairs: &[Pair]| pairs.iter().map(|pair| pair.image.clone()).collect::<Vec<_>>();
        assert!(add_images(&mut pairs, None, &at("labelsTs")).unwrap().is_empty());
        assert_eq!(images(&pairs), [Some(at("imagesTs/a_0000.nii")), None]);
        assert_eq!(add_images(&mut pairs, Some(&at("other")), &at("labelsTs")).unwrap(), ["a"]);
        assert_eq!(images(&pairs), [None, Some(at("other/b.nii.gz"))]);
        assert!(add_images(&mut pairs, Some(&at("nothing")), &at("labelsTs")).is_err());
    }

    #[test]
    fn a_folder_for_each_case_is_named() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        touch(&at("y"), &["a.nii.gz"]);
        touch(&at("p/a/segmentations"), &["liver.nii.gz", "spleen.nii.gz"]);
        let message = pairs(&at("p"), &at("y"), Holds::Labels).unwrap_err().to_string();
        assert!(message.contains("a/segmentations") && message.contains("--ml"), "{message}");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |predictions: &[&str], labels: &[&str]| paired(predictions, labels).unwrap_err().to_string();
        assert!(message(&["case1.nii"], &["case2.nii"]).contains("did you mean case2"));
        let bids = message(&["sub-1_label-GM_probseg.nii", "sub-1_label-WM_probseg.nii"], &["sub-1_dseg.nii"]);
        assert!(bids.contains("CASE_0"), "{bids}");
        assert!(message(&[], &["a.nii"]).contains("no file that can be read"));
        for doubled in [["a.nii", "a.nii.gz"], ["a.npy", "a.npz"], ["a.nii", "a.npy"]] {
            assert!(message(&doubled, &["a.nii"]).contains("duplicate"), "{doubled:?}");
        }
        assert!(message(&["a.nii", "a.nii.gz", "a.npz"], &["a.nii"]).contains("duplicate"));
        assert!(message(&["a.npz"], &["a.nii", "a.npz"]).contains("duplicate"));
    }

    #[test]
    fn of_an_output_folder_of_nnunet_what_is_asked_for_is_taken() {
        let files = ["a.nii.gz", "a.npz", "a.pkl", "b.png", "b.npz", "dataset.json", "plans.json"];
        for (holds, taken) in [(Holds::Scores, ["a.npz", "b.npz"]), (Holds::Labels, ["a.nii.gz", "b.png"])] {
            let pairing = paired_as(holds, &files, &["a.nii.gz", "b.nii.gz"]).unwrap();
            let names = pairing.pairs.iter().map(|pair| pair.prediction.first().file_name().unwrap());
            assert_eq!(names.collect::<Vec<_>>(), taken);
        }
    }

    #[test]
    fn what_belongs_to_no_pair_is_given_with_its_reason() {
        let files = ["a_0.nii", "a_1.nii", "c_0.nii", "c_1.nii", "c_3.nii", "d.nii", "e_0.nii", "e_1.nii", "f.nii"];
        let pairing = paired_as(Holds::Scores, &files, &["a.nii", "b.nii", "c.nii", "d.nii"]).unwrap();
        assert_eq!(pairing.pairs.iter().map(|pair| pair.case.as_str()).collect::<Vec<_>>(), ["a", "d"]);
        assert_eq!(pairing.unpredicted, ["b"]);
        let reasons: BTreeMap<_, _> =
            pairing.unusable.iter().map(|(case, error)| (&**case, error.to_string())).collect();
        assert!(reasons["c"].contains("class 2 has no file; found files of classes 0, 1, 3"), "{reasons:?}");
        assert!(reasons["f"].contains("f.nii: has no reference in "), "{reasons:?}");
        assert_eq!(reasons.len(), 4, "{reasons:?}");
    }

    #[test]
    fn names_meet_in_either_form_of_unicode_and_without_one() {
        let (pairs, missing) = paired(&["Lo\u{308}we.nii"], &["L\u{f6}we.nii"]).unwrap();
        assert_eq!((pairs[0].case.as_str(), missing.len()), ("L\u{f6}we", 0));
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let root = tempfile::tempdir().unwrap();
            let name = std::ffi::OsStr::from_bytes(b"M\xfcller.nii");
            for folder in ["p", "y"] {
                touch(&root.path().join(folder), &["a.nii"]);
                std::fs::write(root.path().join(folder).join(name), b"").unwrap();
            }
            let found = super::pairs(&root.path().join("p"), &root.path().join("y"), Holds::Labels).unwrap();
            let cases: Vec<&str> = found.pairs.iter().map(|pair| pair.case.as_str()).collect();
            assert_eq!(cases, ["M%FCller", "a"]);
        }
    }
}
