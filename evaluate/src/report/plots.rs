//! The plots of a cohort.

use segcal_core::{Context, Error, Result};
use segcal_metrics::calibration::{MOST_CLASSES, Region, RegionBins};
use segcal_metrics::reliability::{self, Bar};
use segcal_metrics::volume::Label;

use super::charts::{Boxes, Distribution, Histogram, MOST_DOTS, Overlay, Reliability, dots};
use super::logit_means;
use super::plot::{Plot, Section};
use super::words::grouped;
use crate::cohort::{Case, Cohort, Kind, Row};
use crate::pooled::Logits;
use crate::scores::Scores;
use crate::slices::{self, Layers, Slice};
use crate::states::{self, slices_of};
use segcal_data::output::{Csv, OutputFolder};

/// Number of cases drawn for each structure, the worst first.
const WORST: usize = 3;

/// With more structures than this, only those with the lowest mean DSC have slices.
const MOST_STRUCTURES: usize = 30;
/// With more boxes than this, a box plot is not drawn.
const MOST_BOXES: usize = 300;

/// Draws every plot: box plots, slices of the worst cases (whose voxels are stored in `folder`), reliability diagrams
/// and confidence histograms of every region and class, and distributions of logits.
///
/// # Errors
/// The drawing library fails.
pub fn of(cohort: &Cohort, folder: &OutputFolder) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for key in ["dsc", "hd95_max", "hd95_pooled", "nsd", "assd"] {
        plots.extend(box_plot(cohort, Kind::Structure, key)?);
    }
    plots.extend(box_plot(cohort, Kind::Region, "ece")?);
    plots.extend(overlays(cohort, folder)?);
    if let Some([first, other]) = cohort.pooled.differing() {
        log::warn!("cases with {first} and {other} classes: no common reliability diagram");
    }
    let pooled = cohort.pooled.counters();
    plots.extend(of_problems(cohort)?);
    if let Some(calibration) = pooled.map(|counters| &counters.calibration) {
        let many = calibration.classes() > MOST_CLASSES;
        let shown = |region: &Region| match region {
            Region::Structure(_) => !many,
            Region::PredictedAs(_) => false,
            _ => true,
        };
        let regions = || Region::every(calibration.classes()).into_iter().filter(shown);
        for region in regions() {
            plots.extend(reliability(cohort, region)?);
        }
        let all = calibration.region(Region::All);
        for class in 1..if many { 1 } else { calibration.classes() } {
            let shown = format!("class {}, one-vs-rest", cohort.name(&class.to_string()));
            plots.push(reliability_plot(
                &format!("class-{class}"),
                &shown,
                "frequency",
                &reliability::of_class(&all, class),
            )?);
        }
        let filled = regions().map(|region| (region, calibration.region(region))).filter(|(_, bins)| bins.voxels() > 0);
        for (region, bins) in filled {
            plots.push(confidence_plot(&region.to_string(), &of_region(cohort, region), &bins)?);
        }
    }
    if let Some(logits) = pooled.and_then(|counters| counters.logits.as_ref()) {
        for label in 0..logits.counts.classes() as Label {
            plots.extend(logit_plot(cohort, logits, label)?);
        }
        if logits.of == Scores::Logits {
            plots.extend(logit_means::plots(cohort, &logits.counts)?);
        }
    }
    Ok(plots)
}

/// Reliability and confidence of each region that is predicted as a separate binary problem: over all voxels, where it
/// is predicted, and near its predicted boundary.
fn of_problems(cohort: &Cohort) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for (number, (name, pooled)) in cohort.pooled.problems().iter().enumerate() {
        let Some(counters) = pooled.counters() else { continue };
        for region in [Region::All, Region::Predicted, Region::Near] {
            let bins = counters.calibration.region(region);
            if bins.voxels() == 0 {
                continue;
            }
            // Names of regions may contain characters that file names cannot.
            let (file, shown) = (format!("region-{}-{region}", number + 1), format!("{name} vs. rest, {region}"));
            plots.push(reliability_plot(&file, &shown, "accuracy", &reliability::top_label(&bins))?);
            plots.push(confidence_plot(&file, &shown, &bins)?);
        }
        let all = counters.calibration.region(Region::All);
        let (file, shown) = (format!("region-{}", number + 1), format!("{name}, one-vs-rest"));
        plots.push(reliability_plot(&file, &shown, "frequency", &reliability::of_class(&all, 1))?);
    }
    Ok(plots)
}

