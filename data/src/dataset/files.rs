//! Finds the files of a data set, from lists or from folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};

use super::description::{Description, Entry, Lists};
use super::{Case, Layout};
use crate::{self as data, names};

/// The cases as found, before any split.
pub(super) struct Found {
    pub(super) layout: Layout,
    pub(super) train: Vec<Case>,
    pub(super) val: Vec<Case>,
    pub(super) test: Vec<Case>,
    pub(super) problems: Vec<Error>,
    /// Problems of test cases.
    pub(super) of_tests: Vec<Error>,
}

/// Possible folders of training images and labels, and of test images and labels.
const FOLDERS: [([&str; 2], [&str; 2]); 3] = [
    (["imagesTr", "labelsTr"], ["imagesTs", "labelsTs"]),
    (["images", "labels"], ["test/images", "test/labels"]),
    (["images", "masks"], ["test/images", "test/masks"]),
];

/// The cases in the lists. A missing file is reported as a problem, and its case is left out.
pub(super) fn from_lists(root: &Path, lists: &Lists, description: &Description) -> Result<Found> {
    let (mut problems, mut of_tests) = (Vec::new(), Vec::new());
    let cases = |list: &[Entry], problems: &mut Vec<Error>| -> Vec<Case> {
        list.iter().filter_map(|entry| case_of(root, entry, description, problems)).collect()
    };
    let (train, val) = (cases(&lists.train, &mut problems), cases(&lists.val, &mut problems));
    let mut test = cases(&lists.test, &mut of_tests);
    if lists.by_channel && root.join("imagesTs").is_dir() {
        let [images, labels] = ["imagesTs", "labelsTs"].map(|name| files(&root.join(name), description));
        test = pair(&images?, &labels?, true, description, &mut of_tests);
    }
    let layout = if lists.by_channel { Layout::NnUnet } else { Layout::Decathlon };
    Ok(Found { layout, train, val, test, problems, of_tests })
}

/// The error for a data set without cases; it names an unsupported file in its folders, if there is one.
pub(super) fn no_cases(root: &Path) -> Error {
    let error = Error::new("no cases found").at(root.display());
    let names = FOLDERS.iter().flat_map(|(learn, test)| learn.iter().chain(test)).map(|name| root.join(name));
    let foreign =
        names.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten().map(|entry| entry.path());
    let foreign = foreign.filter(|path| path.is_file() && data::ending(path).is_none() && !names::is_hidden(path));
    match foreign.min() {
        Some(path) => error.help(format!(
            "{} has an unsupported extension: expected one of {}",
            path.display(),
            data::ENDINGS.join(" ")
        )),
        None => error.help("put images in imagesTr and labels in labelsTr, or list them in dataset.json"),
    }
}

fn case_of(root: &Path, entry: &Entry, description: &Description, problems: &mut Vec<Error>) -> Option<Case> {
    let images: Vec<PathBuf> = entry.images.iter().map(|path| listed(root, path)).collect();
    let label = entry.label.as_deref().map(|label| listed(root, label));
    let mut present = true;
    for path in images.iter().chain(&label) {
        if !path.is_file() {
            problems.push(Error::new("dataset.json lists this file, but it is missing").at(path.display()));
            present = false;
        } else if data::ending(path).is_none() {
            problems.push(data::unknown_ending(path, ""));
            present = false;
        }
    }
    let name = entry.name.clone().or_else(|| data::case_name(images.first()?))?;
    let colours = entry.name.is_some() && are_colours(&images, description);
    present.then_some(Case { name, images, label, colours })
}

/// The path of a listed file; backslashes in Windows paths are accepted.
fn listed(root: &Path, path: &str) -> PathBuf {
    let plain = |path: &str| root.join(path.trim_start_matches("./"));
    let exact = plain(path);
    if exact.exists() { exact } else { plain(&path.replace('\\', "/")) }
}

/// Whether the three channels are the colours of one PNG.
fn are_colours(images: &[PathBuf], description: &Description) -> bool {
    let [only] = images else { return false };
    description.channels.len() == 3 && data::ending(only) == Some(".png")
}

/// The cases in the folders of nnU-Net, or in plain folders.
pub(super) fn from_folders(root: &Path, description: &Description) -> Result<Found> {
    let learn =
        FOLDERS.into_iter().find(|([images, labels], _)| root.join(images).is_dir() && root.join(labels).is_dir());
    // A folder with only images is a data set to predict.
    let only_images = || FOLDERS.into_iter().find(|([images, _], _)| root.join(images).is_dir());
    let Some(([images, labels], [test_images, test_labels])) = learn.or_else(only_images) else {
        if let Some(case) = data::folder_of_classes(root) {
            let problem = format!("found a folder per case with one file per class, such as {}", case.display());
            return Err(Error::new(problem).help("a data set has imagesTr and labelsTr, with one label map per case"));
        }
        return Err(Error::new("this folder contains neither dataset.json with lists, nor imagesTr, nor images")
            .help("give the folder of a data set; segcal prepare reads other layouts"));
    };
    let folders = |images: &str, labels: &str| -> Result<_> {
        Ok((files(&root.join(images), description)?, files(&root.join(labels), description)?))
    };
    let (images, labels) = folders(images, labels)?;
    let (test_images, test_labels) = folders(test_images, test_labels)?;
    // A number is a channel number only if no label has the whole name: many data sets number their cases.
    let all_named = |images: &Files, labels: &Files| {
        images.keys().all(|name| without_channel(name).is_some() && !labels.contains_key(name))
    };
    let numbered = all_named(&images, &labels) && all_named(&test_images, &test_labels);
    let by_channel = numbered && (description.channel_files || images.keys().any(|name| has_label(name, &labels)));
    let mut problems = Vec::new();
    let mut of_tests = Vec::new();
    let train = pair(&images, &labels, by_channel, description, &mut problems);
    let test = pair(&test_images, &test_labels, by_channel, description, &mut of_tests);
    let layout = if by_channel { Layout::NnUnet } else { Layout::Folders };
    Ok(Found { layout, train, val: Vec::new(), test, problems, of_tests })
}

