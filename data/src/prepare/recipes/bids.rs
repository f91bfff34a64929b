//! BIDS: any data set in the Brain Imaging Data Structure, version 1.7, including microscopy.
//!
//! Images are in `sub-*/`, labels in `derivatives/*/sub-*/`. A file name consists of `key-value` pairs and a suffix; a
//! label belongs to the image whose pairs its own name begins with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use serde_json::Value;

use crate::prepare::{Choices, Cohort, Label, Part, Recipe, Scan, tree};
use crate::{self as data, dataset};

pub(in crate::prepare) const RECIPE: Recipe = Recipe {
    name: "bids",
    title: "a data set of the Brain Imaging Data Structure",
    layout: "sub-*/ with images and derivatives/*/sub-*/ with labels; if there are several kinds, --images selects \
             the channels and --labels the structures",
    source: "70 : 10 : 20 by subject, or the splits.json of the data set",
    crop: [0, 0, 0],
    size: [0, 0, 0],
    split: [70, 10, 20],
    find,
};

/// The name ending of a label map, as opposed to a mask of one structure.
const CLASS_MAP: &str = "dseg";

fn find(root: &Path, choices: &Choices) -> Result<Cohort> {
    let files = tree::files(root)?;
    let (images, labels) = (pictures(root, &files, false), pictures(root, &files, true));
    let channels = chosen(&choices.images, images.iter().filter_map(|path| suffix(path)), "--images")?;
    let keys = keys(&images, &channels[0]);
    let kinds = labels.iter().filter_map(|path| kind(path, &keys).map(|(_, kind)| kind));
    let structures = chosen(&choices.labels, kinds, "--labels")?;
    let layout = Layout { root, images: &images, labels: &labels, keys: &keys, structures: &structures };
    let scans = keys.iter().map(|key| layout.scan(key, &channels)).collect::<Result<Vec<_>>>()?;
    let parts = parts(root, &scans)?;
    let classes = if is_map(&structures) { names_in_table(&files)? } else { names_of(&structures) };
    let name = root.canonicalize().ok().and_then(|root| Some(root.file_name()?.to_string_lossy().into_owned()));
    Ok(Cohort { name: name.unwrap_or_default(), channels, classes, ignore_label: None, scans, parts })
}

/// The image files in `sub-*/`, or in `derivatives/` if `derived`.
fn pictures<'a>(root: &Path, files: &'a [PathBuf], derived: bool) -> Vec<&'a Path> {
    let is_wanted = |path: &&Path| {
        let inside = path.strip_prefix(root).unwrap_or(path);
        let top = inside.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let in_place = top.is_some_and(|top| if derived { top == "derivatives" } else { top.starts_with("sub-") });
        in_place && tree::name(path).starts_with("sub-") && data::ending(path).is_some()
    };
    files.iter().map(PathBuf::as_path).filter(is_wanted).collect()
}

/// The part of a name after the last `_`.
fn suffix(path: &Path) -> Option<&str> {
    data::stem(path)?.rsplit_once('_').map(|(_, suffix)| suffix)
}

/// The names of the images of one channel without the suffix: one per scan.
fn keys<'a>(images: &[&'a Path], channel: &str) -> Vec<&'a str> {
    let key = |path: &&'a Path| data::stem(path)?.strip_suffix(channel)?.strip_suffix('_');
    images.iter().filter_map(key).collect()
}

/// The scan that a label belongs to, and the rest of its name.
fn kind<'a>(label: &'a Path, keys: &[&'a str]) -> Option<(&'a str, &'a str)> {
    let stem = data::stem(label)?;
    let of_key = |key: &&'a str| Some((*key, stem.strip_prefix(*key)?.strip_prefix('_')?));
    let (key, rest) = keys.iter().filter_map(of_key).max_by_key(|(key, _)| key.len())?;
    // The suffix of the image may be in between: `sub-1_SEM_seg-axon`.
    Some((key, rest.split_once('_').filter(|(first, _)| !first.contains('-')).map_or(rest, |(_, kind)| kind)))
}

