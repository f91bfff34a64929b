//! What is written: strict JSON, and files that are whole or not there.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_models::whole_file;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// A number of things in words: `1 case`, `2 cases`.
///
/// ```
/// assert_eq!(segcal_data::output::counted(1, "case"), "1 case");
/// ```
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The text of one JSON document, indented.
///
/// # Errors
/// A map of the document has keys that are no strings.
pub fn to_json(document: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(document).map_err(Error::from_source)
}

/// A number as strict JSON: NaN and the infinities become the strings "nan", "inf" and "-inf".
///
/// ```
/// assert_eq!(segcal_data::output::number(0.5).to_string(), "0.5");
/// assert_eq!(segcal_data::output::number(f64::NEG_INFINITY).to_string(), "\"-inf\"");
/// ```
pub fn number(x: f64) -> Value {
    match not_finite(x) {
        Some(name) => name.into(),
        None => x.into(),
    }
}

/// [`number`] for a field of a struct: `#[serde(serialize_with = "output::serialize_number")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize_number<S: Serializer>(x: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match not_finite(*x) {
        Some(name) => serializer.serialize_str(name),
        None => serializer.serialize_f64(*x),
    }
}

/// A number that strict JSON can hold: NaN and the infinities are strings.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serialize_number(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Name(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(x) => Ok(Self(x)),
            // Rust reads "nan", "inf" and "-inf" as it writes them.
            Form::Name(name) => name.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

fn not_finite(x: f64) -> Option<&'static str> {
    if x.is_nan() {
        Some("nan")
    } else if x == f64::INFINITY {
        Some("inf")
    } else if x == f64::NEG_INFINITY {
        Some("-inf")
    } else {
        None
    }
}

/// Text as HTML and SVG show it.
///
/// ```
/// assert_eq!(segcal_data::output::escape("a < \"b\" & c"), "a &lt; &quot;b&quot; &amp; c");
/// ```
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table as CSV: commas, lines that end in `\n`, quotes around fields that need them.
///
/// ```
/// use segcal_data::output::Csv;
/// let mut table = Csv::new(&["case", "value"]);
/// table.row(&[&"a, \"b\"", &0.5]);
/// assert_eq!(table.finish(), "case,value\n\"a, \"\"b\"\"\",0.5\n");
/// ```
pub struct Csv(csv::Writer<Vec<u8>>);

impl Csv {
    /// A table with the names of its columns.
    pub fn new<S: AsRef<str>>(columns: &[S]) -> Self {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(columns.iter().map(AsRef::as_ref)).expect("memory can be written");
        Self(writer)
    }

    /// One more row. Panics unless it has a field for each column.
    pub fn row(&mut self, fields: &[&dyn fmt::Display]) {
        let fields = fields.iter().map(ToString::to_string);
        self.0.write_record(fields.collect::<Vec<_>>()).expect("a field for each column");
    }

    /// The text of the table.
    pub fn finish(self) -> String {
        let bytes = self.0.into_inner().expect("memory can be written");
        String::from_utf8(bytes).expect("fields are text")
    }
}

/// Writes a file that appears whole or not at all; see [`segcal_models::whole_file::write`].
///
/// # Errors
/// Those of `fill`, and a folder or disk that cannot be written (recognised by [`is_write_failure`]).
pub fn write_atomic(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let written = whole_file::write(path, |out| fill(&mut Marking(out)).map_err(Fault::Content));
    let told = written.map_err(|fault| match fault {
        Fault::File(error) => write_failure(&error),
        Fault::Content(error) => error,
    });
    told.at(path.display())
}

/// Why a file could not be written: the file itself, or what was to go into it.
enum Fault {
    File(io::Error),
    Content(Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Marks the errors of the file itself, so that they are told from the errors of what is being written.
struct Marking<W>(W);

impl<W: Write> Write for Marking<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| io::Error::new(error.kind(), WriteFailure(error.to_string())))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| io::Error::new(error.kind(), WriteFailure(error.to_string())))
    }
}

/// Writes text, whole or not at all; see [`write_atomic`].
///
/// # Errors
/// Those of [`write_atomic`].
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomic(path, |out| Ok(out.write_all(text.as_bytes())?))
}

/// Removes a file, if it is there.
///
/// # Errors
/// Its folder cannot be written.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(write_failure(&error)).at(path.display()),
        _ => Ok(()),
    }
}

/// A folder that results go into, and never out of.
#[derive(Clone, Debug)]
pub struct OutputFolder(PathBuf);

