//! Assigns patients to training, validation and test.

use segcal_core::{Error, Result, Rng};

use super::Scan;

/// What a scan is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Training.
    Train,
    /// Validation: choosing the best epoch.
    Val,
    /// Testing.
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

/// The sizes of the parts of `total` patients: `wanted`, or its proportions if its sum is not `total` (each share is
/// rounded down, the rest goes to the largest remainders, ties in the order train, val, test).
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

/// The part of each scan: patients, sorted by name, are assigned at random, and all scans of a patient go to the same
/// part.
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

/// The number of folds that the training and validation patients are divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folds {
    /// This number.
    Count(usize),
    /// One fold per patient.
    LeaveOneOut,
}

impl Folds {
    /// The patients that each fold holds out: every patient exactly once, at random, in folds whose sizes differ by at
    /// most one.
    ///
    /// # Errors
    /// There are fewer than two folds, or more folds than patients.
    pub fn held_out<'a>(self, subjects: &[&'a str], seed: u64) -> Result<Vec<Vec<&'a str>>> {
        let mut persons = subjects.to_vec();
        persons.sort_unstable();
        persons.dedup();
        let count = match self {
            Self::Count(count) => count,
            Self::LeaveOneOut => persons.len(),
        };
        if count < 2 || count > persons.len() {
            let problem = format!("cannot make {count} folds of {} training and validation patients", persons.len());
            return Err(Error::new(problem).at("--folds").help("give 2 or more, but not more than there are patients"));
        }
        let order = Rng::new(seed).stream(1).permutation(persons.len());
        let fold = |number: usize| {
            let places = &order[number * persons.len() / count..(number + 1) * persons.len() / count];
            let mut held: Vec<&str> = places.iter().map(|&place| persons[place]).collect();
            held.sort_unstable();
            held
        };
        Ok((0..count).map(fold).collect())
    }
}

/// The part of each scan according to published lists of patients, if all listed patients are among the scans; patients
/// not listed are for training.
pub fn listed(scans: &[Scan], val: &[&str], test: &[&str]) -> Option<Vec<Part>> {
    let is_there = |subject: &&str| scans.iter().any(|scan| scan.subject == *subject);
    let part = |scan: &Scan| match scan.subject.as_str() {
        subject if val.contains(&subject) => Part::Val,
        subject if test.contains(&subject) => Part::Test,
        _ => Part::Train,
    };
    val.iter().chain(test).all(is_there).then(|| scans.iter().map(part).collect())
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

    #[test]
    fn every_person_is_held_out_once() {
        let subjects = ["b", "a", "c", "a", "e", "d", "g", "f"];
        for (folds, sizes) in [(Folds::LeaveOneOut, vec![1; 7]), (Folds::Count(3), vec![2, 2, 3])] {
            let held = folds.held_out(&subjects, 5).unwrap();
            assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
            let mut all = held.concat();
            all.sort_unstable();
            assert_eq!(all, ["a", "b", "c", "d", "e", "f", "g"]);
        }
        for count in [0, 1, 8] {
            assert!(Folds::Count(count).held_out(&subjects, 5).unwrap_err().to_string().contains("--folds"));
        }
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
