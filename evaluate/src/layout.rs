//! Where in the folder of an evaluation what is stored of each case lies.

use segcal_data::hash;

/// Cases whose files lie in one folder; of more, they lie in 256, because file systems are slow with folders of very
/// many files.
const FEW: usize = 10_000;

/// Where the files of each case lie. It follows from the number of cases, those that failed among them, and so is the
/// same for one run, for its parts and for what is merged of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    many: bool,
}

impl Layout {
    /// That of so many cases.
    pub const fn of(cases: usize) -> Self {
        Self { many: cases > FEW }
    }

    /// The name of a case's file of a kind: `states/CASE.json`, or `states/3f/CASE.json` by the hash of the name.
    ///
    /// ```
    /// use segcal_evaluate::layout::Layout;
    /// assert_eq!(Layout::of(200).file("states", "a", "json"), "states/a.json");
    /// assert_eq!(Layout::of(20_000).file("states", "a", "json"), "states/ca/a.json");
    /// ```
    pub fn file(self, folder: &str, case: &str, ending: &str) -> String {
        if !self.many {
            return format!("{folder}/{case}.{ending}");
        }
        let shard = &hash::of_bytes(case.as_bytes())[..2];
        format!("{folder}/{shard}/{case}.{ending}")
    }

    /// Whether a folder of such files may have a folder of this name inside.
    pub fn has_shard(name: &str) -> bool {
        name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }
}
