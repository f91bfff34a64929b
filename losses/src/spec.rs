//! What a loss or a prior says about itself, and the checking of the parameters that it is given.

use std::fmt;

use segcal_core::{Error, Result, nearest};

use crate::setting::{Given, Setting};
use crate::words::Word;

/// Which of two definitions of a loss is meant; each loss documents both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Convention {
    /// What the authors' public code computes: its reductions, borders and constants. Published hyper-parameters
    /// belong to it.
    #[default]
    Authors,
    /// The formula as printed.
    Paper,
}

impl Convention {
    /// Every convention.
    pub const ALL: &[Self] = &[Self::Authors, Self::Paper];

    /// The name as it is written on the command line and in configs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authors => "authors",
            Self::Paper => "paper",
        }
    }

    /// The convention of a name.
    ///
    /// # Errors
    /// The name is neither `authors` nor `paper`.
    pub fn from_name(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|convention| convention.as_str() == name);
        found.copied().ok_or_else(|| Error::new(format!("unknown convention \"{name}\"")).help("authors or paper"))
    }
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    /// A number, both ends included; an infinite end is none.
    Closed(f64, f64),
    /// A number above the first and up to the second.
    Above(f64, f64),
    /// An odd whole number, both ends included.
    Odd(f64, f64),
    /// A whole number, both ends included.
    Whole(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// `none` or a whole number.
    Label,
    /// `none` or numbers of at least 0, one per class.
    Weights,
    /// One number or one per multiplier, each within both ends.
    Each(f64, f64),
    /// The name of a member of another list, such as that of the priors; its own parameters then count as parameters,
    /// too.
    Member(&'static [Spec]),
}

impl Range {
    /// The setting in the form that the loss reads, or `None` if it is out of range.
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
    /// Value where none is given.
    pub default: &'static str,
    /// Value where none is given, in the convention `paper`, if it is another one.
    pub paper_default: Option<&'static str>,
    /// What it may be.
    pub range: Range,
    /// What it does, and its unit.
    pub doc: &'static str,
    /// What the papers tried and reported; empty where they say nothing.
    pub reported: &'static str,
    /// Another parameter and the word at which this one exists; always if `None`.
    pub only_with: Option<(&'static str, &'static str)>,
}

impl Param {
    /// A parameter with the same default in both conventions.
    pub const fn new(name: &'static str, default: &'static str, range: Range, doc: &'static str) -> Self {
        Self { name, default, paper_default: None, range, doc, reported: "", only_with: None }
    }

    /// The same with another default in the convention `paper`.
    #[must_use]
    pub const fn paper(mut self, default: &'static str) -> Self {
        self.paper_default = Some(default);
        self
    }

    /// The same with what the papers tried and reported.
    #[must_use]
    pub const fn reported(mut self, values: &'static str) -> Self {
        self.reported = values;
        self
    }

    /// The same, as a parameter that exists only where an earlier one is this word.
    #[must_use]
    pub const fn only_with(mut self, param: &'static str, word: &'static str) -> Self {
        self.only_with = Some((param, word));
        self
    }

    /// The value where none is given.
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

/// What a loss or a prior says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Name on the command line and in configs.
    pub name: &'static str,
    /// One line.
    pub title: &'static str,
    /// Paper and equation.
    pub source: &'static str,
    /// Whether an image is needed.
    pub image: bool,
    /// How many views of a batch it compares; of more than 1, the second comes by
    /// [`Batch::with_second`](crate::Batch::with_second).
    pub views: usize,
    /// Parameters, in groups.
    pub params: &'static [&'static [Param]],
}

impl Spec {
    /// Every parameter; one that several parts share comes once.
    pub fn params(&self) -> impl Iterator<Item = &'static Param> + use<> {
        let groups = self.params;
        let all = move || groups.iter().flat_map(|group| group.iter());
        all()
            .enumerate()
            .filter(move |(number, param)| all().take(*number).all(|known| known.name != param.name))
            .map(|(_, param)| param)
    }

    /// The parameters of this spec, those not given at their defaults.
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

/// Checked parameters, all of them, with the convention.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which definition is meant.
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

    /// Whether the loss, or the prior that it names, needs an image.
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

    /// The value of a parameter of the spec; asking for another is a bug and panics.
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

    /// A parameter that is several numbers; none of them for `none`.
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

    /// The same parameters as they could be given again, for the prior that a loss holds.
    pub(crate) fn given_for(&self, spec: &Spec) -> Given {
        spec.params().map(|param| (param.name.to_string(), self.get(param.name).clone())).collect()
    }
}

/// The error for a name that does not exist, with the nearest that does.
pub(crate) fn unknown(kind: &str, name: &str, known: &[&str]) -> Error {
    let all = if known.is_empty() { "there are none".into() } else { format!("there are {}", known.join(", ")) };
    Error::new(format!("there is no {kind} \"{name}\"")).help(match nearest(name, known.iter().copied()) {
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
