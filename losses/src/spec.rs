//! The description of a loss or a prior, and the validation of its parameters.

use std::fmt;

use segcal_core::{Error, Result, nearest};

use crate::setting::{Given, Setting};
use crate::words::Word;

/// Which of the two definitions of a loss to use; each loss documents both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Convention {
    /// What the authors' public code computes: its reductions, borders and constants. Published hyper-parameters refer
    /// to this definition.
    #[default]
    Authors,
    /// The formula as printed.
    Paper,
}

impl Convention {
    /// Every convention.
    pub const ALL: &[Self] = &[Self::Authors, Self::Paper];

    /// The name used on the command line and in configs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authors => "authors",
            Self::Paper => "paper",
        }
    }

    /// Parses a convention from its name.
    ///
    /// # Errors
    /// The name is neither `authors` nor `paper`.
    pub fn from_name(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|convention| convention.as_str() == name);
        found.copied().ok_or_else(|| Error::new(format!("unknown convention \"{name}\"")).help("authors or paper"))
    }
}

/// The values that a parameter accepts.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    /// A number in a closed interval; an infinite end means no limit.
    Closed(f64, f64),
    /// A number above the first and at most the second.
    Above(f64, f64),
    /// An odd whole number in a closed interval.
    Odd(f64, f64),
    /// A whole number in a closed interval.
    Whole(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// `none` or a whole number.
    Label,
    /// `none` or numbers of at least 0, one per class.
    Weights,
    /// One number or one per multiplier, each in a closed interval.
    Each(f64, f64),
    /// The name of a member of another list, such as the priors; that member's own parameters are then accepted as
    /// well.
    Member(&'static [Spec]),
}

impl Range {
    /// Returns the setting in the form that the loss reads, or `None` if it is out of range.
    fn accept(self, setting: &Setting) -> Option<Setting> {
        let within = |x: f64, low: f64, high: f64| x.is_finite() && low <= x && x <= high;
        let ok = match (self, setting) {
            (Self::Closed(low, high), &Setting::Number(x)) => within(x, low, high),
            (Self::Above(low, high), &Setting::Number(x)) => x > low && within(x, low, high),
            (Self::Odd(low, high), &Setting::Number(x)) => within(x, low, high) && x.rem_euclid(2.0) == 1.0,
            (Self::Whole(low, high), &Setting::Number(x)) => within(x, low, high) && x.fract() == 0.0,
            (Self::Label, &Setting::Number(x)) => x.is_finite() && x.fract() == 0.0,
            (Self::OneOf(words), Setting::Word(word)) => words.contains(&word.as_str()),
            (Self::Flag, Setting::Word(word)) => word == "true" || word == "false",
            (Self::Label | Self::Weights, Setting::Word(word)) => word == "none",
            (Self::Member(list), Setting::Word(word)) => list.iter().any(|spec| spec.name == word),
            (Self::Weights, Setting::Numbers(numbers)) => {
                numbers.iter().all(|&x| within(x, 0.0, f64::MAX)) && numbers.iter().any(|&x| x > 0.0)
            }
            (Self::Each(low, high), Setting::Numbers(numbers)) => numbers.iter().all(|&x| within(x, low, high)),
            (Self::Weights | Self::Each(..), &Setting::Number(x)) => {
                return self.accept(&Setting::Numbers(vec![x]));
            }
            _ => false,
        };
        ok.then(|| setting.clone())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Closed(low, high) if high.is_infinite() => write!(f, "a number of at least {low}"),
            Self::Closed(low, high) => write!(f, "a number from {low} to {high}"),
            Self::Above(low, high) if high.is_infinite() => write!(f, "a number above {low}"),
            Self::Above(low, high) => write!(f, "a number above {low}, up to {high}"),
            Self::Odd(low, high) => write!(f, "an odd whole number from {low} to {high}"),
            Self::Whole(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::OneOf(words) => write!(f, "{}", words.join(" | ")),
            Self::Flag => write!(f, "true | false"),
            Self::Label => write!(f, "none or a whole number"),
            Self::Weights => write!(f, "none or numbers of at least 0, one per class, not all 0"),
            Self::Each(low, high) => write!(f, "one number or one per multiplier, each from {low} to {high}"),
            Self::Member(list) => {
                let names: Vec<&str> = list.iter().map(|spec| spec.name).collect();
                write!(f, "{}", names.join(" | "))
            }
        }
    }
}

/// One parameter of a loss or a prior.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name, as in the papers.
    pub name: &'static str,
    /// Default value.
    pub default: &'static str,
    /// Default value in the convention `paper`, if it differs.
    pub paper_default: Option<&'static str>,
    /// The values it accepts.
    pub range: Range,
    /// What it does, and its unit.
    pub doc: &'static str,
    /// Values that the papers tried and reported; empty if they report none.
    pub reported: &'static str,
    /// The parameter and its value for which this parameter exists; `None` if it always exists.
    pub only_with: Option<(&'static str, &'static str)>,
}

