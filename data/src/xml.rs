//! Names in drawings and pages.

use std::borrow::Cow;

/// The text without the characters that XML 1.0 (section 2.2) forbids, each replaced by U+FFFD: with one of them no reader
/// takes a drawing.
///
/// ```
/// assert_eq!(segcal_data::xml::legal("a\u{1b}b"), "a\u{fffd}b");
/// assert_eq!(segcal_data::xml::legal("a\tb"), "a\tb");
/// ```
pub fn legal(text: &str) -> Cow<'_, str> {
    let forbidden = |c: char| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    if text.contains(forbidden) { text.replace(forbidden, "\u{fffd}").into() } else { text.into() }
}
