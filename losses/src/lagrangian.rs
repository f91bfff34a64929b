//! Augmented Lagrangian: penalty functions, and multipliers that are updated from the constraints on the validation
//! set.

use segcal_core::{Error, Expr, Result};

use crate::words::{Word, words};
use crate::{Param, Range, Settings, State};

words! {
    /// A penalty-Lagrangian function `P(z, rho, lambda)` of a constraint `z <= 0`. All of them satisfy the axioms of
    /// the appendix of CRaC: `P' >= 0`, `P'(0) = lambda`, and as `rho` grows the slope tends to infinity where the
    /// constraint is violated and to 0 where it is satisfied.
    pub enum Penalty {
        /// Powell, Hestenes, Rockafellar: `lambda z + rho z^2 / 2` where `lambda + rho z >= 0`, else
        /// `-lambda^2 / (2 rho)` (CRaC, Eq. 10).
        Phr "phr",
        /// `lambda z + lambda rho z^2 + rho^2 z^3 / 6` for `z >= 0`, else `lambda z / (1 - rho z)`.
        P2 "p2",
        /// `lambda z + lambda rho z^2` for `z >= 0`, else `lambda z / (1 - rho z)`.
        P3 "p3",
    }
}

impl Penalty {
    /// The parameter that selects the penalty function.
    pub const PARAM: Param = Param::new("penalty", "phr", Range::OneOf(Self::WORDS), "penalty function");

    /// From checked parameters.
    pub fn new(settings: &Settings) -> Self {
        settings.choice("penalty")
    }

    /// `P(z, rho, lambda)`, as an expression; differentiable in `z`.
    pub fn value<'b>(self, z: Expr<'b>, rho: Expr<'b>, lambda: Expr<'b>) -> Expr<'b> {
        match self {
            Self::Phr => {
                let active = (lambda + rho * z).lt(0.0);
                active.select(-(lambda.square() / (2.0 * rho)), z * (lambda + 0.5 * (rho * z)))
            }
            Self::P2 => {
                let violated = z * (lambda + rho * z * (lambda + rho * z * (1.0 / 6.0)));
                z.lt(0.0).select(lambda * z / (1.0 - rho * z.min(0.0)), violated)
            }
            Self::P3 => {
                let violated = z * lambda * (1.0 + rho * z);
                z.lt(0.0).select(lambda * z / (1.0 - rho * z.min(0.0)), violated)
            }
        }
    }

    /// `dP/dz`, as an expression: the next multiplier.
    pub fn slope<'b>(self, z: Expr<'b>, rho: Expr<'b>, lambda: Expr<'b>) -> Expr<'b> {
        let satisfied = |z: Expr<'b>| lambda / (1.0 - rho * z.min(0.0)).square();
        match self {
            Self::Phr => (lambda + rho * z).max(0.0),
            Self::P2 => z.lt(0.0).select(satisfied(z), lambda + rho * z * (2.0 * lambda + 0.5 * (rho * z))),
            Self::P3 => z.lt(0.0).select(satisfied(z), lambda * (1.0 + 2.0 * (rho * z))),
        }
    }
}

/// Multipliers `lambda` and penalty parameters `rho`, updated at the end of every epoch from the validation pass:
///
/// - `lambda <- mean of clamp(P'(z, rho, lambda))` (CRaC, Eq. 8), within `[lambda_min, lambda_max]`;
/// - every `rho_every`-th epoch, `rho <- min(gamma rho, rho_max)` if the mean constraint is above `mu` times that of
///   the previous epoch, floored at 0 (CRaC, Eq. 9, whose two sides are printed identically).
#[derive(Clone, Debug)]
pub struct Multipliers {
    lambda: Vec<f64>,
    rho: Vec<f64>,
    /// Mean constraint of the previous epoch; empty in the first.
    previous: Vec<f64>,
    epoch: f64,
    observed: Vec<Observed>,
    /// Clamps of `lambda`.
    pub(crate) bounds: (f64, f64),
    rho_bounds: (f64, f64),
    gamma: f64,
    mu: f64,
    rho_every: f64,
}

/// Sums over validation pixels that belong to one multiplier.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    /// Sum of the clamped slopes.
    pub(crate) slope: f64,
    /// Sum of the constraint.
    pub(crate) constraint: f64,
    /// Number of pixels.
    pub(crate) count: f64,
}

impl Multipliers {
    /// The parameters of the multipliers. The initial `rho`, which is also its lower clamp, differs between the losses.
    pub const fn params(rho: &'static str) -> [Param; 9] {
        const POSITIVE: Range = Range::Closed(1e-12, 1e12);
        [
            Param::new("lambda", "1e-6", Range::Each(0.0, 1e12), "multipliers at the start"),
            Param::new("rho", rho, Range::Each(1e-12, 1e12), "penalty parameters at the start"),
            Param::new("lambda_min", "1e-6", Range::Closed(0.0, 1e12), "lower clamp of the multipliers"),
            Param::new("lambda_max", "1e6", POSITIVE, "upper clamp of the multipliers"),
            Param::new("rho_min", rho, POSITIVE, "lower clamp of the penalty parameters"),
            Param::new("rho_max", "10", POSITIVE, "upper clamp of the penalty parameters"),
            Param::new("gamma", "1.2", Range::Closed(1.0, 1e3), "growth of a penalty parameter"),
            Param::new(
                "mu",
                "0.9",
                Range::Closed(0.0, 1.0),
                "rho is left unchanged if the violation fell to at most this fraction",
            ),
            Param::new("rho_every", "10", Range::Whole(1.0, 1e9), "epochs between updates of rho").paper("1"),
        ]
    }

