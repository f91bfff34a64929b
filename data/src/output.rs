//! Writing results: strict JSON, and files that appear complete or not at all.

use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use segcal_core::{Context, Error, Result};
use segcal_models::whole_file;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::failure::WriteFailure;
pub use crate::failure::{is_write_failure, write_failure};
pub use crate::lock::Lock;
use crate::lock::{self, LOCK};
use crate::part::Part;
use crate::xml;

/// A count with its noun: `1 case`, `2 cases`.
///
/// ```
/// assert_eq!(segcal_data::output::counted(1, "case"), "1 case");
/// ```
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Formats a JSON document, indented.
///
/// # Errors
/// A map in the document has keys that are not strings.
pub fn to_json(document: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(document).map_err(Error::from_source)
}

/// Writes a JSON document as [`to_json`] formats it, with a line end, without holding its text in memory.
///
/// # Errors
/// Those of `out`, or a map in the document has keys that are not strings.
pub fn write_json(out: &mut dyn Write, document: &impl Serialize) -> Result<()> {
    // An error of `out` stays what it was: it tells write failures from others.
    serde_json::to_writer_pretty(&mut *out, document).map_err(io::Error::from)?;
    Ok(out.write_all(b"\n")?)
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

/// [`number`] for a struct field: `#[serde(serialize_with = "output::serialize_number")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize_number<S: Serializer>(x: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match not_finite(*x) {
        Some(name) => serializer.serialize_str(name),
        None => serializer.serialize_f64(*x),
    }
}

/// A number in strict JSON: NaN and the infinities are stored as strings.
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
            // Rust parses "nan", "inf" and "-inf" as it formats them.
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

/// Escapes text for HTML and SVG. Characters that XML forbids become U+FFFD.
///
/// ```
/// assert_eq!(segcal_data::output::escape("a < \"b\" & c"), "a &lt; &quot;b&quot; &amp; c");
/// ```
pub fn escape(text: &str) -> String {
    xml::legal(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A CSV table: comma-separated, lines end in `\n`, fields are quoted where needed.
///
/// ```
/// use segcal_data::output::Csv;
/// let mut table = Csv::new(&["case", "value"]);
/// table.row(&[&"a, \"b\"", &0.5]);
/// assert_eq!(table.finish(), "case,value\n\"a, \"\"b\"\"\",0.5\n");
/// ```
pub struct Csv(csv::Writer<Vec<u8>>);

impl Csv {
    /// Starts a table with these column names.
    pub fn new<S: AsRef<str>>(columns: &[S]) -> Self {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let columns = columns.iter().map(|column| guarded(column.as_ref().to_owned()));
        writer.write_record(columns.collect::<Vec<_>>()).expect("writing to memory cannot fail");
        Self(writer)
    }

    /// Appends a row. Panics unless it has one field per column.
    pub fn row(&mut self, fields: &[&dyn std::fmt::Display]) {
        let fields = fields.iter().map(|field| guarded(field.to_string()));
        self.0.write_record(fields.collect::<Vec<_>>()).expect("a row needs one field per column");
    }

    /// Writes the rows so far and forgets them, so that memory does not hold a long table.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn pass_on(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let rows = std::mem::replace(&mut self.0, csv::Writer::from_writer(Vec::new()));
        out.write_all(&rows.into_inner().expect("writing to memory cannot fail"))
    }

    /// The text of the table, without rows that were passed on.
    pub fn finish(self) -> String {
        let bytes = self.0.into_inner().expect("writing to memory cannot fail");
        String::from_utf8(bytes).expect("fields are text")
    }
}

/// Guards a field against being read as a formula by a spreadsheet: an apostrophe is put in front if it would be, or if
/// it already begins with an apostrophe; [`plain`] undoes this.
fn guarded(field: String) -> String {
    if field.starts_with(FORMULA) && field.parse::<f64>().is_err() { format!("'{field}") } else { field }
}

/// First characters of fields that must be guarded.
const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

/// The original text of a field read from a [`Csv`].
pub fn plain(field: &str) -> &str {
    field.strip_prefix('\'').filter(|rest| rest.starts_with(FORMULA)).unwrap_or(field)
}

/// Writes a file that appears complete or not at all; see [`segcal_models::whole_file::write`].
///
/// # Errors
/// Those of `fill`, or the folder or disk cannot be written (recognised by [`is_write_failure`]).
pub fn write_atomic(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let written = whole_file::write(path, |out| fill(&mut Marking(out)).map_err(Fault::Content));
    let told = written.map_err(|fault| match fault {
        Fault::File(error) => write_failure(&error),
        Fault::Content(error) => error,
    });
    told.at(path.display())
}

/// Why a file could not be written: the file itself failed, or producing its content did.
enum Fault {
    File(io::Error),
    Content(Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Marks errors of the file itself, to distinguish them from errors of the content being written.
struct Marking<W>(W);

impl<W: Write> Write for Marking<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| io::Error::new(error.kind(), WriteFailure::of(&error)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| io::Error::new(error.kind(), WriteFailure::of(&error)))
    }
}

/// Writes a text file, complete or not at all; see [`write_atomic`].
///
/// # Errors
/// Those of [`write_atomic`].
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomic(path, |out| Ok(out.write_all(text.as_bytes())?))
}