impl OutputFolder {
    /// Makes the folder (and those above it) where it does not exist yet.
    ///
    /// # Errors
    /// It cannot be made, or is a file.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if let Some(file) = path.ancestors().find(|path| path.exists() && !path.is_dir()) {
            return Err(Error::new("is a file, not a folder").at(file.display()).help("choose another output folder"));
        }
        whole_file::create_folder(&path).map_err(|error| write_failure(&error)).at(path.display())?;
        Ok(Self(path))
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Locks the folder for one writer, until the file is dropped or the process ends; `None` if another process holds it.
    ///
    /// # Errors
    /// The folder cannot be written, or the lock is a symbolic link.
    pub fn lock(&self) -> Result<Option<File>> {
        let path = self.file(".lock")?;
        if path.is_symlink() {
            return Err(Error::new("is a symbolic link").at(path.display()).help("remove it: nobody holds it"));
        }
        // Never truncated: whatever has this name, the lock is not its content.
        let lock = File::options().create(true).write(true).truncate(false).open(&path);
        let lock = lock.map_err(|error| write_failure(&error)).at(path.display())?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).at(path.display()),
        }
    }

    /// The place of a file in the folder; folders between are made.
    ///
    /// # Errors
    /// `name` is empty, absolute, holds `..`, or leads through a symbolic link: it could end up outside. Or a folder
    /// between cannot be made.
    pub fn file(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let name = name.as_ref();
        let inside = name.components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || name.file_name().is_none() {
            return Err(Error::new(format!("the output name \"{}\" leads out of the folder", name.display()))
                .at(self.0.display())
                .help("case names must be plain file names"));
        }
        let mut folder = self.0.clone();
        for part in name.parent().unwrap_or(Path::new("")).components() {
            folder.push(part);
            if folder.is_symlink() {
                return Err(Error::new("is a symbolic link inside an output folder")
                    .at(folder.display())
                    .help("remove the link or choose another output folder"));
            }
        }
        whole_file::create_folder(&folder).map_err(|error| write_failure(&error)).at(folder.display())?;
        Ok(self.0.join(name))
    }
}

/// Marks an error as one of writing.
#[derive(Debug)]
struct WriteFailure(String);

impl fmt::Display for WriteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot be written: {}", self.0)
    }
}

impl std::error::Error for WriteFailure {}

/// The error of a result that cannot be written: exit status 1, not 2.
pub fn write_failure(error: &io::Error) -> Error {
    Error::from_source(WriteFailure(error.to_string())).help("check free space and the rights of the folder")
}

/// Whether an error came from writing a result, as opposed to unreadable input or wrong usage.
pub fn is_write_failure(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        // What an io::Error was made of is not its `source`, but behind `get_ref`.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<WriteFailure>() || inside.is_some_and(<dyn std::error::Error + Send + Sync>::is::<WriteFailure>) {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_text(&path, "old").unwrap();
        let error = write_atomic(&path, |out| {
            out.write_all(b"new")?;
            Err(Error::new("stop"))
        });
        assert!(error.unwrap_err().to_string().contains("a.txt: stop"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file is gone");
    }

    #[test]
    fn a_missing_folder_is_a_write_failure_and_bad_content_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_text(&folder.path().join("no/such/x"), "").unwrap_err();
        assert!(is_write_failure(&error), "{error}");
        assert!(!is_write_failure(&Error::new("x")));
        let full = Path::new("/dev/full");
        if full.exists() {
            let mut out = Marking(fs::File::options().write(true).open(full).unwrap());
            assert!(is_write_failure(&out.write_all(b"x").map_err(Error::from).unwrap_err()));
        }
    }

    #[test]
    fn names_that_climb_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let out = OutputFolder::create(root.path().join("out")).unwrap();
        for name in ["../x", "/etc/x", "a/../../x", "", ".", "a/..", ".."] {
            let error = out.file(name).unwrap_err().to_string();
            assert!(error.contains("leads out"), "{name}: {error}");
        }
        assert!(out.file("plots/a.svg").unwrap().parent().unwrap().is_dir());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.path(), out.path().join("link")).unwrap();
            assert!(out.file("link/x").unwrap_err().to_string().contains("symbolic link"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        write_text(&target, "target").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_text(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "target");
        assert_eq!(fs::read_to_string(&link).unwrap(), "new");
    }

    #[test]
    fn json_has_no_literal_for_nan() {
        #[derive(Serialize)]
        struct Row {
            #[serde(serialize_with = "serialize_number")]
            value: f64,
        }
        let row = |value| serde_json::to_string(&Row { value }).unwrap();
        assert_eq!(row(f64::NAN), "{\"value\":\"nan\"}");
        assert_eq!(row(f64::INFINITY), "{\"value\":\"inf\"}");
        assert_eq!(row(0.25), "{\"value\":0.25}");
    }
}
