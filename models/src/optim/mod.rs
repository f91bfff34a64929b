//! Optimisers: short programs, each applied to one parameter at a time.

mod adam;
mod schedule;
mod sgd;

pub use adam::{Adam, AdamW};
pub use schedule::Schedule;
pub use sgd::Sgd;

use schemars::JsonSchema;
use segcal_core::{Backend, Error, Expr, Result, Shape, Tensor, ops};
use serde::{Deserialize, Serialize};

use crate::params::{Gradients, Parameter, Parameters};

/// The update rule of one optimiser for a single number; the rest of [`Optimiser`] is shared.
pub(crate) trait Update {
    /// Names of the moments stored for each parameter; they start at 0.
    fn moments(&self) -> &'static [&'static str];

    /// The values that change from step to step; `step` counts from 1.
    fn scalars(&self, rate: f64, step: u64) -> Vec<f64>;

    /// The new parameter, followed by the new moments; `scalars` are those of [`Update::scalars`].
    fn update<'b>(
        &self,
        scalars: &[Expr<'b>],
        now: Expr<'b>,
        gradient: Expr<'b>,
        moments: &[Expr<'b>],
    ) -> Vec<Expr<'b>>;

    /// Refuses values outside their range.
    fn check(&self) -> Result<()>;
}

/// The optimisers by name: `name = "adam"` in a config, with the fields of the struct in the same table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Rule {
    /// Adaptive moments.
    Adam(Adam),
    /// Adaptive moments with decoupled weight decay.
    AdamW(AdamW),
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
}

impl Rule {
    fn rule(&self) -> &dyn Update {
        match self {
            Self::Adam(rule) => rule,
            Self::AdamW(rule) => rule,
            Self::Sgd(rule) => rule,
        }
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self::Adam(Adam::default())
    }
}

/// A rule with its state: the step count and, for each trainable parameter, the moments.
#[derive(Clone, Debug)]
pub struct Optimiser<B: Backend> {
    rule: Rule,
    backend: B,
    step: u64,
    /// Named `<moment>.<parameter>`, in the order of the parameters.
    moments: Parameters<B>,
}

/// Name of the step count in [`Optimiser::state`].
const STEP: &str = "step";

impl<B: Backend> Optimiser<B> {
    /// Creates an optimiser that has not taken a step yet. Panics if there are no parameters.
    ///
    /// # Errors
    /// A field of the rule is out of range; the message names it.
    pub fn new(rule: Rule, parameters: &Parameters<B>) -> Result<Self> {
        rule.rule().check()?;
        let fresh = |p: &Parameter<B>, moment: &str| Parameter {
            name: format!("{moment}.{}", p.name),
            dims: p.dims.clone(),
            value: Tensor::zeros(p.value.backend(), p.value.shape()),
            trainable: false,
        };
        let moments = parameters.iter().filter(|p| p.trainable).flat_map(|p| {
            let names = rule.rule().moments();
            names.iter().map(move |moment| fresh(p, moment))
        });
        let backend = parameters.at(0).value.backend().clone();
        Ok(Self { rule, backend, step: 0, moments: Parameters::new(moments.collect()) })
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Takes one step at learning rate `rate`, in one pass per parameter. Parameters without a gradient are left
    /// unchanged; statistics that the forward pass observed take effect. Panics if `parameters` are not those of
    /// [`Optimiser::new`].
    pub fn step(&mut self, parameters: &mut Parameters<B>, gradients: &Gradients<B>, rate: f64) {
        self.step += 1;
        let rule = self.rule;
        let scalars = rule.rule().scalars(rate, self.step);
        let count = rule.rule().moments().len();
        let mut first = 0;
        for number in 0..parameters.len() {
            let parameter = parameters.at(number);
            if !parameter.trainable {
                continue;
            }
            let moments = first..first + count;
            first += count;
            let Some(gradient) = gradients.get(number) else { continue };
            let kept: Vec<Tensor<B>> = moments.clone().map(|moment| self.moments.at(moment).value.clone()).collect();
            let mut renewed = apply(&rule, &scalars, &parameter.value, gradient, gradients.scale(), &kept).into_iter();
            parameters.replace(number, renewed.next().expect("the parameter"));
            for (moment, value) in moments.zip(renewed) {
                self.moments.replace(moment, value);
            }
        }
        for (number, value) in gradients.observed() {
            parameters.replace(number, value.clone());
        }
    }

    /// Returns everything needed to continue with bit-identical results: the moments and the step count, as named
    /// tensors. (The count is exact up to 2^24 steps in f32.)
    pub fn state(&self) -> Parameters<B> {
        let mut list: Vec<Parameter<B>> = self.moments.iter().cloned().collect();
        let value = Tensor::full(&self.backend, Shape::SCALAR, self.step as f64);
        list.push(Parameter { name: STEP.into(), dims: Vec::new(), value, trainable: false });
        Parameters::new(list)
    }

    /// Restores a stored [`Optimiser::state`]. Panics if it is not that of the same rule and parameters.
    ///
    /// # Errors
    /// The device cannot be read, or the step count is not a whole number.
    pub fn set_state(&mut self, state: &Parameters<B>) -> Result<()> {
        let step = state.get(STEP).item()?;
        if step < 0.0 || step.fract() != 0.0 {
            let error = Error::new(format!("{step} is not a valid step count")).at(STEP);
            return Err(error.help("the checkpoint is damaged: use another one"));
        }
        self.step = step as u64;
        let values = self.moments.iter().map(|moment| state.get(&moment.name).clone()).collect();
        self.moments = self.moments.with_values(values);
        Ok(())
    }
}

/// The new parameter and its new moments, in one pass.
fn apply<B: Backend>(
    rule: &Rule,
    scalars: &[f64],
    now: &Tensor<B>,
    gradient: &Tensor<B>,
    scale: Option<&Tensor<B>>,
    moments: &[Tensor<B>],
) -> Vec<Tensor<B>> {
    let now = now.detach();
    let mut inputs = vec![&now, gradient];
    inputs.extend(moments);
    inputs.extend(scale);
    ops::maps(now.shape(), scalars, &inputs, |p| {
        let scalars: Vec<Expr<'_>> = (0..scalars.len()).map(|number| p.scalar(number)).collect();
        let moments: Vec<Expr<'_>> = (0..moments.len()).map(|number| p.input(2 + number)).collect();
        let gradient = match scale {
            Some(_) => p.input(1) * p.input(2 + moments.len()),
            None => p.input(1),
        };
        rule.rule().update(&scalars, p.input(0), gradient, &moments)
    })
}

/// Refuses `value` unless it is in `[0, below)`.
fn in_range(key: &str, value: f64, below: f64) -> Result<()> {
    if (0.0..below).contains(&value) {
        return Ok(());
    }
    Err(Error::new(format!("{value} is out of range")).at(key).help(format!("use at least 0 and less than {below}")))
}
