//! Divides a list of cases into parts that are processed separately: by the tasks of a job array, or on several
//! machines.

use std::fmt::{Display, Formatter};

use segcal_core::{Error, Result};

/// Part `id` of `count`, counted from 0: case `k` of the sorted list belongs to part `k mod count`.
///
/// ```
/// use segcal_data::part::Part;
/// assert_eq!(Part::new(1, 3)?.of(vec!["a", "b", "c", "d", "e"]), ["b", "e"]);
/// assert!(Part::new(3, 3).is_err());
/// # Ok::<(), segcal_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    id: usize,
    count: usize,
}

impl Part {
    /// All cases.
    pub const WHOLE: Self = Self { id: 0, count: 1 };

    /// Creates part `id` of `count`.
    ///
    /// # Errors
    /// `id` is not below `count`.
    pub fn new(id: usize, count: usize) -> Result<Self> {
        if id < count {
            return Ok(Self { id, count });
        }
        let error = Error::new(format!("there is no part {id} of {count}"));
        Err(error.help(format!("parts are numbered from 0: give 0 to {}", count.saturating_sub(1))))
    }

    /// Its number, from 0.
    pub const fn id(self) -> usize {
        self.id
    }

    /// The number of parts.
    pub const fn count(self) -> usize {
        self.count
    }

    /// Whether this is the only part.
    pub const fn is_whole(self) -> bool {
        self.count == 1
    }

    /// Selects the members of this part from a sorted list.
    pub fn of<T>(self, sorted: Vec<T>) -> Vec<T> {
        sorted.into_iter().skip(self.id).step_by(self.count).collect()
    }
}

impl Display for Part {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        write!(out, "part {} of {}", self.id, self.count)
    }
}