impl Param {
    /// Creates a parameter with the same default in both conventions.
    pub const fn new(name: &'static str, default: &'static str, range: Range, doc: &'static str) -> Self {
        Self { name, default, paper_default: None, range, doc, reported: "", only_with: None }
    }

    /// Sets a different default for the convention `paper`.
    #[must_use]
    pub const fn paper(mut self, default: &'static str) -> Self {
        self.paper_default = Some(default);
        self
    }

    /// Sets the values that the papers tried and reported.
    #[must_use]
    pub const fn reported(mut self, values: &'static str) -> Self {
        self.reported = values;
        self
    }

    /// Makes the parameter exist only if the earlier parameter `param` is `word`.
    #[must_use]
    pub const fn only_with(mut self, param: &'static str, word: &'static str) -> Self {
        self.only_with = Some((param, word));
        self
    }

    /// The default value in a convention.
    pub fn default_of(&self, convention: Convention) -> Setting {
        match (convention, self.paper_default) {
            (Convention::Paper, Some(default)) => default.into(),
            _ => self.default.into(),
        }
    }

    fn read(&self, setting: &Setting) -> Result<Setting> {
        let accepted = self.range.accept(setting);
        accepted.ok_or_else(|| {
            Error::new(format!("{} = {setting} is out of range", self.name)).help(format!("{}", self.range))
        })
    }
}

/// The description of a loss or a prior.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Name on the command line and in configs.
    pub name: &'static str,
    /// One-line description.
    pub title: &'static str,
    /// Paper and equation.
    pub source: &'static str,
    /// Whether an image is needed.
    pub image: bool,
    /// Number of views of a batch that it compares; a second view is passed with
    /// [`Batch::with_second`](crate::Batch::with_second).
    pub views: usize,
    /// Parameters, in groups.
    pub params: &'static [&'static [Param]],
}

impl Spec {
    /// Iterates over all parameters; one that several groups share appears once.
    pub fn params(&self) -> impl Iterator<Item = &'static Param> + use<> {
        let groups = self.params;
        let all = move || groups.iter().flat_map(|group| group.iter());
        all()
            .enumerate()
            .filter(move |(number, param)| all().take(*number).all(|known| known.name != param.name))
            .map(|(_, param)| param)
    }

    /// Validates the given parameters and fills in the defaults of the others.
    ///
    /// # Errors
    /// A name that is not a parameter, or a value out of range.
    pub fn settings(&self, given: &Given, convention: Convention) -> Result<Settings> {
        self.settings_within(given, convention).map_err(|error| error.at(self.name))
    }

    fn settings_within(&self, given: &Given, convention: Convention) -> Result<Settings> {
        let mut settings = Settings { convention, image: self.image, values: Vec::new() };
        settings.add(self.params(), given)?;
        for param in self.params() {
            if let Range::Member(list) = param.range {
                let member = list.iter().find(|spec| spec.name == settings.word(param.name));
                let member = member.expect("the range holds names of the list");
                settings.image |= member.image;
                settings.add(member.params(), given)?;
            }
        }
        for name in given.keys() {
            if !settings.values.iter().any(|(known, _)| known == name) {
                let known: Vec<&str> = settings.values.iter().map(|(known, _)| *known).collect();
                return Err(unknown("parameter", name, &known));
            }
        }
        Ok(settings)
    }
}

