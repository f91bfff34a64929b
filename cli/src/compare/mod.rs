//! Comparisons of trainings: the papers' experiment as a plan, done step by step and put side by side.
//!
//! [`plan`] reads what is to be done, [`part`] finds the cases, [`mod@unit`] is one training with what is made from it and knows
//! which [`step`]s are done, [`running`] does the others, [`selection`] chooses values of grids, [`jobs`] tells what is left;
//! [`results`] puts the evaluations side by side, [`tables`] writes them as CSV, JSON, Markdown, LaTeX and text, [`page`] as
//! one page with [`figures`].

pub mod figures;
pub mod jobs;
pub mod page;
pub mod part;
pub mod plan;
pub mod results;
pub mod running;
pub mod selection;
pub mod step;
pub mod tables;
pub mod unit;