/// The reliability diagram of a region. `None` if the region has no voxels or the cohort has only label maps.
///
/// # Errors
/// The drawing library fails.
pub fn reliability(cohort: &Cohort, region: Region) -> Result<Option<Plot>> {
    let bins = cohort.pooled.counters().map(|counters| counters.calibration.region(region));
    let of = |bins: RegionBins| {
        let bars = reliability::top_label(&bins);
        reliability_plot(&region.to_string(), &of_region(cohort, region), "accuracy", &bars)
    };
    bins.filter(|bins| bins.voxels() > 0).map(of).transpose()
}

fn of_region(cohort: &Cohort, region: Region) -> String {
    match region {
        Region::Structure(label) => format!("structure {}", cohort.name(&label.to_string())),
        other => other.to_string(),
    }
}

fn reliability_plot(name: &str, of: &str, what: &'static str, bars: &[Bar]) -> Result<Plot> {
    let gap = |bar: &Bar| Some(bar.share * (bar.accuracy? - bar.confidence?).abs());
    let ece: f64 = bars.iter().filter_map(gap).sum();
    let voxels: u64 = bars.iter().map(|bar| bar.count).sum();
    let chart = Reliability { title: format!("{of}: ECE of the pooled voxels {ece:.4}"), what, bars: bars.to_vec() };
    let caption = format!("{of}: {} voxels, pooled over all cases.", grouped(voxels));
    let mut csv = Csv::new(&["lower", "upper", "count", "share", "mean_probability", "frequency"]);
    for bar in bars {
        let or_empty = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let (confidence, accuracy) = (or_empty(bar.confidence), or_empty(bar.accuracy));
        csv.row(&[&bar.lower, &bar.upper, &bar.count, &bar.share, &confidence, &accuracy]);
    }
    Plot::new(&format!("reliability-{name}"), Section::Reliability, caption, &chart, csv)
}

fn confidence_plot(name: &str, of: &str, region: &RegionBins) -> Result<Plot> {
    let bins = region.top_bins();
    let edge = |number: usize| number as f64 / bins.len() as f64;
    let counted = bins
        .iter()
        .enumerate()
        .map(|(number, bin)| ([edge(number), edge(number + 1)], [bin.hits, bin.count - bin.hits]));
    let bins: Vec<_> = counted.collect();
    let mut csv = Csv::new(&["lower", "upper", "right", "wrong"]);
    bins.iter().for_each(|([lower, upper], [right, wrong])| csv.row(&[lower, upper, right, wrong]));
    let chart = Histogram {
        title: format!("{of}: confidence {:.3}, accuracy {:.3}", region.confidence(), region.accuracy()),
        bins,
    };
    let caption = format!("{of}, pooled over all cases.");
    Plot::new(&format!("confidence-{name}"), Section::Confidence, caption, &chart, csv)
}

