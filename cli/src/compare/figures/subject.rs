//! One slice of one subject for every method.

use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_data::{Case, Volume};
use segcal_evaluate::described::Described;
use segcal_evaluate::inputs::Files;
use segcal_evaluate::plane::{Plane, fullest};
use segcal_evaluate::reading::Reading;
use segcal_evaluate::report::charts::{Seen, Subject};
use segcal_evaluate::report::plot::{Plot, Section};
use segcal_evaluate::scores::{self, Scores};

use segcal_metrics::calibration::{Calibration, DEFAULT_BINS, Region, Voxels};
use segcal_metrics::reliability;
use segcal_metrics::volume::{Label, Probabilities};

use crate::compare::part::KEPT;
use crate::compare::results::Results;
use crate::output::Csv;

/// The most methods that fit into a figure.
const MOST: usize = 8;

/// A figure for each data set with each network: the plan's subject, or else the first case by name (NACL Fig. 3, MbLS Fig. 8,
/// MEEP Fig. 1).
pub(super) fn of(results: &Results<'_>) -> Result<Vec<Plot>> {
    let (wanted, number) = &results.plan.subject;
    let mut plots = Vec::new();
    for arm in 0..results.plan.arms.len() {
        let chosen = results.parts[arm].measured.subject(results.plan);
        let Some((case, label)) = chosen.and_then(|case| Some((case, case.label.as_ref()?))) else { continue };
        let described = label.parent().map(Described::beside).unwrap_or_default();
        if described.nested.is_some() {
            log::warn!(
                "subject: no figure of one subject for {}: its labels are regions, and the figure shows only classes",
                case.name
            );
            continue;
        }
        let methods: Vec<(String, PathBuf)> = (0..results.methods.len().min(MOST))
            .filter_map(|method| {
                let row = results.row_of(method);
                let mut own = results.folders.iter().filter(|of| (of.row, of.arm, of.noise) == (row, arm, 0.0));
                let folder = &own.next()?.predictions;
                let of = |kind: &str| folder.join(kind).join(format!("{}.nii.gz", case.name));
                let file = [of("probabilities"), of(KEPT)].into_iter().find(|file| file.is_file())?;
                Some((results.rows[row].name.clone(), file))
            })
            .collect();
        if !methods.is_empty() {
            plots.push(subject(results, arm, (case, label, &described), *number, &methods).at(&case.name)?);
        }
    }
    if let Some(name) = wanted.as_ref().filter(|_| plots.is_empty()) {
        log::warn!("subject: case {name} has no probabilities, so the page shows no subject");
    }
    Ok(plots)
}

fn subject(
    results: &Results<'_>,
    arm: usize,
    (case, label, described): (&Case, &Path, &Described),
    number: Option<usize>,
    methods: &[(String, PathBuf)],
) -> Result<Plot> {
    let reference = scores::read_reference(label)?;
    let number = match number {
        None => fullest(&reference.grid, reference.values()),
        Some(number) => number,
    };
    let plane = Plane::of(&reference.grid, number).ok_or_else(|| {
        Error::new(format!("slice {number} does not exist")).at("subject.slice").help("slices are counted from 0")
    })?;
    let image = match case.images.first() {
        Some(path) => plane.grey(&scores::read_image(path, &reference.grid)?.0),
        None => vec![255; plane.voxels.len()],
    };
    let seen = |(name, file): &(String, PathBuf)| seen(name, file, (&reference, described.ignored), &plane);
    let methods = methods.iter().map(seen).collect::<Result<Vec<Seen>>>()?;
    let reference: Vec<Label> = plane.cut(reference.values());
    let mut labels: Vec<Label> = methods.iter().flat_map(|seen| &seen.prediction).chain(&reference).copied().collect();
    labels.sort_unstable();
    labels.dedup();
    let named = |label: Label| (label, described.names.get(&label).cloned().unwrap_or_else(|| label.to_string()));
    let classes: Vec<(Label, String)> = labels.into_iter().filter(|&label| label > 0).map(named).collect();
    let arm = results.plan.arms[arm].name();
    let on = if arm.is_empty() { String::new() } else { format!("{arm}: ") };
    let title = format!("{on}{}, slice {number}", case.name);
    let csv = table(&reference, &image, &methods);
    let caption =
        format!("{title}: contours on the image, the largest class probability of each voxel, reliability diagram.");
    let (size, spacing_mm) = (plane.size, plane.spacing_mm);
    let file = if arm.is_empty() { "subject".into() } else { format!("subject-{}", arm.replace(' ', "-")) };
    let chart = Subject { title, size, spacing_mm, image, reference, classes, methods };
    Plot::new(&file, Section::Subject, caption, &chart, csv)
}

#[expect(clippy::cast_possible_truncation, reason = "from 0 to 255")]
fn seen(name: &str, file: &Path, (reference, ignored): (&Volume<Label>, Option<Label>), plane: &Plane) -> Result<Seen> {
    let files = Files::One(file.to_path_buf());
    let (values, classes) = scores::read(&files, reference, Scores::Probabilities, &Reading::default())?;
    let probabilities = Probabilities::new(&values, classes);
    let mut state = Calibration::new(classes, DEFAULT_BINS);
    let labels = probabilities.argmax();
    state.add_voxels(&Voxels::new(probabilities, reference.values(), &labels, ignored))?;
    let foreground = state.region(Region::Foreground);
    let voxels = labels.len();
    let largest = |voxel: usize| (0..classes).map(|class| values[class * voxels + voxel]).fold(0.0, f32::max);
    let confidence: Vec<f32> = (0..voxels).map(largest).collect();
    let judged = || labels.iter().zip(reference.values()).filter(|(_, judge)| Some(**judge) != ignored);
    let both = judged().filter(|(a, b)| **a > 0 && a == b).count();
    let either: usize = judged().map(|(&own, &other)| usize::from(own > 0) + usize::from(other > 0)).sum();
    let dsc = 2.0 * both as f64 / either as f64;
    Ok(Seen {
        name: name.to_owned(),
        figures: format!("overlap {dsc:.3}, ECE {:.3}", foreground.ece()),
        prediction: plane.cut(&labels),
        confidence: plane.cut(&confidence).into_iter().map(|p| (255.0 * p).round() as u8).collect(),
        bars: reliability::top_label(&foreground),
    })
}

fn table(reference: &[Label], image: &[u8], methods: &[Seen]) -> Csv {
    let mut csv = Csv::new(&["method", "voxel", "grey", "reference", "prediction", "largest_probability"]);
    for seen in methods {
        for voxel in 0..reference.len() {
            let confidence = f64::from(seen.confidence[voxel]) / 255.0;
            csv.row(&[&seen.name, &voxel, &image[voxel], &reference[voxel], &seen.prediction[voxel], &confidence]);
        }
    }
    csv
}
