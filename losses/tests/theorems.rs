//! The theorem suite on the reference backend, and the test that no loss goes without.

use segcal_core::Reference;
use segcal_losses::{Loss, Prior, theorems};

#[test]
fn every_theorem_holds_on_the_reference() {
    let mut failed = Vec::new();
    for theorem in theorems::all::<Reference>() {
        let outcome = theorem.outcome(&Reference, 12, 1).unwrap();
        if !outcome.holds() {
            failed.push(format!("{}: {:e} > {:e}", outcome.name, outcome.worst, outcome.bound));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_loss_and_prior_has_a_theorem_of_its_own() {
    let theorems = theorems::all::<Reference>();
    for name in Loss::names().into_iter().chain(Prior::names()) {
        let own = theorems.iter().filter(|theorem| theorem.about.contains(&name)).count();
        assert!(own > 0, "{name} has no theorem or limit of its own: name it in the `about` of one");
    }
}
