//! Dividing persons among training, validation and test.

use segcal_core::Rng;

/// What a scan is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To learn from.
    Train,
    /// To choose the best epoch on.
    Val,
    /// To judge by.
    Test,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// Its name in `splits.json`.
    pub const fn as_str(self) -> &'static str {
        ["train", "val", "test"][self as usize]
    }
}

/// Sizes of the parts of `total` persons: `wanted`, or its proportions where the sum is another (each share rounded
/// down, what is left to the largest remainders, ties in the order train, val, test).
pub fn sizes(wanted: [usize; 3], total: usize) -> [usize; 3] {
    let sum: usize = wanted.iter().sum();
    if sum == 0 {
        return [total, 0, 0];
    }
    let mut sizes = wanted.map(|count| count * total / sum);
    let mut order = [0, 1, 2];
    order.sort_by_key(|&part| std::cmp::Reverse(wanted[part] * total % sum));
    let left = total - sizes.iter().sum::<usize>();
    order.iter().cycle().take(left).for_each(|&part| sizes[part] += 1);
    sizes
}

/// The part of each scan: patients, in the order of their names, are assigned at random, and all scans of one go with
/// it.
pub fn divide(subjects: &[&str], wanted: [usize; 3], seed: u64) -> Vec<Part> {
    let mut persons = subjects.to_vec();
    persons.sort_unstable();
    persons.dedup();
    let [train, val, _] = sizes(wanted, persons.len());
    let mut parts = vec![Part::Test; persons.len()];
    for (place, person) in Rng::new(seed).permutation(persons.len()).into_iter().enumerate() {
        parts[person] = match place {
            _ if place < train => Part::Train,
            _ if place < train + val => Part::Val,
            _ => Part::Test,
        };
    }
    subjects.iter().map(|subject| persons.binary_search(subject).map_or(Part::Test, |person| parts[person])).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_papers_counts_are_kept_and_others_scaled() {
        assert_eq!(sizes([70, 10, 20], 100), [70, 10, 20]);
        assert_eq!(sizes([240, 40, 80], 361), [241, 40, 80]);
        assert_eq!(sizes([5, 0, 2], 7), [5, 0, 2]);
        assert_eq!(sizes([70, 10, 20], 1), [1, 0, 0]);
        assert_eq!(sizes([0, 0, 0], 4), [4, 0, 0]);
    }

    proptest! {
        #[test]
        fn nobody_is_lost_and_nobody_is_in_two_parts(
            wanted in proptest::array::uniform3(0..50usize),
            subjects in proptest::collection::vec("[a-e][0-9]", 1..60),
            seed: u64,
        ) {
            let names: Vec<&str> = subjects.iter().map(String::as_str).collect();
            let parts = divide(&names, wanted, seed);
            prop_assert_eq!(parts.len(), names.len());
            prop_assert_eq!(&parts, &divide(&names, wanted, seed));
            for (a, first) in names.iter().zip(&parts) {
                for (b, second) in names.iter().zip(&parts) {
                    prop_assert!(a != b || first == second);
                }
            }
            let mut persons = names.clone();
            persons.sort_unstable();
            persons.dedup();
            let expected = sizes(wanted, persons.len());
            prop_assert_eq!(expected.iter().sum::<usize>(), persons.len());
            for part in Part::ALL {
                let of_part = |person: &&&str| parts[names.iter().position(|name| name == *person).unwrap()] == part;
                prop_assert_eq!(persons.iter().filter(of_part).count(), expected[part as usize]);
            }
        }
    }
}
