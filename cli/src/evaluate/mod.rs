//! Evaluation of stored predictions: which files belong together, what one case gives, what the cohort gives.
//!
//! [`inputs`] pairs predictions with references by case name, [`scores`] reads probabilities onto the reference's grid
//! and proves their axis order, [`case`] measures one case into a state, [`cohort`] makes the tables of many states,
//! [`methods`] reads those tables of several methods back and puts them side by side.

pub mod case;
pub mod cohort;
pub mod inputs;
pub mod methods;
pub mod scores;