/// The distribution of every channel over the voxels of one true class; `None` if there are no such voxels.
fn logit_plot(cohort: &Cohort, logits: &Logits, label: Label) -> Result<Option<Plot>> {
    let counts = &logits.counts;
    let voxels: u64 = counts.counts(label, 0).iter().sum();
    if voxels == 0 {
        return Ok(None);
    }
    let what = match logits.of {
        Scores::Logits => "logit",
        Scores::Probabilities => "ln p (logarithm of the probability)",
    };
    let edges = counts.edges();
    let bins = edges.len() - 1;
    let mut csv = Csv::new(&["channel", "lower", "upper", "count"]);
    let mut channels = Vec::new();
    for channel in 0..counts.classes() {
        let cells = counts.counts(label, channel);
        let limits = |cell: usize| match cell {
            0 => (f64::NEG_INFINITY, edges[0]),
            cell if cell > bins => (edges[bins], f64::INFINITY),
            cell => (edges[cell - 1], edges[cell]),
        };
        for (cell, count) in cells.iter().enumerate() {
            let (lower, upper) = limits(cell);
            csv.row(&[&channel, &lower, &upper, count]);
        }
        // Values beyond the edges are drawn in the first and last bin.
        let mut shares: Vec<f64> = cells[1..=bins].iter().map(|&count| count as f64 / voxels as f64).collect();
        shares[0] += cells[0] as f64 / voxels as f64;
        shares[bins - 1] += cells[bins + 1] as f64 / voxels as f64;
        channels.push((cohort.name(&channel.to_string()), shares));
    }
    let of = cohort.name(&label.to_string());
    let chart = Distribution { title: format!("voxels whose true class is {of}"), what, edges, channels };
    let caption = format!("{} voxels of true class {of}, pooled over all cases.", grouped(voxels));
    Plot::new(&format!("logits-class-{label}"), Section::Logits, caption, &chart, csv).map(Some)
}

/// A box plot of one metric over all structures or regions; `None` if no case has a value, or there are too many boxes.
fn box_plot(cohort: &Cohort, kind: Kind, key: &'static str) -> Result<Option<Plot>> {
    let rows: Vec<&Row> = cohort.rows.iter().filter(|row| row.kind == kind && row.metric.key == key).collect();
    let finite = |values: &[f64]| values.iter().copied().filter(|value| value.is_finite()).collect::<Vec<_>>();
    let shown =
        |of: &str| of.strip_prefix("structure:").map_or_else(|| cohort.name(of), |label| format!("structure {label}"));
    let groups = rows.iter().map(|row| (shown(&row.of), finite(&row.values)));
    let groups: Vec<(String, Vec<f64>)> = groups.filter(|(_, values)| !values.is_empty()).collect();
    let shown = !groups.is_empty() && groups.len() <= MOST_BOXES;
    let Some(row) = rows.first().filter(|_| shown) else { return Ok(None) };
    let few = cohort.cases.len() <= MOST_DOTS;
    let mut csv = Csv::new(&["case", "structure", "value"]);
    for row in &rows {
        let cases = if few { (0..row.values.len()).collect() } else { drawn(row) };
        cases.into_iter().for_each(|case| csv.row(&[&cohort.cases[case].name, &row.of, &row.values[case]]));
    }
    let by = if kind == Kind::Structure { "structure" } else { "region" };
    let unit = cohort.headed(row.metric);
    let missing: usize = rows.iter().map(|row| row.values.iter().filter(|value| !value.is_finite()).count()).sum();
    let each = if few { "one dot per case" } else { "dots are some of the cases" };
    let chart = Boxes { title: format!("{key} by {by}, {each}"), unit, groups };
    let mut caption = format!("{key}: {}.", row.metric.definition);
    if !few {
        caption += &format!(
            " Boxes are of all cases, dots of at most {MOST_DOTS} per {by}, at equal distances in their order; all values: \
             cases.csv."
        );
    }
    if missing > 0 {
        caption += &format!(" {missing} non-finite values are not shown.");
    }
    Plot::new(&format!("box-{key}"), Section::Cases, caption, &chart, csv).map(Some)
}

/// The cases that are drawn as [`dots`]: some of those with a finite value.
fn drawn(row: &Row) -> Vec<usize> {
    let finite: Vec<usize> = (0..row.values.len()).filter(|&case| row.values[case].is_finite()).collect();
    let values: Vec<f64> = finite.iter().map(|&case| row.values[case]).collect();
    dots(&values).into_iter().map(|dot| finite[dot]).collect()
}

/// The cases sorted by a structure's DSC, the worst first; cases without a value are left out.
pub fn worst_first(cohort: &Cohort, structure: &str) -> Vec<usize> {
    let Some(row) = cohort.row(Kind::Structure, structure, "dsc") else { return Vec::new() };
    let mut order: Vec<usize> = (0..cohort.cases.len()).filter(|&case| !row.values[case].is_nan()).collect();
    order.sort_by(|&a, &b| row.values[a].total_cmp(&row.values[b]));
    order
}

