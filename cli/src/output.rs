//! Results on standard output: text, tables, strict JSON. Re-exports [`segcal_data::output`], which writes files.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};

use segcal_core::{Context, Printable, Result};
pub use segcal_data::output::*;
use serde::Serialize;

/// Prints results on standard output. A closed pipe (`segcal … | head`) is not an error. Names of files and cases are
/// untrusted: on a terminal, control characters other than line ends are escaped.
///
/// # Errors
/// Standard output cannot be written for another reason, such as a full disk.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() { lines_for_terminal(text).into() } else { Cow::Borrowed(text) };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(write_failure(&error)).at("standard output"),
        _ => Ok(()),
    }
}

/// Escapes each line of a text so that it is safe to show on a terminal.
pub(crate) fn lines_for_terminal(text: &str) -> String {
    text.split('\n').map(|line| Printable(line).to_string()).collect::<Vec<_>>().join("\n")
}

/// Formats rows as aligned columns, each two spaces wider than its widest word. Rows may have fewer words than others.
pub fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let length = |row: &R, column: usize| row.as_ref().get(column).map_or(0, |word| word.chars().count());
    let width = |column: usize| rows.iter().map(|row| length(row, column)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &R| {
        let words = row.as_ref().iter().zip(&widths);
        // Padded by hand: a width in a format string panics above 65,535.
        let cells: String =
            words.map(|(word, &width)| word.clone() + &" ".repeat(2 + width - word.chars().count())).collect();
        cells.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Prints one JSON document on standard output, indented, with a line end.
///
/// Numbers that may be NaN or infinite must be converted with [`number`] or [`serialize_number`] first.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_json(document: &impl Serialize) -> Result<()> {
    print(&(to_json(document)? + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_driven_by_names() {
        assert_eq!(lines_for_terminal("a\u{1b}[2J  μ\nb\tc\n"), "a\\u{1b}[2J  μ\nb\\tc\n");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_word() {
        let rows = [["a", "bb", ""], ["äöü", "b", "c"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "a    bb\näöü  b   c\n");
        let long = [["x".repeat(70_000), "y".into()], ["z".into(), String::new()]];
        assert_eq!(table(&long).lines().map(str::len).collect::<Vec<_>>(), [70_003, 1]);
    }
}
