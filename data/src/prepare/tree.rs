//! Searching folders.

use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};

/// How many levels of folders are searched; this also ends loops of symbolic links.
const MAX_DEPTH: usize = 8;

/// All files below a folder, sorted by path, without hidden ones.
///
/// # Errors
/// A folder cannot be read.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(root, MAX_DEPTH, &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).at(folder.display())? {
        let path = entry.at(folder.display())?.path();
        if name(&path).starts_with('.') {
            continue;
        }
        if !path.is_dir() {
            found.push(path);
        } else if depth > 0 {
            walk(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

/// The last component of a path; empty if it is not UTF-8.
pub fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The name of the folder that contains a file.
pub fn folder(path: &Path) -> &str {
    path.parent().map_or("", name)
}

/// The name of a file without its ending, if that is one of `endings`.
pub fn without<'a>(path: &'a Path, endings: &[&str]) -> Option<&'a str> {
    let name = name(path);
    endings.iter().find_map(|ending| name.strip_suffix(ending)).filter(|stem| !stem.is_empty())
}

/// The possible endings, with extension, of a NIfTI file whose stem ends in `ending`.
pub fn nifti(ending: &str) -> [String; 2] {
    [format!("{ending}.nii.gz"), format!("{ending}.nii")]
}

/// The NIfTI file `name` in `folder`, gzipped or not.
///
/// # Errors
/// There is no such file.
pub fn beside(folder: &Path, name: &str) -> Result<PathBuf> {
    let names = nifti(name);
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Error::new(format!("there is no {} (or .nii)", names[0])).at(folder.display()))
}

/// Reduces a name to letters, digits, `-`, `.` and `_`; each run of other characters becomes one `_`.
pub fn plain(name: &str) -> String {
    let mut plain = String::new();
    for sign in name.chars() {
        let sign = if sign.is_alphanumeric() || "-.".contains(sign) { sign } else { '_' };
        if sign != '_' || !plain.ends_with('_') {
            plain.push(sign);
        }
    }
    plain.trim_matches(['_', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_plain() {
        assert_eq!(plain("benign (12)"), "benign_12");
        assert_eq!(plain("../a b\tc"), "a_b_c");
        assert_eq!(plain("Müller 2"), "Müller_2");
        assert_eq!(plain("sub-01_ses-2.x"), "sub-01_ses-2.x");
    }

    #[test]
    fn hidden_files_are_left_out_and_a_loop_ends() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("a")).unwrap();
        for name in ["a/x.nii", "a/._x.nii", ".DS_Store", "b.nii.gz"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.path(), root.path().join("a/up")).unwrap();
        let found = files(root.path()).unwrap();
        assert!(found.iter().all(|path| !name(path).starts_with('.')));
        assert!(found.contains(&root.path().join("b.nii.gz")) && found.len() < 2 * (MAX_DEPTH + 2));
        assert_eq!(without(&found[found.len() - 1], &[".nii.gz"]), Some("b"));
    }
}