/// Claims the path of a single-file result, so that a problem with it is found before hours of work and not after.
/// Until the claim is dropped, other processes are refused. Unfinished files of killed writers in the folder are
/// removed.
///
/// # Errors
/// The result would replace one of the `inputs` or something that is not a regular file, its folder does not exist or
/// cannot be written, or another process is writing it.
pub fn claim<'a>(path: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<Lock> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let error = Error::from_source(WriteFailure::of(&io::Error::from(ErrorKind::NotFound))).at(folder.display());
        return Err(error.help("create the folder first"));
    }
    if let Ok(real) = path.canonicalize() {
        if inputs.into_iter().any(|input| input.canonicalize().is_ok_and(|input| input == real)) {
            let error = Error::new("is an input; inputs are never overwritten").at(path.display());
            return Err(error.help("choose another name"));
        }
        if !path.is_symlink() && !real.is_file() {
            return Err(Error::new("is not a regular file").at(path.display()).help("choose another name"));
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lock = Lock::take(&folder.join(format!(".{name}{LOCK}")), true)?.ok_or_else(|| {
        let error = Error::new("another process is writing this file").at(path.display());
        error.help("wait until it ends, or choose another name")
    })?;
    whole_file::remove_unfinished(folder);
    Ok(lock)
}

/// Removes a file if it exists.
///
/// # Errors
/// Its folder cannot be written.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(write_failure(&error)).at(path.display()),
        _ => Ok(()),
    }
}

/// A folder for results; nothing is written outside it.
#[derive(Clone, Debug)]
pub struct OutputFolder {
    path: PathBuf,
    /// Held until the last clone is dropped.
    _lock: Option<Arc<Lock>>,
}

impl OutputFolder {
    /// Creates the folder (and its parents) if it does not exist.
    ///
    /// # Errors
    /// It cannot be created, or is a file.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if let Some(file) = path.ancestors().find(|path| path.exists() && !path.is_dir()) {
            return Err(Error::new("is a file, not a folder").at(file.display()).help("choose another output folder"));
        }
        whole_file::create_folder(&path).map_err(|error| write_failure(&error)).at(path.display())?;
        Ok(Self { path, _lock: None })
    }

    /// Like [`OutputFolder::create`], for one writer at a time: other writers are refused until the value is dropped or
    /// the process ends. Unfinished files of killed writers are removed, here and in the direct subfolders.
    ///
    /// # Errors
    /// Those of [`OutputFolder::create`]; another process is writing to the folder, or its lock is not a regular file.
    pub fn exclusive(path: impl Into<PathBuf>) -> Result<Self> {
        let folder = Self::create(path)?;
        let lock = Lock::take(&folder.file(LOCK)?, true)?.ok_or_else(|| {
            Error::new("another process is writing to this folder")
                .at(folder.path.display())
                .help("wait until it ends, or choose another output folder")
        })?;
        folder.remove_unfinished();
        Ok(Self { _lock: Some(Arc::new(lock)), ..folder })
    }

    /// Like [`OutputFolder::create`], for several writers at once, each with its own files: while any of them is at
    /// work, [`exclusive`] is refused, and vice versa.
    ///
    /// [`exclusive`]: OutputFolder::exclusive
    ///
    /// # Errors
    /// Those of [`OutputFolder::exclusive`].
    pub fn shared(path: impl Into<PathBuf>) -> Result<Self> {
        let folder = Self::create(path)?;
        let lock = Lock::share(&folder.file(LOCK)?)?.ok_or_else(|| {
            Error::new("another process is writing to this folder, and not only its part of the cases")
                .at(folder.path.display())
                .help("wait until it ends, or choose another output folder")
        })?;
        Ok(Self { _lock: Some(Arc::new(lock)), ..folder })
    }

    /// [`shared`](OutputFolder::shared) for a part of the cases, [`exclusive`](OutputFolder::exclusive) for all of
    /// them.
    ///
    /// # Errors
    /// Those of the two.
    pub fn for_part(path: impl Into<PathBuf>, part: Part) -> Result<Self> {
        if part.is_whole() { Self::exclusive(path) } else { Self::shared(path) }
    }

    /// Removes unfinished files of killed writers, here and in the direct subfolders. Only the exclusive writer may
    /// call this.
    pub fn remove_unfinished(&self) {
        lock::remove_unfinished(&self.path);
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the folder for one writer until the lock is dropped or the process ends; `None` if another process holds
    /// the lock. The lock file is kept.
    ///
    /// # Errors
    /// The folder cannot be written, or the lock is not a regular file.
    pub fn lock(&self) -> Result<Option<Lock>> {
        Lock::take(&self.file(LOCK)?, false)
    }

    /// The path of a file in the folder; missing folders on the way are created.
    ///
    /// # Errors
    /// `name` is empty, absolute, contains `..`, or leads through a symbolic link, and so could end up outside; or a
    /// folder on the way cannot be created.
    pub fn file(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let name = name.as_ref();
        let inside = name.components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || name.file_name().is_none() {
            return Err(Error::new(format!("the output name \"{}\" points outside the folder", name.display()))
                .at(self.path.display())
                .help("case names must be plain file names"));
        }
        let mut folder = self.path.clone();
        for part in name.parent().unwrap_or(Path::new("")).components() {
            folder.push(part);
            if folder.is_symlink() {
                return Err(Error::new("is a symbolic link inside an output folder")
                    .at(folder.display())
                    .help("remove the link or choose another output folder"));
            }
        }
        whole_file::create_folder(&folder).map_err(|error| write_failure(&error)).at(folder.display())?;
        Ok(self.path.join(name))
    }
}

#[cfg(test)]
mod tests;