/// The case of one image file; a first channel `CASE_0000` is followed by the other channels in the same folder.
pub(super) fn image(path: &Path) -> Result<Case> {
    let stem = data::case_name(path).ok_or_else(|| data::unknown_ending(path, ""))?;
    let alone = |name: &str| Case { name: name.into(), images: vec![path.into()], label: None, colours: false };
    let Some((name, 0)) = without_channel(&stem) else { return Ok(alone(&stem)) };
    // A name that is not UTF-8 has no channel number that could be incremented.
    let plain = data::stem(path).zip(path.file_name().and_then(|file| file.to_str()));
    let Some((stem, file)) = plain else { return Ok(alone(name)) };
    let (own, ending) = (&stem[..stem.len() - "_0000".len()], &file[stem.len()..]);
    let further = (1..).map(|channel| path.with_file_name(format!("{own}_{channel:04}{ending}")));
    let further = further.take_while(|path| path.is_file());
    Ok(Case { images: std::iter::once(path.into()).chain(further).collect(), ..alone(name) })
}

/// The images of a folder, without labels.
pub(super) fn images(folder: &Path) -> Result<(Vec<Case>, Vec<Error>)> {
    let images = files(folder, &Description::default())?;
    let mut problems = Vec::new();
    // Channels are numbered from 0: if a case starts at another number, the numbers are case numbers.
    let first =
        |name: &String| without_channel(name).is_some_and(|(case, _)| images.contains_key(&format!("{case}_0000")));
    let by_channel = images.keys().all(first);
    let cases = pair(&images, &Files::new(), by_channel, &Description::default(), &mut problems);
    Ok((cases, problems))
}

/// Files by their name without extension; a name may have several extensions.
type Files = BTreeMap<String, Vec<PathBuf>>;

/// The image files in a folder, without hidden ones; empty if the folder does not exist.
fn files(folder: &Path, description: &Description) -> Result<Files> {
    let mut files = Files::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for entry in std::fs::read_dir(folder).at(folder.display())? {
        let path = entry.at(folder.display())?.path();
        let wanted = match (&description.file_ending, data::ending(&path)) {
            (Some(wanted), Some(ending)) => wanted.eq_ignore_ascii_case(ending),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if let (false, true, Some(name)) = (names::is_hidden(&path), wanted, data::case_name(&path)) {
            files.entry(name).or_default().push(path);
        }
    }
    Ok(files)
}

/// Splits a name such as `CASE_0003` into case name and channel.
fn without_channel(name: &str) -> Option<(&str, usize)> {
    let (case, channel) = name.rsplit_once('_')?;
    let digits = channel.len() == 4 && channel.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !case.is_empty() { Some((case, channel.parse().ok()?)) } else { None }
}

fn has_label(name: &str, labels: &Files) -> bool {
    without_channel(name).is_some_and(|(case, _)| labels.contains_key(case))
}

/// Matches images and labels by name.
fn pair(
    images: &Files,
    labels: &Files,
    by_channel: bool,
    description: &Description,
    problems: &mut Vec<Error>,
) -> Vec<Case> {
    let mut cases: BTreeMap<&str, Vec<(usize, &PathBuf)>> = BTreeMap::new();
    for (stem, paths) in images {
        let split = if by_channel { without_channel(stem) } else { None };
        let (name, channel) = split.unwrap_or((stem, 0));
        cases.entry(name).or_default().extend(paths.iter().map(|path| (channel, path)));
    }
    for (name, paths) in labels {
        if !cases.contains_key(name.as_str()) {
            problems.push(Error::new("this label has no image").at(paths[0].display()));
        }
        if let [_, second, ..] = &paths[..] {
            problems.push(Error::new(format!("the label of {name} appears twice")).at(second.display()));
        }
    }
    let channels = if by_channel { description.channels.len() } else { 1 };
    let mut finish = |(name, mut files): (&str, Vec<(usize, &PathBuf)>)| {
        files.sort_unstable();
        let label = labels.get(name).map(|paths| paths[0].clone());
        let images: Vec<PathBuf> = files.iter().map(|(_, path)| (*path).clone()).collect();
        let colours = by_channel && are_colours(&images, description);
        if let Some(problem) = wrong_channels(name, &files, if colours { 1 } else { channels }) {
            problems.push(problem);
        }
        Case { name: name.to_owned(), images, label, colours }
    };
    cases.into_iter().map(&mut finish).collect()
}

/// The problem if channels are missing or given twice. `channels` is 0 if the data set does not say how many there are.
fn wrong_channels(name: &str, files: &[(usize, &PathBuf)], channels: usize) -> Option<Error> {
    let (_, first) = files.first()?;
    if let Some(pair) = files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let what = format!("the image of {name} appears twice: also as {}", pair[1].1.display());
        return Some(Error::new(what).at(pair[0].1.display()).help("keep one of the two"));
    }
    let complete = files.iter().map(|(channel, _)| *channel).eq(0..files.len());
    if complete && (channels == 0 || files.len() == channels) {
        return None;
    }
    let found: Vec<usize> = files.iter().map(|(channel, _)| *channel).collect();
    let expected = if channels == 0 { "consecutive numbers from 0".into() } else { format!("0 to {}", channels - 1) };
    Some(Error::new(format!("{name} has the channels {found:?}, expected {expected}")).at(first.display()))
}