    /// From checked parameters.
    ///
    /// # Errors
    /// A lower clamp is above its upper clamp.
    pub fn new(settings: &Settings) -> Result<Self> {
        let bounds = (settings.number("lambda_min"), settings.number("lambda_max"));
        let rho_bounds = (settings.number("rho_min"), settings.number("rho_max"));
        for (name, (low, high)) in [("lambda", bounds), ("rho", rho_bounds)] {
            if low > high {
                return Err(Error::new(format!("{name}_min = {low} is above {name}_max = {high}")).help("swap them"));
            }
        }
        Ok(Self {
            lambda: settings.numbers("lambda"),
            rho: settings.numbers("rho"),
            previous: Vec::new(),
            epoch: 0.0,
            observed: Vec::new(),
            bounds,
            rho_bounds,
            gamma: settings.number("gamma"),
            mu: settings.number("mu"),
            rho_every: settings.number("rho_every"),
        })
    }

    /// Checks that the number of initial values is one or `needed`.
    ///
    /// # Errors
    /// It is neither.
    pub fn check(&self, needed: usize) -> Result<()> {
        for (name, values) in [("lambda", &self.lambda), ("rho", &self.rho)] {
            if values.len() != 1 && values.len() != needed {
                let problem = format!("{name} holds {} numbers, but there are {needed} multipliers", values.len());
                return Err(Error::new(problem).help("give one number, or one per multiplier"));
            }
        }
        Ok(())
    }

    /// Multiplier number `entry`.
    pub fn lambda(&self, entry: usize) -> f64 {
        one_or(&self.lambda, entry)
    }

    /// Penalty parameter number `entry`.
    pub fn rho(&self, entry: usize) -> f64 {
        one_or(&self.rho, entry)
    }

    /// Adds the sums of one validation batch, one entry per multiplier.
    pub(crate) fn observe(&mut self, batch: &[Observed]) {
        self.observed.resize(batch.len(), Observed::default());
        for (sum, new) in self.observed.iter_mut().zip(batch) {
            sum.slope += new.slope;
            sum.constraint += new.constraint;
            sum.count += new.count;
        }
    }

    /// The outer iteration. A multiplier without any observed pixel is left unchanged; so are all if there was no
    /// validation pass.
    pub fn end_epoch(&mut self) {
        let observed = std::mem::take(&mut self.observed);
        self.epoch += 1.0;
        if observed.is_empty() {
            return;
        }
        let entries = 0..observed.len();
        let mean = |entry: usize| observed[entry].constraint / observed[entry].count.max(1.0);
        let due = self.epoch % self.rho_every == 0.0 && !self.previous.is_empty();
        let grows = |entry: usize| due && mean(entry) > self.mu * self.previous[entry].max(0.0);
        let (low, high) = self.bounds;
        let lambda = entries.clone().map(|entry| match observed[entry] {
            Observed { count: 0.0, .. } => self.lambda(entry),
            Observed { slope, count, .. } => (slope / count).clamp(low, high),
        });
        let rho = entries.clone().map(|entry| {
            let grown = if grows(entry) { self.gamma } else { 1.0 };
            (self.rho(entry) * grown).clamp(self.rho_bounds.0, self.rho_bounds.1)
        });
        (self.lambda, self.rho) = (lambda.collect(), if due { rho.collect() } else { self.rho.clone() });
        self.previous = entries.map(mean).collect();
    }

    /// Returns `lambda`, `rho`, the mean `constraint` of the last epoch, and the number of epochs.
    pub fn state(&self) -> State {
        let values = [&self.lambda, &self.rho, &self.previous, &vec![self.epoch]];
        NAMES.iter().zip(values).map(|(name, values)| ((*name).to_string(), values.clone())).collect()
    }

    /// Restores a state returned by [`Multipliers::state`].
    ///
    /// # Errors
    /// A name is missing or unknown, or a length does not fit.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        let [(_, lambda), (_, rho), (_, previous), (_, epoch)] = &state[..] else {
            return Err(foreign(&names));
        };
        let fits = |values: &[f64]| values.len() <= 1 || values.len() == lambda.len();
        if names != NAMES || lambda.is_empty() || rho.is_empty() || epoch.len() != 1 || !fits(rho) || !fits(previous) {
            return Err(foreign(&names));
        }
        (self.lambda, self.rho, self.previous) = (lambda.clone(), rho.clone(), previous.clone());
        (self.epoch, self.observed) = (epoch[0], Vec::new());
        Ok(())
    }
}

/// Names of the parts of the state.
const NAMES: [&str; 4] = ["lambda", "rho", "constraint", "epoch"];

fn foreign(names: &[&str]) -> Error {
    let problem =
        format!("the checkpoint holds [{}], but the multipliers need [{}]", names.join(", "), NAMES.join(", "));
    Error::new(problem).help("resume with the loss that the run was started with")
}

fn one_or(values: &[f64], entry: usize) -> f64 {
    if let [only] = values { *only } else { values[entry] }
}