/// All parameters of a spec, validated, and the convention.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which definition to use.
    pub convention: Convention,
    image: bool,
    values: Vec<(&'static str, Setting)>,
}

impl Settings {
    fn add(&mut self, params: impl Iterator<Item = &'static Param>, given: &Given) -> Result<()> {
        for param in params {
            let known = self.values.iter().any(|(name, _)| *name == param.name);
            if known || param.only_with.is_some_and(|(other, word)| self.word(other) != word) {
                continue;
            }
            let default = param.default_of(self.convention);
            self.values.push((param.name, param.read(given.get(param.name).unwrap_or(&default))?));
        }
        Ok(())
    }

    /// Whether the loss, or the prior it uses, needs an image.
    pub fn needs_image(&self) -> bool {
        self.image
    }

    /// Names and values, in the order of the spec.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Setting)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }

    /// Whether the convention is `paper`.
    pub fn is_paper(&self) -> bool {
        self.convention == Convention::Paper
    }

    /// Returns the value of a parameter of the spec; panics if the spec has no such parameter, which is a bug.
    pub fn get(&self, name: &str) -> &Setting {
        let found = self.values.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("the spec has no parameter {name}")).1
    }

    /// A parameter that is a number.
    pub fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Setting::Number(number) => *number,
            other => panic!("{name} = {other} is not a number"),
        }
    }

    /// A parameter that is a whole number.
    pub fn whole(&self, name: &str) -> usize {
        self.number(name) as usize
    }

    /// A parameter that is a word.
    pub fn word(&self, name: &str) -> &str {
        match self.get(name) {
            Setting::Word(word) => word,
            other => panic!("{name} = {other} is not a word"),
        }
    }

    /// A parameter that is one of the words of an enum.
    pub fn choice<W: Word>(&self, name: &str) -> W {
        let word = self.word(name);
        let found = W::WORDS.iter().zip(W::ALL).find(|(known, _)| **known == word);
        *found.unwrap_or_else(|| panic!("{name} = {word} is not one of {}", W::WORDS.join(", "))).1
    }

    /// A parameter that is `true` or `false`.
    pub fn flag(&self, name: &str) -> bool {
        self.word(name) == "true"
    }

    /// A parameter that is a list of numbers; empty for `none`.
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        match self.get(name) {
            Setting::Numbers(numbers) => numbers.clone(),
            Setting::Number(number) => vec![*number],
            Setting::Word(_) => Vec::new(),
        }
    }

    /// A parameter that is a number or `none`.
    pub fn optional(&self, name: &str) -> Option<f64> {
        match self.get(name) {
            Setting::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The parameters of `spec` among these, in the form they are given in; used for the prior inside a loss.
    pub(crate) fn given_for(&self, spec: &Spec) -> Given {
        spec.params().map(|param| (param.name.to_string(), self.get(param.name).clone())).collect()
    }
}

/// The error for an unknown name; it suggests the nearest known one.
pub(crate) fn unknown(kind: &str, name: &str, known: &[&str]) -> Error {
    let all = if known.is_empty() { "none are known".into() } else { format!("known: {}", known.join(", ")) };
    Error::new(format!("unknown {kind} \"{name}\"")).help(match nearest(name, known.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"? {all}"),
        None => all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_what_they_look_like() {
        assert_eq!(Setting::from(" 0.5 "), Setting::Number(0.5));
        assert_eq!(Setting::from("1,2, 3"), Setting::Numbers(vec![1.0, 2.0, 3.0]));
        assert_eq!(Setting::from("[1, 2]"), Setting::Numbers(vec![1.0, 2.0]));
        assert_eq!(Setting::from("mean"), Setting::Word("mean".into()));
        assert_eq!(Setting::from("1,x"), Setting::Word("1,x".into()));
    }
}
