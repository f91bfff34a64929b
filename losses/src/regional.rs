//! Losses for regions that may overlap or be nested: each region is a separate binary problem, region against rest.
//!
//! The network predicts one logit `z` per region, `[n, R, d, h, w]`; labels are `[n, 1, d, h, w]`, and a region is a
//! set of labels. Its problem has the classes rest and region with the logits `(0, z)`, whose softmax is
//! `(1 - sigmoid(z), sigmoid(z))`. Cross entropy then is binary cross entropy. A loss applies unchanged if it is
//! invariant to adding one number to all logits of a pixel. The value is the mean over the regions, as in nnU-Net's
//! region-based training (Isensee et al. 2021).

use segcal_core::{Backend, Error, Result, Tensor, axis, ops};

use crate::{Batch, Criterion, Loss, Objective, State, Value};

/// The mean over the regions of an objective with two classes, rest and region. A loss that keeps a state keeps one per
/// region.
#[derive(Clone, Debug)]
pub struct Regional {
    problems: Vec<Problem>,
    ignored: Option<i32>,
}

/// A region and its objective.
#[derive(Clone, Debug)]
struct Problem {
    name: String,
    labels: Vec<i32>,
    objective: Objective,
}

impl Regional {
    /// Creates the objective. `regions` holds the name and the labels of each region, in the order of the logits.
    /// Pixels with the label `ignored`, which is neither 0 nor 1, keep it, so that the objective can ignore them with
    /// `ignore_index`.
    ///
    /// # Errors
    /// There is no region, or a loss does not depend only on differences of logits; the message names it.
    pub fn new(objective: &Objective, regions: Vec<(String, Vec<i32>)>, ignored: Option<i32>) -> Result<Self> {
        if regions.is_empty() {
            return Err(Error::new("there are no regions to train on"));
        }
        for (_, loss) in objective.parts() {
            if let Some((why, remedy)) = unfit(loss) {
                let problem = format!("does not apply to regions, which have one logit each: {why}");
                return Err(Error::new(problem).at(loss.own_spec().name).help(remedy));
            }
        }
        let problem = |(name, mut labels): (String, Vec<i32>)| {
            labels.sort_unstable();
            labels.dedup();
            Problem { name, labels, objective: objective.clone() }
        };
        Ok(Self { problems: regions.into_iter().map(problem).collect(), ignored })
    }
}

const OTHERS: &str = "choose another loss: segcal list losses shows which apply to regions";

/// Why a loss does not apply to regions, and what to do about it; `None` if it does apply.
fn unfit(loss: &Loss) -> Option<(&'static str, &'static str)> {
    match loss {
        Loss::Nacl(nacl) if nacl.is_on_softmax() => None,
        Loss::Nacl(_) => Some(("it pulls the logit of each class towards a prior", "set on = \"softmax\"")),
        Loss::Crac(_) | Loss::CracFixed(_) => {
            Some(("it constrains the distance of the logit of each class from a prior", OTHERS))
        }
        Loss::Bwcr(_) => Some(("it compares the logits of each class in two views", OTHERS)),
        _ => None,
    }
}

impl Loss {
    /// Why the loss, with its current parameters, does not apply to regions ([`Regional`]); `None` if it does apply.
    pub fn unfit_for_regions(&self) -> Option<&'static str> {
        unfit(self).map(|(why, _)| why)
    }
}

