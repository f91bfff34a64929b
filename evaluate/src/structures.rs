//! The structures of a case: its labels, and the unions of labels that the config names.

use std::collections::BTreeMap;

use segcal_core::{Error, Result};
use segcal_metrics::calibration::Region;
use segcal_metrics::volume::{Label, Structure};

use super::case::CaseState;
use super::inputs::Pair;
use super::scores;

/// Names of structures with the labels that they unite.
pub type Unions = BTreeMap<String, Vec<Label>>;

/// The structures of a case. Label maps may hold few labels of large numbers; those are counted by their rank, since the
/// tables of counts grow with the square of the number of classes.
pub(super) struct Structures {
    /// The labels that the maps now hold are below this.
    pub(super) classes: usize,
    /// The largest label of the files.
    pub(super) largest: usize,
    /// Labels and unions, in terms of what the maps now hold.
    pub(super) list: Vec<Structure>,
}

impl Structures {
    /// Every label below the number of classes of some scores, as it is, and the unions of such labels; the others are
    /// structures that the scores have no class for.
    pub(super) fn of_scores(classes: usize, unions: &Unions) -> Self {
        let known = unions.iter().filter(|(_, labels)| labels.iter().all(|&label| usize::from(label) < classes));
        let known = known.map(|(name, labels)| Structure { name: name.clone(), labels: labels.clone() });
        let list = (1..classes as Label).map(Structure::single).chain(known).collect();
        Self { classes, largest: classes - 1, list }
    }

    /// The labels that two maps hold and the unions, and the maps with ranks for labels.
    pub(super) fn of_maps(mut maps: [Vec<Label>; 2], unions: &Unions) -> (Self, [Vec<Label>; 2]) {
        let mut present = vec![false; usize::from(Label::MAX) + 1];
        present[0] = true;
        maps.iter().flatten().for_each(|&label| present[usize::from(label)] = true);
        let held: Vec<Label> = (0..=Label::MAX).filter(|&label| present[usize::from(label)]).collect();
        let ranks: BTreeMap<Label, Label> = held.iter().copied().zip(0..).collect();
        let mut rank_of = vec![0; present.len()];
        ranks.iter().for_each(|(&label, &rank)| rank_of[usize::from(label)] = rank);
        maps.iter_mut().flatten().for_each(|label| *label = rank_of[usize::from(*label)]);
        let single = ranks.iter().skip(1).map(|(label, &rank)| (label.to_string(), vec![rank]));
        let held_of = |labels: &Vec<Label>| labels.iter().filter_map(|label| ranks.get(label).copied()).collect();
        let united = unions.iter().map(|(name, labels)| (name.clone(), held_of(labels)));
        let list = single.chain(united).map(|(name, labels)| Structure { name, labels }).collect();
        let largest = held.last().copied().map_or(0, usize::from);
        (Self { classes: held.len(), largest, list }, maps)
    }
}

/// Refuses a union without labels, and a name that something else has in the tables of an evaluation.
///
/// # Errors
/// A union is empty, or its name is empty, a number as labels have, or that of a region.
pub fn expect_names(unions: &Unions) -> Result<()> {
    let regions = [Region::All, Region::Foreground, Region::Union, Region::Boundary].map(|region| region.to_string());
    for (name, labels) in unions {
        let refused = |problem: String, remedy: &str| Err(Error::new(problem).at(key(name)).help(remedy.to_owned()));
        let another = "give it another name, for example whole";
        if labels.is_empty() {
            return refused("unites no labels".into(), "for example [1, 2]");
        } else if name.trim().is_empty() {
            return refused("has no name".into(), another);
        } else if name.trim().parse::<u64>().is_ok() {
            return refused(format!("a union cannot be called {name}: numbers are labels"), another);
        } else if regions.contains(name) || name.starts_with("structure:") {
            return refused(format!("a union cannot be called {name}: a region of calibration is"), another);
        }
    }
    Ok(())
}

/// Refuses a union that no case of some class scores can have: its labels count at most the number of classes less one.
///
/// # Errors
/// A union names a label for which no file has a class.
pub fn expect_classes(unions: &Unions, pairs: &[Pair]) -> Result<()> {
    if unions.is_empty() {
        return Ok(());
    }
    // A file that cannot be read fails as a case of its own.
    let most = pairs.iter().filter_map(|pair| scores::classes(&pair.prediction).ok()).max();
    let Some(most) = most else { return Ok(()) };
    for (name, labels) in unions {
        if let Some(label) = labels.iter().find(|&&label| usize::from(label) >= most) {
            let problem = format!("{labels:?} holds the label {label}, but the predictions have {most} classes");
            return Err(Error::new(problem).at(key(name)).help(format!("labels go from 0 to {}", most - 1)));
        }
    }
    Ok(())
}

/// The labels of unions that no label map of a cohort reaches, with the names of the unions: likely slips, but label maps do
/// not say how many classes there are.
pub fn beyond<'a>(unions: &'a Unions, cases: &[CaseState]) -> Vec<(&'a str, Label)> {
    let classes = cases.iter().map(|case| case.classes).max().unwrap_or(0);
    let labels = unions.iter().flat_map(|(name, labels)| labels.iter().map(move |&label| (name.as_str(), label)));
    labels.filter(|&(_, label)| usize::from(label) >= classes).collect()
}

fn key(name: &str) -> String {
    format!("regions.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unions(named: &[(&str, &[Label])]) -> Unions {
        named.iter().map(|(name, labels)| ((*name).to_owned(), labels.to_vec())).collect()
    }

    #[test]
    fn names_of_labels_and_regions_are_refused() {
        assert!(expect_names(&unions(&[("WT", &[1, 2, 3]), ("ET", &[3])])).is_ok());
        for (name, labels) in
            [("1", &[2_u16, 3][..]), ("01", &[2]), ("foreground", &[2]), ("structure:1", &[2]), ("E", &[])]
        {
            let message = expect_names(&unions(&[(name, labels)])).unwrap_err().to_string();
            assert!(message.starts_with(&format!("regions.{name}: ")), "{message}");
        }
    }

    #[test]
    fn scores_have_no_union_of_a_class_that_they_lack() {
        let structures = Structures::of_scores(3, &unions(&[("both", &[1, 2]), ("more", &[1, 3])]));
        let names: Vec<&str> = structures.list.iter().map(|structure| structure.name.as_str()).collect();
        assert_eq!(names, ["1", "2", "both"]);
    }

    #[test]
    fn label_maps_are_counted_by_rank() {
        let (structures, maps) = Structures::of_maps([vec![0, 7, 900], vec![0, 7, 7]], &unions(&[("u", &[8, 900])]));
        assert_eq!(maps, [vec![0, 1, 2], vec![0, 1, 1]]);
        assert_eq!((structures.classes, structures.largest), (3, 900));
        let of = |name: &str| &structures.list.iter().find(|structure| structure.name == name).unwrap().labels;
        assert_eq!((of("7"), of("900"), of("u")), (&vec![1], &vec![2], &vec![2]));
    }
}
