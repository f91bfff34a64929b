//! Parameters that are words. An enum and its words are defined by one list, so that they stay in sync.

/// A parameter whose value is one of a fixed set of words.
pub trait Word: Copy + 'static {
    /// Every value, in the order of the help text.
    const ALL: &'static [Self];
    /// The words for [`Word::ALL`], in the same order.
    const WORDS: &'static [&'static str];
}

/// Defines an enum with a word for each variant.
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