/// Calls `solve` with the binary problem of one region: two classes, with the logits 0 and that of its channel.
fn posed<B: Backend, T>(
    batch: &Batch<'_, B>,
    (channel, labels): (usize, &[i32]),
    ignored: Option<i32>,
    solve: impl FnOnce(&Batch<'_, B>) -> T,
) -> T {
    let pixels = batch.labels.shape();
    let own = ops::slice(batch.logits, [0, channel, 0, 0, 0], pixels);
    let logits = ops::place(&[(&own, [0, 1, 0, 0, 0])], pixels.with(axis::C, 2));
    let inside = ops::map(&[batch.labels], |p| {
        let is = |label: i32| p.input(0).equals(f64::from(label));
        let kept = ignored.map_or(p.constant(0.0), |label| is(label) * f64::from(label));
        labels.iter().fold(kept, |sum, &label| sum + is(label))
    });
    let problem = Batch::new(&logits, &inside);
    match batch.image {
        Some(image) => solve(&problem.with_image(image)),
        None => solve(&problem),
    }
}

/// The mean of scalars.
fn mean<B: Backend>(parts: &[Tensor<B>]) -> Tensor<B> {
    let share = 1.0 / parts.len() as f64;
    let row = ops::concat(&parts.iter().collect::<Vec<_>>(), axis::W);
    ops::sum_all(&[&row], |p| p.input(0) * share)
}

impl Criterion for Regional {
    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let each = self.problems.iter().enumerate().map(|(channel, problem)| {
            posed(batch, (channel, &problem.labels), self.ignored, |posed| problem.objective.value(posed))
        });
        let each: Vec<Value<B>> = each.collect();
        let term = |(number, &(name, _)): (usize, &(&'static str, Tensor<B>))| {
            let of_regions: Vec<_> = each.iter().map(|value| value.terms[number].1.clone()).collect();
            (name, mean(&of_regions))
        };
        let terms = each[0].terms.iter().enumerate().map(term).collect();
        let totals: Vec<_> = each.iter().map(|value| value.total.clone()).collect();
        Value { total: mean(&totals), terms }
    }

    /// Checks that there is one logit per region and that the parameters fit two classes.
    fn check(&self, classes: usize) -> Result<()> {
        if classes != self.problems.len() {
            return Err(Error::new(format!("{} regions, but {classes} logits", self.problems.len())));
        }
        let check = |problem: &Problem| {
            problem.objective.check(2).map_err(|error| error.at(format!("{} and rest", problem.name)))
        };
        self.problems.iter().try_for_each(check)
    }

    /// The states of the losses of each region, prefixed with the name of the region: `whole/cals.lambda`.
    fn state(&self) -> State {
        let of_region = |problem: &Problem| {
            let state = problem.objective.state().into_iter();
            state.map(|(name, values)| (format!("{}/{name}", problem.name), values)).collect::<State>()
        };
        self.problems.iter().flat_map(of_region).collect()
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let mut taken = 0;
        for problem in &mut self.problems {
            let prefix = format!("{}/", problem.name);
            let own =
                state.iter().filter_map(|(name, values)| Some((name.strip_prefix(&prefix)?.into(), values.clone())));
            let own: State = own.collect();
            taken += own.len();
            problem.objective.restore(&own).map_err(|error| error.at(&problem.name))?;
        }
        if taken == state.len() {
            return Ok(());
        }
        let error = Error::new("the checkpoint holds the loss state of other regions");
        Err(error.help("resume with the data set that the run was started with"))
    }

    fn observe<B: Backend>(&mut self, batch: &Batch<'_, B>) -> Result<()> {
        for (channel, problem) in self.problems.iter_mut().enumerate() {
            let Problem { labels, objective, .. } = problem;
            posed(batch, (channel, labels), self.ignored, |posed| objective.observe(posed))?;
        }
        Ok(())
    }

    fn end_epoch(&mut self) {
        self.problems.iter_mut().for_each(|problem| problem.objective.end_epoch());
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::{Reference, Shape};

    use super::*;
    use crate::theorems::SHIFT_SENSITIVE;
    use crate::{Convention, Given};

    const LABELS: [f64; 4] = [0.0, 1.0, 2.0, 3.0];
    /// Logits of the regions whole (labels 1 and 2) and core (label 2).
    const LOGITS: [f64; 8] = [-1.0, 0.5, 2.0, 7.0, 0.25, -3.0, 1.5, -7.0];

    fn of(name: &str, set: &[(&str, &str)], ignored: Option<i32>) -> Result<Regional> {
        let ignore = ignored.map(|label| ("ignore_index".to_owned(), f64::from(label).into()));
        let given: Given = set.iter().map(|&(key, value)| (key.to_owned(), value.into())).chain(ignore).collect();
        let objective = Objective::from(Loss::new(name, &given, Convention::Authors)?);
        Regional::new(&objective, vec![("whole".into(), vec![1, 2]), ("core".into(), vec![2, 2])], ignored)
    }

    fn tensors(logits: &[f64]) -> (Tensor<Reference>, Tensor<Reference>) {
        let tensor = |c, numbers: &[f64]| Tensor::from_f64(&Reference, Shape::new(1, c, 1, 1, 4), numbers);
        (tensor(2, logits).tracked(), tensor(1, &LABELS))
    }

    fn value(loss: &Regional, logits: &[f64]) -> f64 {
        let (logits, labels) = tensors(logits);
        loss.value(&Batch::new(&logits, &labels)).total.item().unwrap()
    }

    fn sigmoid(z: f64) -> f64 {
        1.0 / (1.0 + (-z).exp())
    }

    /// Pixels with label 3 are ignored: three are left.
    fn truth() -> [[f64; 3]; 2] {
        [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    }

    #[test]
    fn cross_entropy_is_binary_cross_entropy_by_hand() {
        let entropy = |z: f64, y: f64| -(y * sigmoid(z).ln() + (1.0 - y) * (1.0 - sigmoid(z)).ln());
        let own =
            |region: usize| (0..3).map(|i| entropy(LOGITS[4 * region + i], truth()[region][i])).sum::<f64>() / 3.0;
        let expected = 0.5 * (own(0) + own(1));
        let found = value(&of("ce", &[], Some(3)).unwrap(), &LOGITS);
        assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    }

    #[test]
    fn dice_of_the_regions_alone_by_hand() {
        let own = |region: usize| {
            let p = |i: usize| sigmoid(LOGITS[4 * region + i]);
            let (both, predicted): (f64, f64) =
                (0..3).fold((0.0, 0.0), |(b, s), i| (b + p(i) * truth()[region][i], s + p(i)));
            1.0 - (2.0 * both + 1e-5) / (predicted + truth()[region].iter().sum::<f64>() + 1e-5)
        };
        let expected = 0.5 * (own(0) + own(1));
        let found = value(&of("dice", &[("include_background", "false")], Some(3)).unwrap(), &LOGITS);
        assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let step = 1e-6;
        for name in Loss::names() {
            let Ok(loss) = of(name, if name == "ace-l1" { &[("binning", "soft")] } else { &[] }, None) else {
                continue;
            };
            let (logits, labels) = tensors(&LOGITS);
            // Label 3 belongs to no region, so it is rest.
            let gradient =
                loss.value(&Batch::new(&logits, &labels)).total.backward().of(&logits).unwrap().to_f64().unwrap();
            for place in 0..8 {
                let [up, down] = [step, -step].map(|step| {
                    let mut logits = LOGITS;
                    logits[place] += step;
                    value(&loss, &logits)
                });
                let found = (up - down) / (2.0 * step);
                assert!((found - gradient[place]).abs() < 1e-6, "{name}: {found} and {}", gradient[place]);
            }
        }
    }

    #[test]
    fn losses_of_logit_differences_apply_and_no_others() {
        for spec in Loss::SPECS {
            match of(spec.name, &[], None) {
                Ok(loss) => {
                    assert!(!SHIFT_SENSITIVE.contains(&spec.name), "{}", spec.name);
                    assert!(loss.check(2).is_ok() && loss.check(3).is_err());
                }
                Err(error) => {
                    assert!(SHIFT_SENSITIVE.contains(&spec.name), "{error}");
                    assert!(error.to_string().contains("one logit each"), "{error}");
                }
            }
        }
        assert!(of("nacl", &[("on", "softmax")], None).is_ok());
        let message = of("ce", &[("class_weights", "1,2,3")], None).unwrap().check(2).unwrap_err().to_string();
        assert!(message.contains("whole and rest: ce: "), "{message}");
    }

    #[test]
    fn multipliers_are_of_each_region() {
        let mut loss = of("cals", &[], None).unwrap();
        let state = loss.state();
        assert!(state.iter().any(|(name, _)| name == "core/cals.lambda"), "{state:?}");
        let (logits, labels) = tensors(&LOGITS);
        loss.observe(&Batch::new(&logits, &labels)).unwrap();
        loss.end_epoch();
        let moved = loss.state();
        let mut other = of("cals", &[], None).unwrap();
        other.restore(&moved).unwrap();
        assert_eq!(other.state(), moved);
        assert!(of("ce", &[], None).unwrap().restore(&moved).is_err());
    }
}
