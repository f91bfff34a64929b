//! The structures of a case: its labels, and the unions of labels defined in the config.

use std::borrow::Cow;
use std::collections::BTreeSet;

use segcal_core::{Error, Result};
use segcal_metrics::calibration::Region;
use segcal_metrics::empty::{Emptiness, Outcome};
use segcal_metrics::volume::{Label, Structure};

use super::inputs::Pair;
use super::reading::Reading;
use super::scores;
use super::state::{CaseState, Unions};

/// The structures with these names: numbers are single labels, other names are unions.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a String>, unions: &Unions) -> Vec<Structure> {
    let structure = |name: &String| match unions.get(name) {
        Some(labels) => Some(Structure { name: name.clone(), labels: labels.clone() }),
        None => name.parse().ok().map(Structure::single),
    };
    names.filter_map(structure).collect()
}

/// A label map with background where the reference has the ignore label.
pub(super) fn judged<'a>(labels: &'a [Label], reference: &[Label], ignored: Option<Label>) -> Cow<'a, [Label]> {
    match ignored {
        Some(ignored) if reference.contains(&ignored) => {
            let kept = |(&label, &judge): (&Label, &Label)| if judge == ignored { 0 } else { label };
            labels.iter().zip(reference).map(kept).collect()
        }
        _ => Cow::Borrowed(labels),
    }
}

/// Checks that no union is empty and that its name is not already taken in the tables of an evaluation.
///
/// # Errors
/// A union is empty, or its name is empty, a number like those of labels, or that of a region.
pub fn expect_names(unions: &Unions) -> Result<()> {
    let regions = Region::COMMON.map(|region| region.to_string());
    for (name, labels) in unions {
        let refused = |problem: String, remedy: &str| Err(Error::new(problem).at(key(name)).help(remedy.to_owned()));
        let another = "give it another name, for example whole";
        if labels.is_empty() {
            return refused("has no labels".into(), "list labels, for example [1, 2]");
        } else if name.trim().is_empty() {
            return refused("has no name".into(), another);
        } else if name.trim().parse::<u64>().is_ok() {
            return refused(format!("a union cannot be called {name}: numbers are labels"), another);
        } else if regions.contains(name) || name.starts_with("structure:") || name.starts_with("predicted:") {
            return refused(format!("a union cannot be called {name}: it is a calibration region"), another);
        }
    }
    Ok(())
}

/// Checks that the class scores have a class for every label of the unions.
///
/// # Errors
/// A union contains a label for which no file has a class.
pub fn expect_classes(unions: &Unions, pairs: &[Pair], how: &Reading) -> Result<()> {
    if unions.is_empty() {
        return Ok(());
    }
    // A file that cannot be read fails later, when its case is measured.
    let most = pairs.iter().filter_map(|pair| scores::classes(&pair.prediction, how).ok()).max();
    let Some(most) = most else { return Ok(()) };
    for (name, labels) in unions {
        if let Some(label) = labels.iter().find(|&&label| usize::from(label) >= most) {
            let problem = format!("{labels:?} contains the label {label}, but the predictions have {most} classes");
            return Err(Error::new(problem).at(key(name)).help(format!("labels run from 0 to {}", most - 1)));
        }
    }
    Ok(())
}

/// Which labels the label maps of a cohort and their references contain.
#[derive(Debug, Default)]
pub struct Sides {
    /// Labels that only a prediction has, and labels that only a reference has.
    sides: [BTreeSet<Label>; 2],
    /// Whether they have a label in common.
    meet: bool,
}

impl Sides {
    /// Adds the labels of a case.
    pub fn add(&mut self, state: &CaseState) {
        if self.meet {
            return;
        }
        for (name, figures) in &state.structures {
            let Ok(label) = name.parse::<Label>() else { continue };
            match figures.get("dsc") {
                Some(Outcome::Empty { which: Emptiness::Reference, .. }) => _ = self.sides[0].insert(label),
                Some(Outcome::Empty { which: Emptiness::Prediction, .. }) => _ = self.sides[1].insert(label),
                Some(Outcome::Empty { which: Emptiness::Both, .. }) => {}
                _ => {
                    self.meet = true;
                    return;
                }
            }
        }
    }

    /// A warning if the label maps and their references have no label in common. `None` if they share one, or one side
    /// is empty.
    pub fn apart(&self) -> Option<String> {
        let listed = |labels: &BTreeSet<Label>| labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let [predicted, referred] = [&self.sides[0], &self.sides[1]].map(listed);
        let apart = !self.meet && !predicted.is_empty() && !referred.is_empty();
        apart.then(|| {
            format!(
                "the label maps contain the labels {predicted}, the references {referred}: structures may be numbered \
                 differently"
            )
        })
    }
}

/// The labels of unions that are larger than any label of the cohort, which has this many classes, with the names of the unions. They are probably
/// mistakes, but label maps do not tell the number of classes.
pub fn beyond(unions: &Unions, classes: usize) -> Vec<(&str, Label)> {
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
    fn names_of_labels_and_unions_are_structures() {
        let unions = unions(&[("both", &[1, 2])]);
        let names = ["1", "900", "both"].map(str::to_owned);
        let labels: Vec<Vec<Label>> =
            list(names.iter(), &unions).into_iter().map(|structure| structure.labels).collect();
        assert_eq!(labels, [vec![1], vec![900], vec![1, 2]]);
    }

    #[test]
    fn ignored_voxels_are_background() {
        assert_eq!(judged(&[1, 1, 0], &[1, 2, 0], Some(2)).into_owned(), [1, 0, 0]);
    }
}
