//! Data sets on disk: the cases, the locations of their files, and the part of the split that each belongs to.
//!
//! Supported layouts:
//! - the layout of the Medical Segmentation Decathlon: `dataset.json` with the lists `training` (`{image, label}`),
//!   `validation` and `test`; 4-D images have their channels last;
//! - the layout of nnU-Net: `imagesTr/CASE_0000.nii.gz` with one file per channel, `labelsTr/CASE.nii.gz`, `imagesTs`;
//!   `dataset.json` with `labels` and `channel_names`, `splits_final.json` with the folds;
//! - plain folders of NIfTI or PNG: `imagesTr` and `labelsTr`, or `images` and `labels` or `masks`.
//!
//! A `splits.json` with the lists `train`, `val` and `test` of case names overrides any other split.

mod description;
mod files;
mod region;

use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result, Rng};

use crate::Volume;

use description::{Description, Division};
pub use region::Region;

/// The number of folds that a data set without a split is divided into, as in nnU-Net.
pub const FOLDS: usize = 5;

/// Seed of those folds; fixed, so that runs with other seeds are validated on the same cases.
const FOLD_SEED: u64 = 12345;

/// One image with its label, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name: the file name without extension and channel number.
    pub name: String,
    /// One file, or one file per channel, in order.
    pub images: Vec<PathBuf>,
    /// The label map.
    pub label: Option<PathBuf>,
    /// Whether the red, green and blue of one PNG are read as three channels.
    pub colours: bool,
}

impl Case {
    /// The case for a network with `taken` input channels: if it has three, they are the red, green and blue of a
    /// single PNG.
    #[must_use]
    pub fn with_channels(&self, taken: usize) -> Self {
        let picture = matches!(&self.images[..], [only] if crate::ending(only) == Some(".png"));
        Self { colours: self.colours || picture && taken == 3, ..self.clone() }
    }

    /// Reads one of its images; see [`Case::colours`].
    ///
    /// # Errors
    /// The file is malformed, or a PNG that must have colours is grey.
    pub fn read_image(&self, path: &Path) -> Result<Volume<f32>> {
        if self.colours { crate::png::read_colours(path) } else { crate::read_image(path) }
    }
}

/// The file layout of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Lists in `dataset.json`.
    Decathlon,
    /// One file per channel.
    NnUnet,
    /// One folder of images, one of labels.
    Folders,
}

impl Layout {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decathlon => "decathlon",
            Self::NnUnet => "nnunet",
            Self::Folders => "folders",
        }
    }
}

/// A data set: its cases by part, and the meaning of its labels.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its folder.
    pub root: PathBuf,
    /// The file layout.
    pub layout: Layout,
    /// Names of the classes; the index is the label. Empty if the data set does not say.
    pub classes: Vec<String>,
    /// The ignore label (that of voxels without annotation), if there is one.
    pub ignore_label: Option<i32>,
    /// Classes that combine several labels and may overlap, in their order; empty for most data sets. If there are any,
    /// `classes` are the labels that they combine.
    pub regions: Vec<Region>,
    /// Names of the channels. Empty if the data set does not say.
    pub channels: Vec<String>,
    /// Training cases. All have labels.
    pub train: Vec<Case>,
    /// Validation cases, to choose the best epoch; empty if there is no split. All have labels.
    pub val: Vec<Case>,
    /// Test cases, with or without labels.
    pub test: Vec<Case>,
}

/// The images to predict: one file, or all files in a folder. Channels in separate files (`CASE_0000`, `CASE_0001` …)
/// are combined into one case; the first channel is enough to name a single case.
///
/// # Errors
/// There is no such file or folder, or it contains no images.
pub fn images(path: &Path) -> Result<Vec<Case>> {
    if !path.is_dir() {
        if !path.is_file() {
            return Err(Error::new("no such file or folder").at(path.display()));
        }
        return Ok(vec![files::image(path)?]);
    }
    let (cases, problems) = files::images(path).at(path.display())?;
    match problems.into_iter().next() {
        Some(problem) => Err(problem),
        None if cases.is_empty() => Err(Error::new("no images found").at(path.display())),
        None => Ok(cases),
    }
}

