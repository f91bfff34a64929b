//! Case names from file names.

use std::path::Path;

use unicode_normalization::UnicodeNormalization;

/// The name of a file without its extension, as text: accented letters are composed (NFC), as most programs write them,
/// and bytes that are not UTF-8 become `%` and two hexadecimal digits. `None` if the extension is not one of `endings`
/// (given in lower case).
///
/// ```
/// use segcal_data::names::without_ending;
/// assert_eq!(without_ending("a/o\u{308}.nii".as_ref(), &[".nii"]).as_deref(), Some("\u{f6}"));
/// assert_eq!(without_ending("a.txt".as_ref(), &[".nii"]), None);
/// ```
pub fn without_ending(path: &Path, endings: &[&str]) -> Option<String> {
    let bytes = path.file_name()?.as_encoded_bytes();
    let ends = |ending: &&&str| {
        let start = bytes.len().checked_sub(ending.len()).filter(|&start| start > 0);
        start.is_some_and(|start| bytes[start..].eq_ignore_ascii_case(ending.as_bytes()))
    };
    let ending = endings.iter().find(ends)?;
    Some(text(&bytes[..bytes.len() - ending.len()]))
}

/// The name of a folder as text, in the form of [`without_ending`].
pub fn of_folder(path: &Path) -> Option<String> {
    Some(text(path.file_name()?.as_encoded_bytes()))
}

/// Whether a file is hidden: its name begins with a dot.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The same name in composed form.
pub fn composed(name: &str) -> String {
    name.nfc().collect()
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().nfc());
        chunk.invalid().iter().for_each(|byte| text += &format!("%{byte:02X}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_has_one_name() {
        assert_eq!(text("Lo\u{308}we".as_bytes()), text("Löwe".as_bytes()));
        assert_eq!(composed("e\u{301}"), "é");
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_text_are_names() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let name = |bytes: &'static [u8]| without_ending(Path::new(OsStr::from_bytes(bytes)), &[".nii.gz"]);
        assert_eq!(name(b"M\xfcller.nii.gz").as_deref(), Some("M%FCller"));
        assert_ne!(name(b"M\xfcller.nii.gz"), name(b"M\xf6ller.nii.gz"));
        assert_eq!(name(b".nii.gz"), None);
    }
}
