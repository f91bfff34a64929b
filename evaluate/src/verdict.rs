//! States in words whether the predictions of a cohort are calibrated.

use segcal_data::output::number;
use segcal_metrics::calibration::Region;
use segcal_metrics::verdict::{Call, LEVEL, Verdict};
use serde_json::{Value, json};

use super::cohort::{Cohort, Kind};

/// The verdict for one region that is chosen without looking at the reference.
#[derive(Clone, Debug)]
pub struct Found {
    /// The region of the data set that the verdict is about, where each is a separate binary problem.
    pub problem: Option<String>,
    /// The region.
    pub region: Region,
    /// Mean confidence over cases.
    pub confidence: f64,
    /// Mean accuracy over cases.
    pub accuracy: f64,
    /// Their difference with its interval, and the conclusion.
    pub verdict: Verdict,
}

/// The regions that have a verdict.
const REGIONS: [Region; 2] = [Region::Predicted, Region::All];

impl Found {
    /// The verdicts for a cohort: where a structure is predicted, then over all voxels. There are none for label maps
    /// or for regions in which no case has a voxel.
    pub fn each(cohort: &Cohort) -> Vec<Self> {
        let problems = cohort.pooled.problems().keys().cloned().map(Some);
        let all = problems.chain([None]);
        all.flat_map(|problem| REGIONS.map(|region| Self::of(cohort, problem.clone(), region))).flatten().collect()
    }

    fn of(cohort: &Cohort, problem: Option<String>, region: Region) -> Option<Self> {
        let name = problem.as_ref().map_or_else(|| region.to_string(), |problem| format!("{problem}/{region}"));
        let row = |key: &str| cohort.row(Kind::Region, &name, key);
        let (confidence, accuracy) = (row("confidence")?, row("accuracy")?);
        let verdict = cohort.verdict(&name)?;
        let [confidence, accuracy] = [confidence, accuracy].map(|row| row.summary.mean);
        verdict.excess.estimate.is_finite().then_some(Self { problem, region, confidence, accuracy, verdict })
    }

    /// One sentence.
    pub fn in_words(&self) -> String {
        let place = match (&self.problem, self.region == Region::All) {
            (None, true) => "over all voxels".to_owned(),
            (None, false) => "where a structure is predicted".to_owned(),
            (Some(name), true) => format!("for {name} over all voxels"),
            (Some(name), false) => format!("for {name} where it is predicted"),
        };
        let excess = self.verdict.excess;
        let interval = format!(
            "{} points, {:.0} % interval [{}, {}]",
            points(excess.estimate),
            100.0 * LEVEL,
            points(excess.lower),
            points(excess.upper)
        );
        let numbers =
            format!("mean confidence {:.1} %, accuracy {:.1} %", 100.0 * self.confidence, 100.0 * self.accuracy);
        let call = self.verdict.call.name();
        match self.verdict.call {
            Call::Calibrated => format!("{call} {place}: {numbers} ({interval} includes 0)"),
            Call::OverConfident | Call::UnderConfident => format!("{call} {place}: {numbers} ({interval})"),
            Call::Undecided => format!("{call} {place}: {numbers} ({} points)", points(excess.estimate)),
        }
    }

    /// The entry in `summary.json`.
    pub fn to_json(&self) -> Value {
        let excess = self.verdict.excess;
        json!({
            "region": self.problem.as_ref().map_or_else(|| self.region.to_string(), |name| format!("{name}/{}", self.region)),
            "verdict": self.verdict.call,
            "confidence": number(self.confidence),
            "accuracy": number(self.accuracy),
            "excess": number(excess.estimate),
            "level": LEVEL,
            "interval": [number(excess.lower), number(excess.upper)],
        })
    }
}

/// A fraction in percentage points, with its sign; 0.0 has none.
pub fn points(share: f64) -> String {
    let text = format!("{:+.1}", 100.0 * share);
    if text.ends_with("0.0") && text.len() == 4 { "0.0".into() } else { text }
}

#[cfg(test)]
mod tests {
    use segcal_core::{Reference, Rng};
    use segcal_data::phantom::{self, CLASSES, Recipe};
    use segcal_metrics::measure::{Options, Prediction, measure};
    use segcal_metrics::volume::{Grid, Label, softmax};

    use super::*;

    /// The verdict on the true posterior of eight phantoms, with its logarithm divided by a temperature.
    fn verdict(seed: u64, temperature: f32) -> Call {
        let recipe = Recipe { spatial: [4, 16, 16], ..Recipe::default() };
        let mut values = [Vec::new(), Vec::new()];
        for case in 0..8 {
            let phantom = phantom::draw(&recipe, Rng::new(seed).stream(case));
            let mut p: Vec<f32> = phantom.posterior.iter().map(|p| p.ln() / temperature).collect();
            softmax(&mut p, CLASSES);
            let labels: Vec<Label> = phantom.label.iter().map(|&label| label.into()).collect();
            let grid = Grid::voxel_units(recipe.spatial);
            let prediction = Prediction::Probabilities(p.into());
            let figures = measure(&Reference, prediction, &labels, grid, &Options::default()).unwrap();
            let predicted = &figures.regions["predicted"];
            values[0].push(predicted["confidence"]);
            values[1].push(predicted["accuracy"]);
        }
        Verdict::new(&values[0], &values[1], 0).call
    }

    #[test]
    fn points_have_a_sign_unless_they_are_zero() {
        assert_eq!([0.0004, -0.0004, 0.0123, -0.1, 0.1].map(points), ["0.0", "0.0", "+1.2", "-10.0", "+10.0"]);
    }

    #[test]
    fn the_true_posterior_is_called_calibrated_and_a_changed_one_by_its_sign() {
        for (temperature, expected) in
            [(1.0, Call::Calibrated), (0.5, Call::OverConfident), (2.0, Call::UnderConfident)]
        {
            let right = (0..100).filter(|&seed| verdict(seed, temperature) == expected).count();
            assert!(right >= 95, "T = {temperature}: {right} of 100");
        }
    }
}