/// The given names, or the only one found.
fn chosen<'a>(given: &[String], found: impl Iterator<Item = &'a str>, option: &str) -> Result<Vec<String>> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let kinds: BTreeSet<&str> = found.collect();
    match kinds.len() {
        1 => Ok(kinds.into_iter().map(str::to_owned).collect()),
        0 => Err(Error::new("no matching files found").at(option).help(format!("expected: {}", RECIPE.layout))),
        _ => {
            let kinds: Vec<&str> = kinds.into_iter().collect();
            Err(Error::new(format!("there are several kinds: {}", kinds.join(", ")))
                .at(option)
                .help(format!("choose, for example {option} {}", kinds[0])))
        }
    }
}

struct Layout<'a> {
    root: &'a Path,
    images: &'a [&'a Path],
    labels: &'a [&'a Path],
    keys: &'a [&'a str],
    structures: &'a [String],
}

impl Layout<'_> {
    fn scan(&self, key: &str, channels: &[String]) -> Result<Scan> {
        let image = |channel: &String| {
            let name = format!("{key}_{channel}");
            let found = self.images.iter().find(|path| data::stem(path) == Some(&name)).map(|path| path.to_path_buf());
            found.ok_or_else(|| Error::new(format!("there is no image {name}")).at(self.root.display()))
        };
        let images = channels.iter().map(image).collect::<Result<Vec<_>>>()?;
        let subject = key.split('_').next().unwrap_or(key);
        let pixel_mm = pixel_size(self.root, &images[0])?;
        Ok(Scan { pixel_mm, ..Scan::new(key, subject, images, self.label(key)) })
    }

    fn label(&self, key: &str) -> Label {
        let of_structure = |structure: &String| -> Vec<PathBuf> {
            let belongs = |path: &&&Path| {
                kind(path, self.keys).is_some_and(|(own, kind)| {
                    let before = kind.strip_suffix(structure.as_str());
                    own == key && before.is_some_and(|before| before.is_empty() || before.ends_with('_'))
                })
            };
            self.labels.iter().filter(belongs).map(|path| path.to_path_buf()).collect()
        };
        let files: Vec<Vec<PathBuf>> = self.structures.iter().map(of_structure).collect();
        match files.iter().flatten().next() {
            None => Label::Unknown,
            Some(map) if is_map(self.structures) => Label::Map(map.clone(), &[]),
            Some(_) => Label::Masks(files),
        }
    }
}

/// Whether the label is a single label map, as opposed to one mask per structure.
fn is_map(structures: &[String]) -> bool {
    matches!(structures, [only] if only.ends_with(CLASS_MAP))
}

/// Class names from the names of masks, without the parts that all mask names share.
fn names_of(structures: &[String]) -> Vec<String> {
    let plain = |name: &String| {
        let name = name.trim_end_matches("_mask").trim_end_matches("-manual");
        name.rsplit_once('_').map_or(name, |(_, last)| last).split_once('-').map_or(name, |(_, value)| value).to_owned()
    };
    std::iter::once("background".to_owned()).chain(structures.iter().map(plain)).collect()
}

/// The names of classes from a table `…dseg.tsv` with the columns `index` and `name`.
fn names_in_table(files: &[PathBuf]) -> Result<Vec<String>> {
    let table = files.iter().find(|path| tree::name(path).ends_with("dseg.tsv"));
    let table =
        table.ok_or_else(|| Error::new("a label map needs a table dseg.tsv with the columns index and name"))?;
    let read = || -> Result<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().delimiter(b'\t').from_path(table).map_err(Error::from_source)?;
        let rows = reader.deserialize::<(usize, String)>().collect::<std::result::Result<Vec<_>, _>>();
        let mut rows = rows.map_err(Error::from_source)?;
        rows.sort_unstable();
        if rows.first().is_none_or(|(index, _)| *index != 0) {
            rows.insert(0, (0, "background".into()));
        }
        match rows.iter().zip(0..).find(|((index, _), expected)| index != expected) {
            Some(((index, name), expected)) => {
                Err(Error::new(format!("{name} has the index {index}, expected {expected}"))
                    .help("number the classes without gaps, or select masks with --labels"))
            }
            None => Ok(rows.into_iter().map(|(_, name)| name).collect()),
        }
    };
    read().at(table.display())
}

