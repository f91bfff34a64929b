//! What training minimises: a weighted sum of losses.

use segcal_core::{Backend, Error, Result, ops};

use crate::{Batch, Criterion, Loss, State, Value};

/// A weighted sum of losses, `sum_i weight_i loss_i`.
#[derive(Clone, Debug)]
pub struct Objective {
    parts: Vec<(f64, Loss)>,
}

impl From<Loss> for Objective {
    fn from(loss: Loss) -> Self {
        Self { parts: vec![(1.0, loss)] }
    }
}

impl Objective {
    /// Creates the weighted sum of some losses.
    ///
    /// # Errors
    /// There is no loss, a weight is negative or not finite, or a loss that keeps a state appears twice.
    pub fn new(parts: Vec<(f64, Loss)>) -> Result<Self> {
        if parts.is_empty() {
            return Err(Error::new("an objective needs at least one loss").help("for example ce"));
        }
        for (number, (weight, loss)) in parts.iter().enumerate() {
            let name = loss.own_spec().name;
            if !weight.is_finite() || *weight < 0.0 {
                return Err(Error::new(format!("weight = {weight} is out of range")).at(name).help("at least 0"));
            }
            let twice = parts[..number].iter().any(|(_, other)| other.own_spec().name == name);
            if twice && !loss.state().is_empty() {
                return Err(Error::new("a loss with multipliers can appear only once in a sum").at(name));
            }
        }
        Ok(Self { parts })
    }

    /// The losses with their weights.
    pub fn parts(&self) -> &[(f64, Loss)] {
        &self.parts
    }
}

impl Criterion for Objective {
    fn views(&self) -> usize {
        self.parts.iter().map(|(_, loss)| loss.own_spec().views).max().unwrap_or(1)
    }

    /// Computes the value on a batch. The terms are those of the losses, in order. If there are several losses, the
    /// terms of each follow its total, unless one of them already has the name of the loss.
    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let values = self.parts.iter().map(|(weight, loss)| (*weight, loss.own_spec().name, loss.value(batch)));
        let mut values: Vec<_> = values.collect();
        if let [(1.0, ..)] = values[..] {
            return values.swap_remove(0).2;
        }
        let totals: Vec<_> = values.iter().map(|(_, _, value)| &value.total).collect();
        let total = ops::map(&totals, |p| {
            let weighted = self.parts.iter().enumerate().map(|(number, (weight, _))| p.input(number) * *weight);
            weighted.reduce(|a, b| a + b).expect("at least one loss")
        });
        let terms = values.iter().flat_map(|(_, name, value)| {
            let is_a_term = value.terms.iter().any(|(term, _)| term == name);
            let own = (!is_a_term).then(|| (*name, value.total.detach()));
            own.into_iter().chain(value.terms.iter().cloned())
        });
        Value { total, terms: terms.collect() }
    }

    /// Checks that the parameters fit the number of classes.
    ///
    /// # Errors
    /// They do not, for example because a list of weights has the wrong length.
    fn check(&self, classes: usize) -> Result<()> {
        self.parts.iter().try_for_each(|(_, loss)| loss.check(classes).map_err(|error| error.at(loss.own_spec().name)))
    }

    /// The states of the losses, each name prefixed with that of its loss: `crac.lambda`.
    fn state(&self) -> State {
        let of_loss = |loss: &Loss| {
            let prefix = loss.own_spec().name;
            loss.state().into_iter().map(move |(name, values)| (format!("{prefix}.{name}"), values))
        };
        self.parts.iter().flat_map(|(_, loss)| of_loss(loss)).collect()
    }

    /// Restores a state returned by [`Objective::state`].
    ///
    /// # Errors
    /// The state belongs to other losses or another number of classes.
    fn restore(&mut self, state: &State) -> Result<()> {
        let mut taken = 0;
        for (_, loss) in &mut self.parts {
            let prefix = format!("{}.", loss.own_spec().name);
            let own =
                state.iter().filter_map(|(name, values)| Some((name.strip_prefix(&prefix)?.into(), values.clone())));
            let own: State = own.collect();
            taken += own.len();
            loss.restore(&own).map_err(|error| error.at(loss.own_spec().name))?;
        }
        if taken == state.len() {
            return Ok(());
        }
        let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        let problem =
            format!("the checkpoint holds {}, which does not belong to any loss of this objective", names.join(", "));
        Err(Error::new(problem).help("resume with the losses that the run was started with"))
    }

    /// Observes a batch of the validation pass.
    ///
    /// # Errors
    /// As [`Backend::download`].
    fn observe<B: Backend>(&mut self, batch: &Batch<'_, B>) -> Result<()> {
        self.parts.iter_mut().try_for_each(|(_, loss)| loss.observe(batch))
    }

    /// Updates the states at the end of an epoch from what was observed since the last one.
    fn end_epoch(&mut self) {
        self.parts.iter_mut().for_each(|(_, loss)| loss.end_epoch());
    }
}
