//! Comparisons of trainings: the papers' experiment as a plan, done step by step and put side by side.

pub mod figures;
pub mod jobs;
pub mod page;
pub mod part;
pub mod plan;
pub mod results;
pub mod running;
pub mod selection;
pub mod tables;
pub mod unit;