/// The names in `splits.json`, or in the first fold of `splits_final.json`: train, val, test. `None` if there is no
/// such file.
///
/// # Errors
/// The file is malformed.
pub fn division(root: &Path) -> Result<Option<[Vec<String>; 3]>> {
    Ok(Division::read(root, 0)?.map(|division| [division.train, division.val, division.test]))
}

/// The number of folds of a data set: those listed in its split file, or those that [`Dataset::open_fold`] makes if
/// there is none; one if the data set has a single split.
///
/// # Errors
/// Those of [`Dataset::open`].
pub fn folds(root: &Path) -> Result<usize> {
    if let Some(count) = Division::count(root)? {
        return Ok(count);
    }
    let dataset = Dataset::open(root)?;
    Ok(if dataset.val.is_empty() { FOLDS.min(dataset.train.len()).max(1) } else { 1 })
}

impl Dataset {
    /// Checks that the data set names at least two classes, without which there is nothing to learn.
    ///
    /// # Errors
    /// The data set does not name its classes, or names only one.
    pub fn expect_classes(&self) -> Result<()> {
        let problem = match self.classes.len() {
            0 => "the data set does not say which classes there are",
            1 => "the data set names one class",
            _ => return Ok(()),
        };
        Err(Error::new(problem)
            .at(self.root.join("dataset.json").display())
            .help("add \"labels\": {\"background\": 0, \"NAME\": 1, …}"))
    }

