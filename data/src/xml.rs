//! Text in SVG and HTML.

use std::borrow::Cow;

/// Replaces each character that XML 1.0 (section 2.2) forbids by U+FFFD: no reader accepts an SVG that contains one.
///
/// ```
/// assert_eq!(segcal_data::xml::legal("a\u{1b}b"), "a\u{fffd}b");
/// assert_eq!(segcal_data::xml::legal("a\tb"), "a\tb");
/// ```
pub fn legal(text: &str) -> Cow<'_, str> {
    let forbidden = |c: char| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    if text.contains(forbidden) { text.replace(forbidden, "\u{fffd}").into() } else { text.into() }
}