/// `PixelSize` from the JSON files next to an image or in the folders above it: every file whose pairs are among those
/// of the image applies, the nearest first (the inheritance principle).
fn pixel_size(root: &Path, image: &Path) -> Result<Option<[f64; 2]>> {
    let (Some(stem), Some(own)) = (data::stem(image), suffix(image)) else { return Ok(None) };
    let parts: Vec<&str> = stem.split('_').collect();
    for folder in image.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
        let mut sidecars: Vec<PathBuf> =
            std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        sidecars.retain(|path| {
            let name = tree::without(path, &[".json"]).unwrap_or_default();
            name.rsplit('_').next() == Some(own) && name.split('_').all(|part| parts.contains(&part))
        });
        // The more pairs, the more specific to the image.
        sidecars.sort_unstable_by_key(|path| std::cmp::Reverse(tree::name(path).len()));
        for sidecar in sidecars {
            if let Some(size) = size_in(&sidecar).at(sidecar.display())? {
                return Ok(Some(size));
            }
        }
    }
    Ok(None)
}

/// `PixelSize`, `[x, y]` or `[x, y, z]`, as `[y, x]` in mm.
fn size_in(sidecar: &Path) -> Result<Option<[f64; 2]>> {
    let text = crate::limits::read_text(sidecar)?;
    let fields: Value = serde_json::from_str(&text).map_err(Error::from_source)?;
    let Some(size) = fields.get("PixelSize") else { return Ok(None) };
    let mm = match fields.get("PixelSizeUnits").and_then(Value::as_str) {
        Some("mm") => 1.0,
        Some("um") => 1e-3,
        Some("nm") => 1e-6,
        other => return Err(Error::new(format!("{other:?} is not one of mm, um, nm")).at("PixelSizeUnits")),
    };
    let number = |axis: usize| size.get(axis).and_then(Value::as_f64).filter(|x| x.is_finite() && *x > 0.0);
    match (number(0), number(1)) {
        (Some(x), Some(y)) => Ok(Some([y * mm, x * mm])),
        _ => Err(Error::new(format!("{size} is not a list of two positive sizes")).at("PixelSize")),
    }
}

/// The parts of the scans according to the data set's own `splits.json`, which may name images by their paths.
fn parts(root: &Path, scans: &[Scan]) -> Result<Option<Vec<Part>>> {
    let Some(lists) = dataset::division(root)? else { return Ok(None) };
    let part = |scan: &Scan| {
        let is_named = |name: &String| {
            let file = Path::new(name);
            let stem = data::stem(file).unwrap_or_else(|| tree::name(file));
            stem.strip_prefix(&scan.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let found = Part::ALL.into_iter().find(|part| lists[*part as usize].iter().any(is_named));
        let unlabelled = matches!(scan.label, Label::Unknown).then_some(Part::Test);
        found.or(unlabelled).ok_or_else(|| {
            Error::new(format!("{} is not in any part of the split", scan.name)).at(root.join("splits.json").display())
        })
    };
    scans.iter().map(part).collect::<Result<Vec<_>>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_belongs_to_the_longest_name_it_begins_with() {
        let keys = ["sub-1", "sub-1_run-2", "sub-10"];
        let of = |name: &'static str| kind(Path::new(name), &keys);
        assert_eq!(of("sub-1_SEM_seg-axon-manual.png"), Some(("sub-1", "seg-axon-manual")));
        assert_eq!(of("sub-1_run-2_label-tumour_mask.nii.gz"), Some(("sub-1_run-2", "label-tumour_mask")));
        assert_eq!(of("sub-10_dseg.nii"), Some(("sub-10", "dseg")));
        assert_eq!(of("sub-2_dseg.nii"), None);
    }

    #[test]
    fn structures_have_short_names() {
        let names = ["seg-axon-manual", "label-tumour_mask", "space-T1w_desc-lesion_mask", "lesion"].map(String::from);
        assert_eq!(names_of(&names), ["background", "axon", "tumour", "lesion", "lesion"]);
        assert!(is_map(&["space-T1w_dseg".into()]) && !is_map(&names));
    }
}