    /// Finds the cases of a data set with the split of its own files; if there are several folds, the first.
    ///
    /// # Errors
    /// The folder contains no data set, or its files and lists contradict each other: a missing label or image, a case
    /// that appears twice, a split that names an unknown case.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_as_divided(root, 0)
    }

    /// Finds the cases of a data set with fold `fold` (counted from 0) of `splits_final.json`. If the data set has
    /// neither a split nor validation cases, it is divided as in nnU-Net: into [`FOLDS`] random folds, always the same
    /// for the same case names, of which `fold` becomes the validation cases.
    ///
    /// # Errors
    /// Those of [`Dataset::open`], or the fold does not exist.
    pub fn open_fold(root: &Path, fold: usize) -> Result<Self> {
        let mut dataset = Self::open_as_divided(root, fold)?;
        if dataset.val.is_empty() && Division::read(root, fold)?.is_none() {
            dataset.hold_out(fold).at(root.display())?;
        }
        Ok(dataset)
    }

    fn open_as_divided(root: &Path, fold: usize) -> Result<Self> {
        let (dataset, problems, of_tests) = Self::examined(root, fold)?;
        for problem in of_tests {
            log::warn!("{problem}; the test cases are not needed for training");
        }
        let more = problems.len().saturating_sub(1);
        match problems.into_iter().next() {
            None => Ok(dataset),
            Some(first) if more == 0 => Err(first),
            Some(first) => Err(first.help(format!("{more} more problems: see segcal check {}", root.display()))),
        }
    }

    /// Moves the validation cases of a fold from the training cases to the validation cases.
    fn hold_out(&mut self, fold: usize) -> Result<()> {
        let folds = FOLDS.min(self.train.len());
        if folds < 2 {
            return Ok(());
        }
        if fold >= folds {
            return Err(Error::new(format!("fold {fold} does not exist: the cases can be divided into {folds} folds"))
                .help("folds are numbered from 0"));
        }
        self.train.sort_by(|a, b| a.name.cmp(&b.name));
        let count = self.train.len();
        let order = Rng::new(FOLD_SEED).permutation(count);
        let mut held: Vec<usize> = order[fold * count / folds..(fold + 1) * count / folds].to_vec();
        held.sort_unstable();
        self.val = held.iter().rev().map(|&place| self.train.remove(place)).collect();
        self.val.reverse();
        log::warn!(
            "{}: the data set names no validation cases: fold {fold} of {folds} random folds holds out {} of {count}; \
             write splits.json to choose the split yourself",
            self.root.display(),
            self.val.len()
        );
        Ok(())
    }

    /// Finds the cases of a data set and all problems with its files and lists.
    ///
    /// # Errors
    /// The folder contains no data set at all.
    pub fn scan(root: &Path, fold: usize) -> Result<(Self, Vec<Error>)> {
        let (dataset, mut problems, of_tests) = Self::examined(root, fold)?;
        problems.extend(of_tests);
        Ok((dataset, problems))
    }

    /// Like [`Self::scan`], with the problems of test cases in a separate list: they do not prevent training.
    fn examined(root: &Path, fold: usize) -> Result<(Self, Vec<Error>, Vec<Error>)> {
        if !root.is_dir() {
            return Err(Error::new("no such folder").at(root.display()).help("give the folder of a data set"));
        }
        let description = Description::read(root)?;
        let found = match &description.lists {
            Some(lists) => files::from_lists(root, lists, &description)?,
            None => files::from_folders(root, &description).at(root.display())?,
        };
        if found.train.is_empty() && found.val.is_empty() && found.test.is_empty() {
            let more = found.problems.len().saturating_sub(1);
            return Err(match found.problems.into_iter().next() {
                Some(problem) if more > 0 => problem.help(format!("and {more} more: no usable case is left")),
                Some(problem) => problem,
                None => files::no_cases(root),
            });
        }
        let mut dataset = Self {
            root: root.into(),
            layout: found.layout,
            classes: description.classes,
            ignore_label: description.ignore_label,
            regions: description.regions,
            channels: description.channels,
            train: found.train,
            val: found.val,
            test: found.test,
        };
        let mut problems = found.problems;
        problems.extend(dataset.repeated_names());
        if let Some(split) = Division::read(root, fold)? {
            problems.extend(dataset.divide(&split));
        }
        problems.extend(dataset.missing_labels());
        Ok((dataset, problems, found.of_tests))
    }

    /// All cases with the name of their part.
    pub fn cases(&self) -> impl Iterator<Item = (&'static str, &Case)> {
        let parts = [("train", &self.train), ("val", &self.val), ("test", &self.test)];
        parts.into_iter().flat_map(|(part, cases)| cases.iter().map(move |case| (part, case)))
    }

    fn repeated_names(&self) -> Vec<Error> {
        let mut names: Vec<&str> = self.cases().map(|(_, case)| case.name.as_str()).collect();
        names.sort_unstable();
        let repeated = names.windows(2).filter(|pair| pair[0] == pair[1]);
        repeated
            .map(|pair| {
                Error::new(format!("the case {} appears twice", pair[0]))
                    .at(self.root.display())
                    .help("give each case one file and one name")
            })
            .collect()
    }

    /// Reassigns the cases to the parts, in the order of the split.
    fn divide(&mut self, split: &Division) -> Vec<Error> {
        let mut pool: Vec<Option<Case>> =
            [&mut self.train, &mut self.val, &mut self.test].into_iter().flat_map(std::mem::take).map(Some).collect();
        let places: std::collections::HashMap<String, usize> =
            pool.iter().flatten().enumerate().map(|(index, case)| (case.name.clone(), index)).collect();
        let mut problems = Vec::new();
        let parts = [(&mut self.train, &split.train), (&mut self.val, &split.val), (&mut self.test, &split.test)];
        for (cases, names) in parts {
            for name in names {
                match places.get(name).map(|&index| pool[index].take()) {
                    Some(Some(case)) => cases.push(case),
                    Some(None) => problems.push(Error::new(format!("the case {name} is listed twice")).at(&split.file)),
                    None => problems.push(Error::new(format!("the case {name} has no image")).at(&split.file)),
                }
            }
        }
        if split.test.is_empty() {
            // Folds divide the labelled cases; the rest are test cases.
            self.test.extend(pool.iter_mut().filter_map(|case| case.take_if(|case| case.label.is_none())));
        }
        let left = pool.iter().flatten().count();
        if left > 0 {
            log::warn!("{}: {left} cases of the data set are not in any part of the split", split.file);
        }
        problems
    }

    fn missing_labels(&self) -> Vec<Error> {
        let labelled = self.train.iter().chain(&self.val);
        let missing = labelled.filter(|case| case.label.is_none());
        missing
            .map(|case| {
                Error::new(format!("the case {} has no label", case.name))
                    .at(self.root.display())
                    .help("put the label map into labelsTr, or take the case out of the training list")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
