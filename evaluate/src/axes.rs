//! The order of the axes of an array, which the array itself does not record.

use std::fmt;
use std::str::FromStr;

use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The axes of class scores in the documented order: class, depth, height, width.
const DOCUMENTED: &str = "kzyx";

/// The order of the axes of arrays: the letters `k` (class), `z`, `y` and `x`, the slowest axis first. `x` is the first
/// axis of a NIfTI file. Two-dimensional arrays have no `z` and label maps have no `k`: those letters are ignored.
///
/// ```
/// use segcal_evaluate::axes::Order;
/// let order: Order = "kxyz".parse().unwrap();
/// assert_eq!(order.permutation(4, true, false).unwrap(), [0, 3, 2, 1]);
/// assert!("kzyy".parse::<Order>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Order(String);

impl Order {
    /// `kzyx`, the order of nnU-Net and SimpleITK, which is the documented order of arrays.
    pub fn documented() -> Self {
        Self(DOCUMENTED.into())
    }

    /// Every order with the class first, for volumes or for 2-D images, the documented one first.
    pub(super) fn candidates(pictures: bool) -> Vec<Self> {
        let orders: &[&str] =
            if pictures { &["kyx", "kxy"] } else { &["kzyx", "kxyz", "kzxy", "kyzx", "kyxz", "kxzy"] };
        orders.iter().map(|&order| Self(order.into())).collect()
    }

    /// The axes of an array with `rank` axes that become the first, second … of `[k, z, y, x]` (without the axes that
    /// the array does not have). `classes` means that it contains class scores, `flat` that the reference is a single
    /// slice.
    ///
    /// # Errors
    /// Arrays of this rank have an axis that the order does not name.
    pub fn permutation(&self, rank: usize, classes: bool, flat: bool) -> Result<Vec<usize>> {
        let wanted = wanted(rank, classes, flat)?;
        let own: Vec<char> = self.0.chars().filter(|&letter| wanted.contains(letter)).collect();
        let axis = |letter: char| own.iter().position(|&other| other == letter);
        let permutation: Option<Vec<usize>> = wanted.chars().map(axis).collect();
        permutation.ok_or_else(|| {
            Error::new(format!("the order {self} does not name all axes {wanted} of an array with {rank} axes"))
                .help(format!("name all of them, such as --axes {DOCUMENTED}"))
        })
    }

    /// The spatial extents `[d, h, w]` of an array of this shape with this order.
    pub(super) fn extent(&self, shape: &[usize], classes: bool, flat: bool) -> Result<[usize; 3]> {
        match self.spatial(shape.len(), classes, flat)?[..] {
            [h, w] => Ok([1, shape[h], shape[w]]),
            [d, h, w] => Ok([shape[d], shape[h], shape[w]]),
            _ => Err(no_volume(shape.len())),
        }
    }

    /// The [`Self::permutation`] without the class: the spatial axes of the array.
    pub(super) fn spatial(&self, rank: usize, classes: bool, flat: bool) -> Result<Vec<usize>> {
        let axes = self.permutation(rank, classes, flat)?;
        let classes = usize::from(wanted(rank, classes, flat)?.starts_with('k'));
        Ok(axes[classes..].to_vec())
    }

    /// The order for messages: `[class, z, y, x]`.
    pub(super) fn in_words(&self) -> String {
        let word = |letter| if letter == 'k' { "class".to_owned() } else { String::from(letter) };
        format!("[{}]", self.0.chars().map(word).collect::<Vec<_>>().join(", "))
    }
}

/// The axes of an array with this rank. Class scores with one axis fewer than expected have one score per voxel.
fn wanted(rank: usize, classes: bool, flat: bool) -> Result<&'static str> {
    match (rank, classes, flat) {
        (4, true, _) => Ok("kzyx"),
        (3, true, true) => Ok("kyx"),
        (3, true, false) | (3, false, _) => Ok("zyx"),
        (2, true, true) | (2, false, _) => Ok("yx"),
        _ => Err(no_volume(rank)),
    }
}

fn no_volume(rank: usize) -> Error {
    Error::new(format!("an array with {rank} axes is not a volume"))
        .help("expected two or three spatial axes and, for scores, an axis of the classes")
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Order {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let once = |letter: char| text.chars().filter(|&other| other == letter).count();
        let known = text.chars().all(|letter| DOCUMENTED.contains(letter) && once(letter) == 1);
        if known && text.contains('y') && text.contains('x') {
            return Ok(Self(text.into()));
        }
        Err(Error::new(format!("\"{text}\" is not an order of axes"))
            .help("use the letters k (class), z, y and x, each once, the slowest axis first, such as kzyx or kxyz"))
    }
}

impl TryFrom<String> for Order {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Order> for String {
    fn from(order: Order) -> Self {
        order.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Order {
        text.parse().unwrap()
    }

    #[test]
    fn permutations_lead_to_class_depth_height_width() {
        let shape = [5, 4, 3, 2];
        for (text, extent) in [("kzyx", [4, 3, 2]), ("kxyz", [2, 3, 4]), ("kzxy", [4, 2, 3]), ("zyxk", [5, 4, 3])] {
            assert_eq!(order(text).extent(&shape, true, false).unwrap(), extent, "{text}");
        }
        assert_eq!(order("zyxk").permutation(4, true, false).unwrap(), [3, 0, 1, 2]);
    }

    #[test]
    fn axes_that_an_array_does_not_have_are_passed_over() {
        assert_eq!(order("kxyz").permutation(3, true, true).unwrap(), [0, 2, 1]);
        assert_eq!(order("kxyz").permutation(3, false, false).unwrap(), [2, 1, 0]);
        assert_eq!(order("kxyz").extent(&[4, 3, 2], true, false).unwrap(), [2, 3, 4], "one score per voxel");
        assert_eq!(order("xy").permutation(2, false, true).unwrap(), [1, 0]);
        assert!(order("kyx").permutation(4, true, false).unwrap_err().to_string().contains("--axes"));
        assert!(order("kzyx").permutation(5, true, false).is_err());
    }

    #[test]
    fn only_letters_of_axes_are_an_order() {
        for bad in ["", "k", "kz", "kzyxk", "kzyy", "abc", "KZYX"] {
            assert!(bad.parse::<Order>().is_err(), "{bad}");
        }
    }
}