/// The structures whose slices are shown: all, or if there are too many, those with the lowest mean DSC.
fn shown_structures(cohort: &Cohort) -> Vec<&str> {
    let mut structures = cohort.structures();
    if structures.len() > MOST_STRUCTURES {
        let dsc = |of: &str| cohort.row(Kind::Structure, of, "dsc").map_or(f64::NAN, |row| row.summary.mean);
        structures.sort_by(|a, b| dsc(a).total_cmp(&dsc(b)));
        structures.truncate(MOST_STRUCTURES);
    }
    structures
}

/// Slices of the worst cases of each structure.
fn overlays(cohort: &Cohort, folder: &OutputFolder) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for structure in shown_structures(cohort) {
        for case in worst_first(cohort, structure).into_iter().take(WORST) {
            let name = &cohort.cases[case].name;
            match stored(cohort, folder, name, structure) {
                Ok(Some((slice, layers))) => plots.push(overlay(cohort, case, slice, layers).at(name)?),
                Ok(None) => {}
                Err(error) => log::warn!("{name}: the report shows no slice: {error}"),
            }
        }
    }
    Ok(plots)
}

/// The slice of a structure that is stored for a case, if there is one.
fn stored(cohort: &Cohort, folder: &OutputFolder, case: &str, structure: &str) -> Result<Option<(Slice, Layers)>> {
    let slices = states::slices(folder, cohort.layout(), case)?;
    let Some(number) = slices.iter().position(|slice| slice.structure == structure) else { return Ok(None) };
    let layers = slices::read(&slices_of(folder, cohort.layout(), case)?, number, slices[number].size)?;
    Ok(slices.into_iter().nth(number).map(|slice| (slice, layers)))
}

fn overlay(cohort: &Cohort, case: usize, slice: Slice, layers: Layers) -> Result<Plot> {
    let Case { name, length_unit, .. } = &cohort.cases[case];
    let of = cohort.name(&slice.structure);
    let voxels: usize = slice.size.iter().product();
    if layers.reference.len() != voxels || layers.prediction.len() != voxels {
        return Err(Error::new("the stored slice is incomplete").help("evaluate the case again"));
    }
    let figure = |key: &str| {
        let row = cohort.row(Kind::Structure, &slice.structure, key);
        row.map_or(f64::NAN, |row| row.values[case])
    };
    let [dsc, hd95] = [figure("dsc"), figure("hd95_max")];
    let title = format!("{name}, structure {of}");
    let mut figures = format!("DSC {dsc:.3}");
    if hd95.is_finite() {
        figures += &format!(", HD95 {hd95:.1} {}", cohort.length_unit().name());
    }
    let differing = slice.differing;
    let place = match slice.of {
        1 => format!("the contours differ in {differing} voxels"),
        of => format!(
            "{} slice {} of {of}, the one where the contours differ most ({differing} voxels)",
            slice.view,
            slice.number + 1
        ),
    };
    let caption = format!("{name}, structure {of}: {place}.");
    let mut csv = Csv::new(&["row", "column", "reference", "prediction", "largest_probability", "grey"]);
    let value = |layer: &[u8], at: usize, scale: f64| {
        layer.get(at).map_or_else(String::new, |&value| (f64::from(value) / scale).to_string())
    };
    for at in 0..voxels {
        let (row, column) = (at / slice.size[1], at % slice.size[1]);
        let (confidence, grey) = (value(&layers.confidence, at, 255.0), value(&layers.image, at, 1.0));
        csv.row(&[&row, &column, &layers.reference[at], &layers.prediction[at], &confidence, &grey]);
    }
    let name = format!("worst-{}-{name}", slice.structure);
    let of = slice.structure.clone();
    let chart = Overlay { title, figures, slice, layers, unit: *length_unit };
    Ok(Plot { of, ..Plot::new(&name, Section::Worst, caption, &chart, csv)? })
}
