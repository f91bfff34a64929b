//! One opaque error type for the whole project: what went wrong, where, and how to fix it.

use std::fmt;

/// The result of everything that can fail at the boundary: files, configs, user arrays, device transfers.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and how to fix it.
///
/// Printed as `PLACE: WHAT (REMEDY)` on one line. Places nest: each caller that knows more prepends its own with
/// [`Error::at`]. Names of files and keys are untrusted, so characters that could control a terminal are printed
/// escaped: control characters, line breaks, and bidirectional formatting marks.
///
/// ```
/// use segcal_core::Error;
/// let error = Error::new("the label holds 7, the config names 3 classes").at("case_01.nii.gz").help("set classes = 8");
/// assert_eq!(error.to_string(), "case_01.nii.gz: the label holds 7, the config names 3 classes (set classes = 8)");
/// ```
pub struct Error(Box<Parts>);

struct Parts {
    what: String,
    places: Vec<String>,
    remedy: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error whose message is `what`.
    pub fn new(what: impl Into<String>) -> Self {
        Self(Box::new(Parts { what: what.into(), places: Vec::new(), remedy: None, source: None }))
    }

    /// Wraps an error from another library; its text becomes the message.
    pub fn from_source(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        let mut error = Self::new(source.to_string());
        error.0.source = Some(source);
        error
    }

    /// Prepends a place (file, key, case) to the places that are already known. A place that equals the first one is
    /// not repeated.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        let place = place.to_string();
        if self.0.places.first() != Some(&place) {
            self.0.places.insert(0, place);
        }
        self
    }

    /// Sets the remedy. The first remedy given is kept, because it comes from closest to the cause.
    #[must_use]
    pub fn help(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy.get_or_insert_with(|| remedy.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in &self.0.places {
            write!(f, "{}: ", Printable(place))?;
        }
        write!(f, "{}", Printable(&self.0.what))?;
        self.0.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, " ({})", Printable(remedy)))
    }
}

/// Text that is safe to show on a terminal: characters that could control it, including line breaks, are escaped.
///
/// ```
/// assert_eq!(segcal_core::Printable("a\u{1b}[2Jμ\n").to_string(), r"a\u{1b}[2Jμ\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| if drives(c) { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") })
    }
}

/// Whether a terminal would act on the character instead of showing it: ASCII and Latin-1 control characters, line and
/// paragraph separators, and the embeddings, overrides, isolates and marks of bidirectional text.
fn drives(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        Self::from_source(source)
    }
}

/// Adds a place to the error of a result.
pub trait Context<T> {
    /// Converts the error into an [`Error`] and prepends `place`.
    ///
    /// # Errors
    /// The error of `self`, with the place prepended.
    fn at(self, place: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn at(self, place: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().at(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_nest_and_the_first_remedy_stays() {
        let inner: std::result::Result<(), _> = Err(Error::new("bad").help("mend"));
        let error = inner.at("field").at("file").unwrap_err().help("another");
        assert_eq!(error.to_string(), "file: field: bad (mend)");
        assert_eq!(Error::new("bad").at("file").at("file").to_string(), "file: bad");
    }

    #[test]
    fn what_drives_a_terminal_is_escaped_wherever_it_stands() {
        let error = Error::new("holds \u{9b}2J").at("a\u{1b}[31m\nb\u{202e}.nii").help("see \u{7}\u{2028}x");
        let shown = r"a\u{1b}[31m\nb\u{202e}.nii: holds \u{9b}2J (see \u{7}\u{2028}x)";
        assert_eq!(error.to_string(), shown);
        assert_eq!(format!("{error:?}"), shown);
        // Anything else is shown as it is, and nothing is escaped twice.
        let plain = "Übung_01 \"μ\" 'x' C:\\t 頭部.nii";
        assert_eq!(Error::from_source(Error::new(plain)).to_string(), plain);
        assert_eq!(Error::from_source(Error::new("\n")).to_string(), r"\n");
    }

    #[test]
    fn a_foreign_error_keeps_its_text_and_source() {
        let error = Error::from(std::io::Error::other("disk"));
        assert_eq!(error.to_string(), "disk");
        assert!(std::error::Error::source(&error).is_some());
    }
}
