//! The theorem suite: propositions, identities, limits, invariances and gradients of the losses and priors, each checked on
//! random problems. It runs on any backend; `segcal verify` prints it as a table.
//!
//! A theorem is a name, a statement with its source, and a function from a random [`Problem`] to how far it is from true. A new
//! one is one entry in the list of its family. Those that go over the lists of losses and priors (gradients, finite values,
//! conventions) need no entry for a new loss; a test asks by name for an entry of its own, too.

mod closed;
mod identities;
mod invariances;
mod lagrangians;
mod limits;
mod lists;
mod neighbours;
mod penalties;
mod problem;

use segcal_core::{Backend, Result, Rng};

#[cfg(test)]
pub(crate) use invariances::SHIFT_SENSITIVE;
pub use problem::{Draw, Problem};

/// A statement that can be checked on random problems.
pub struct Theorem<B: Backend> {
    /// Name in the table.
    pub name: &'static str,
    /// What is claimed.
    pub statement: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// The losses and priors that it speaks of by name; empty if it goes over the lists.
    pub about: &'static [&'static str],
    /// Largest deviation, for backends in f64 and in f32.
    pub bound: [f64; 2],
    /// The deviation on a problem: 0 where the statement holds exactly, or how far an inequality is violated.
    pub check: fn(&Problem<B>) -> Result<f64>,
}

/// What was found for a theorem.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name of the theorem.
    pub name: &'static str,
    /// What is claimed.
    pub statement: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// Problems tried.
    pub cases: usize,
    /// Worst deviation.
    pub worst: f64,
    /// What it may be.
    pub bound: f64,
}

impl Outcome {
    /// Whether the worst deviation is within the bound.
    pub fn holds(&self) -> bool {
        self.worst <= self.bound
    }
}

/// Every theorem.
pub fn all<B: Backend>() -> Vec<Theorem<B>> {
    let families = [
        identities::theorems(),
        limits::theorems(),
        lagrangians::theorems(),
        neighbours::theorems(),
        penalties::theorems(),
        invariances::theorems(),
        closed::theorems(),
        lists::theorems(),
    ];
    families.into_iter().flatten().collect()
}

impl<B: Backend> Theorem<B> {
    /// Checks it on problem number `case` of a seed.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn deviation(&self, backend: &B, seed: u64, case: usize) -> Result<f64> {
        self.deviation_on(backend, &Draw::random(Rng::new(seed).stream(case as u64)))
    }

    /// Checks it on the problem of a draw.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn deviation_on(&self, backend: &B, draw: &Draw) -> Result<f64> {
        (self.check)(&Problem::new(backend, draw))
    }

    /// The bound for the number type of the backend.
    pub fn bound(&self) -> f64 {
        self.bound[usize::from(size_of::<B::Elem>() == 4)]
    }

    /// Checks it on `cases` problems.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn outcome(&self, backend: &B, cases: usize, seed: u64) -> Result<Outcome> {
        let mut worst = 0.0;
        for case in 0..cases {
            let deviation = self.deviation(backend, seed, case)?;
            worst = if deviation.is_nan() { f64::INFINITY } else { f64::max(worst, deviation) };
        }
        let Self { name, statement, source, .. } = *self;
        Ok(Outcome { name, statement, source, cases, worst, bound: self.bound() })
    }
}
