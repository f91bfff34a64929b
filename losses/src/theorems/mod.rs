//! The theorem suite: propositions, identities, limits, invariances and gradients of the losses and priors, each
//! checked on random problems. It runs on any backend; `segcal verify` prints it as a table.
//!
//! A theorem consists of a name, a statement with its source, and a function that maps a random [`Problem`] to the
//! deviation from the statement. To add one, add an entry to the list of its family. Theorems over the lists of losses
//! and priors (gradients, finite values, conventions) cover a new loss automatically; a test additionally requires an
//! entry that names the loss.

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
    /// The claim.
    pub statement: &'static str,
    /// The source of the claim.
    pub source: &'static str,
    /// The losses and priors that it names; empty if it covers the lists.
    pub about: &'static [&'static str],
    /// Largest allowed deviation, for f64 and f32 backends.
    pub bound: [f64; 2],
    /// Computes the deviation on a problem: 0 if the statement holds exactly; for an inequality, the size of the
    /// violation.
    pub check: fn(&Problem<B>) -> Result<f64>,
}

/// The result of checking a theorem.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name of the theorem.
    pub name: &'static str,
    /// The claim.
    pub statement: &'static str,
    /// The source of the claim.
    pub source: &'static str,
    /// Number of problems checked.
    pub cases: usize,
    /// Worst deviation.
    pub worst: f64,
    /// Largest allowed deviation.
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
    /// Computes the deviation on problem number `case` of a seed.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn deviation(&self, backend: &B, seed: u64, case: usize) -> Result<f64> {
        self.deviation_on(backend, &Draw::random(Rng::new(seed).stream(case as u64)))
    }

    /// Computes the deviation on the problem of a draw.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn deviation_on(&self, backend: &B, draw: &Draw) -> Result<f64> {
        (self.check)(&Problem::new(backend, draw))
    }

    /// The bound for the backend's number type.
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
