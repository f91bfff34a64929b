//! Where the files of each case are stored in the folder of an evaluation.

use segcal_data::hash;

/// Maximum number of cases whose files are in one folder. If there are more, they are spread over 256 folders, because
/// file systems are slow with folders of very many files.
const FEW: usize = 10_000;

/// Where the files of each case are stored. It depends only on the number of cases, including failed ones, so it is the
/// same for a single run, for its parts, and for the merged result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    many: bool,
}

impl Layout {
    /// The layout for this number of cases.
    pub const fn of(cases: usize) -> Self {
        Self { many: cases > FEW }
    }

    /// The name of a file of a case: `states/CASE.json`, or `states/3f/CASE.json` by the hash of the case name.
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

    /// Whether a subfolder with this name may contain files of cases.
    pub fn has_shard(name: &str) -> bool {
        name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }
}
