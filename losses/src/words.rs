//! Parameters that are words: an enum and its words from one list, so that none can be forgotten.

/// A parameter whose value is one of some words.
pub trait Word: Copy + 'static {
    /// Every value, in the order of the help.
    const ALL: &'static [Self];
    /// The words of [`Word::ALL`].
    const WORDS: &'static [&'static str];
}

/// Defines an enum with the word of each variant.
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis enum $Name:ident { $($(#[$of:meta])* $Variant:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $Name {
            $($(#[$of])* $Variant,)*
        }

        impl $crate::words::Word for $Name {
            const ALL: &'static [Self] = &[$(Self::$Variant),*];
            const WORDS: &'static [&'static str] = &[$($word),*];
        }
    };
}
pub(crate) use words;
