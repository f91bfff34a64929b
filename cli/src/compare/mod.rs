//! Comparisons of trainings: the papers' experiment as a plan, run step by step, with the results side by side.
//!
//! [`plan`] reads the plan, [`part`] finds the cases, [`mod@unit`] is one training with everything computed from it and
//! knows which [`step`]s are done, [`running`] runs the others, [`selection`] chooses grid values, [`jobs`] lists the
//! remaining work; [`results`] collects the evaluations, [`tables`] writes them as CSV, JSON, Markdown, LaTeX and text,
//! [`page`] as one page with [`figures`].

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
