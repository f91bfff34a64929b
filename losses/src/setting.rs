//! Parameter values as given on the command line or in a config.

use std::collections::BTreeMap;
use std::fmt;

/// A parameter value as given on the command line or in a config.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// A number.
    Number(f64),
    /// A word; also `true`, `false` and `none`.
    Word(String),
    /// Several numbers, such as one per class.
    Numbers(Vec<f64>),
}

impl From<&str> for Setting {
    /// Parses a number, numbers separated by commas (with or without brackets), or else a word.
    fn from(text: &str) -> Self {
        let text = text.trim();
        // "nan" and "inf" are read as words: no parameter may be NaN or infinite.
        let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        if let Some(number) = number(text) {
            return Self::Number(number);
        }
        let inner = text.trim_start_matches('[').trim_end_matches(']');
        match inner.split(',').map(number).collect() {
            Some(numbers) => Self::Numbers(numbers),
            None => Self::Word(text.into()),
        }
    }
}

impl From<f64> for Setting {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Setting {
    fn from(flag: bool) -> Self {
        Self::Word(flag.to_string())
    }
}

impl From<Vec<f64>> for Setting {
    fn from(numbers: Vec<f64>) -> Self {
        Self::Numbers(numbers)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => write!(f, "{word}"),
            Self::Numbers(numbers) => {
                let parts: Vec<String> = numbers.iter().map(f64::to_string).collect();
                write!(f, "{}", parts.join(","))
            }
        }
    }
}

/// Parameters by name, as given by the user.
pub type Given = BTreeMap<String, Setting>;
