//! Decides the order of the axes of a cohort's arrays.
//!
//! The order is a property of the tool that wrote the folder, so it is decided once for all cases: by the option, by
//! shapes that only one order fits, by nnU-Net's properties files beside the arrays, or by the agreement of the cohort
//! with its references if one order wins clearly. If nothing decides, nothing is measured. Once the order is known,
//! every case is measured, however bad its prediction is.

use std::path::Path;

use segcal_core::{Context, Error, Result};
use segcal_data::npy;
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::{Label, Probabilities};

use super::axes::Order;
use super::inputs::{Files, Pair};
use super::reading::Reading;
use super::{one_a_thread, scores};

/// The agreement (fraction of foreground voxels with the right label) by which a flipped array must win to cast doubt.
const MARGIN: f64 = 0.2;

/// An order is accepted if its agreement is at least the first number, and its error is less than the second number
/// times the error of the next best order.
const BELIEVED: (f64, f64) = (0.5, 0.75);

/// Maximum number of foreground voxels per case on which orders are compared. If there are more, they are sampled at
/// equal distances.
const WITNESSES: usize = 1 << 16;

/// Number of foreground voxels from which a case has full weight; with fewer, it has less.
const FULL_WEIGHT: f64 = 64.0;

/// Number of foreground voxels in a cohort below which flips are not considered, since a few are right by chance.
const FEWEST: f64 = 4.0;

/// Maximum number of cases read for the agreement. If there are more, they are sampled at equal distances.
const CASES: usize = 64;

/// The content of the predictions of a cohort.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Label maps.
    Labels,
    /// Scores of classes.
    Classes,
    /// Scores of regions.
    Regions(&'a Nested),
}

impl Content<'_> {
    /// Whether there are channels.
    const fn has_channels(self) -> bool {
        !matches!(self, Self::Labels)
    }
}

/// An array, with the information that decides the order of its axes.
struct Array<'a> {
    pair: &'a Pair,
    path: &'a Path,
    shape: Vec<usize>,
    extent: [usize; 3],
    /// Whether the reference is an array too, in the documented order.
    documented: bool,
}

impl Array<'_> {
    fn flat(&self) -> bool {
        self.extent[0] == 1
    }

    fn fits(&self, order: &Order, classes: bool) -> bool {
        order.extent(&self.shape, classes, self.flat()).is_ok_and(|extent| extent == self.extent)
    }
}

/// Returns the reading with the order of the axes decided for these cases.
///
/// # Errors
/// The order is ambiguous.
pub fn decide(pairs: &[Pair], content: Content<'_>, reading: &Reading) -> Result<Reading> {
    let arrays: Vec<Array<'_>> = pairs.iter().filter_map(array).collect();
    if reading.axes.is_some() || arrays.is_empty() {
        return Ok(reading.clone());
    }
    let order = order(&arrays, content)?;
    Ok(Reading { axes: Some(order), ..reading.clone() })
}

/// The array of a case; `None` if the prediction is not an array, or cannot be read, which fails later when the case is
/// measured.
fn array(pair: &Pair) -> Option<Array<'_>> {
    let Files::One(path) = &pair.prediction else { return None };
    if !npy::is_array(path) {
        return None;
    }
    let shape = npy::read_header(path, "probabilities").ok()?.shape;
    let extent = scores::extent(pair.reference_file()).ok()?;
    Some(Array { pair, path, shape, extent, documented: npy::is_array(&pair.reference) })
}

fn order(arrays: &[Array<'_>], content: Content<'_>) -> Result<Order> {
    let classes = content.has_channels();
    let pictures = arrays.iter().all(|array| array.shape.len() == 2 + usize::from(classes) && array.flat());
    let all = Order::candidates(pictures);
    // An array that fits no order fails later, when its case is measured.
    let fitting: Vec<&Array<'_>> =
        arrays.iter().filter(|array| all.iter().any(|order| array.fits(order, classes))).collect();
    let Some(first) = fitting.first() else { return Ok(Order::documented()) };
    let possible: Vec<Order> =
        all.iter().filter(|order| fitting.iter().all(|array| array.fits(order, classes))).cloned().collect();
    let documented = all[0].clone();
    match &possible[..] {
        [] => Err(contradiction(&fitting, &all, classes)),
        _ if possible.contains(&documented) && fitting.iter().all(|array| has_properties(array.path)) => Ok(documented),
        [only] => expect_unflipped(only, &agreements(&fitting, &possible, content), first),
        _ => most_agreeing(&possible, &agreements(&fitting, &possible, content), &fitting),
    }
}

/// Whether nnU-Net's properties of the image are beside the probabilities, whose order is then `[class, z, y, x]`.
fn has_properties(path: &Path) -> bool {
    npy::is_archive(path) && ["pkl", "properties.json"].iter().any(|ending| path.with_extension(ending).is_file())
}

/// The error if no order fits the shapes of all arrays.
fn contradiction(arrays: &[&Array<'_>], all: &[Order], classes: bool) -> Error {
    let fits = |array: &Array<'_>| -> Vec<&Order> { all.iter().filter(|order| array.fits(order, classes)).collect() };
    let first = arrays[0];
    let orders = fits(first);
    let other = arrays.iter().find(|array| !orders.iter().any(|order| array.fits(order, classes)));
    let shown = |array: &Array<'_>| {
        let orders = fits(array).into_iter().map(Order::in_words).collect::<Vec<_>>().join(" or ");
        format!("{} fits its reference as {orders}", array.path.display())
    };
    let problem = match other {
        Some(other) => format!("{}, but {}", shown(first), shown(other)),
        None => "no order of the axes fits the references of all cases".to_owned(),
    };
    Error::new(problem).help("evaluate the output of one tool at a time, or give the order, such as --axes kzyx")
}

/// The agreement of an order as it is, and with the best of its flips.
struct Agreement {
    order: Order,
    straight: f64,
    flipped: (f64, String),
}

/// The agreement of each order over the cohort, and the total weight of the voxels behind it.
struct Agreements {
    orders: Vec<Agreement>,
    witnesses: f64,
}

/// The weight and the agreements of one case: for each order, one for each of its eight flips.
type Counted = (f64, Vec<[f64; 8]>);

fn agreements(arrays: &[&Array<'_>], orders: &[Order], content: Content<'_>) -> Agreements {
    let chosen: Vec<&Array<'_>> = arrays.iter().step_by(arrays.len().div_ceil(CASES)).copied().collect();
    let cases: Vec<Result<Counted>> =
        one_a_thread(&chosen, |array| agreement(array, orders, content).at(array.path.display()));
    let mut sums = vec![[0.0; 8]; orders.len()];
    let mut witnesses = 0.0;
    // A case that cannot be read fails later, when it is measured.
    for (weight, shares) in cases.into_iter().flatten() {
        witnesses += weight;
        for (sum, share) in sums.iter_mut().zip(shares) {
            sum.iter_mut().zip(share).for_each(|(sum, share)| *sum += weight * share);
        }
    }
    let mean = |sum: f64| if witnesses > 0.0 { sum / witnesses } else { 0.0 };
    let found = |(order, sums): (&Order, &[f64; 8])| {
        let best = (1..8).max_by(|&a, &b| sums[a].total_cmp(&sums[b])).unwrap_or(1);
        let letters = (0..3).filter(|axis| best >> axis & 1 == 1).map(|axis| ['z', 'y', 'x'][axis]).collect();
        Agreement { order: order.clone(), straight: mean(sums[0]), flipped: (mean(sums[best]), letters) }
    };
    Agreements { orders: orders.iter().zip(&sums).map(found).collect(), witnesses }
}

/// Computes, for each order and flip, the fraction of the reference's foreground voxels that the prediction labels
/// correctly.
fn agreement(array: &Array<'_>, orders: &[Order], content: Content<'_>) -> Result<Counted> {
    let reference = array.pair.read_reference()?;
    let labels = reference.values();
    let foreground = labels.iter().filter(|&&label| label != 0).count();
    if foreground == 0 {
        return Ok((0.0, vec![[0.0; 8]; orders.len()]));
    }
    let inside = (0..labels.len()).filter(|&voxel| labels[voxel] != 0);
    let witnesses: Vec<usize> = inside.step_by(foreground.div_ceil(WITNESSES)).collect();
    let predicted = predicted(array, content)?;
    let shares = orders.iter().map(|order| {
        let place = Place::new(order, array, content.has_channels())?;
        Ok(std::array::from_fn(|flips| {
            let right = witnesses.iter().filter(|&&voxel| predicted[place.of(voxel, flips)] == labels[voxel]).count();
            right as f64 / witnesses.len() as f64
        }))
    });
    let shares = shares.collect::<Result<_>>()?;
    Ok(((witnesses.len() as f64).min(FULL_WEIGHT), shares))
}

/// The predicted labels of an array, in its own order without the class axis.
fn predicted(array: &Array<'_>, content: Content<'_>) -> Result<Vec<Label>> {
    if !content.has_channels() {
        let map = npy::read::<i32>(array.path, "labels")?;
        return Ok(map.data.into_iter().map(|label| Label::try_from(label).unwrap_or(Label::MAX)).collect());
    }
    let scores = npy::read::<f32>(array.path, "probabilities")?;
    let voxels = array.extent.iter().product::<usize>().max(1);
    if let Content::Regions(nested) = content {
        return Ok(nested.label_map(&scores.data));
    }
    match scores.data.len() / voxels {
        1 => {
            // One score per voxel: probabilities, or logits if any value is outside [0, 1].
            let half = if scores.data.iter().all(|p| (0.0..=1.0).contains(p)) { 0.5 } else { 0.0 };
            Ok(scores.data.into_iter().map(|score| Label::from(score > half)).collect())
        }
        count => Ok(Probabilities::new(&scores.data, count).argmax()),
    }
}

/// Maps voxels of the reference to offsets in an array with some order of axes.
struct Place {
    extent: [usize; 3],
    steps: [usize; 3],
}

impl Place {
    fn new(order: &Order, array: &Array<'_>, classes: bool) -> Result<Self> {
        let axes = order.spatial(array.shape.len(), classes, array.flat())?;
        let mut steps = [0; 3];
        for (axis, own) in axes.iter().rev().enumerate() {
            steps[2 - axis] = array.shape[own + 1..].iter().product();
        }
        Ok(Self { extent: array.extent, steps })
    }

    fn of(&self, voxel: usize, flips: usize) -> usize {
        let [d, h, w] = self.extent;
        let at = [voxel / (h * w), voxel / w % h, voxel % w];
        let along = |axis: usize| {
            let index = if flips >> axis & 1 == 1 { [d, h, w][axis] - 1 - at[axis] } else { at[axis] };
            index * self.steps[axis]
        };
        along(0) + along(1) + along(2)
    }
}

/// Returns the only order that fits, unless a flip of it agrees far better.
fn expect_unflipped(order: &Order, found: &Agreements, first: &Array<'_>) -> Result<Order> {
    let Some(best) = found.orders.first() else { return Ok(order.clone()) };
    if found.witnesses < FEWEST || best.flipped.0 <= best.straight + MARGIN {
        return Ok(order.clone());
    }
    Err(doubt(found, order, first.path))
}

/// Returns the order that wins clearly.
fn most_agreeing(possible: &[Order], found: &Agreements, arrays: &[&Array<'_>]) -> Result<Order> {
    let documented = &possible[0];
    let mut ranked: Vec<&Agreement> = found.orders.iter().collect();
    ranked.sort_by(|a, b| b.straight.total_cmp(&a.straight));
    let refused = || Err(doubt(found, documented, arrays[0].path));
    let [best, second, ..] = ranked[..] else { return refused() };
    let flipped = found.orders.iter().map(|order| order.flipped.0).fold(0.0, f64::max);
    if flipped > best.straight + MARGIN && found.witnesses >= FEWEST {
        return refused();
    }
    let (least, share) = BELIEVED;
    let clear = best.straight >= least && 1.0 - best.straight < share * (1.0 - second.straight);
    // Arrays on both sides have the documented order, unless another one wins clearly.
    if arrays.iter().all(|array| array.documented) {
        return if clear && best.order != *documented { refused() } else { Ok(documented.clone()) };
    }
    if !clear {
        return refused();
    }
    let text = format!(
        "the arrays are read as {}, which agrees with {:.1} % of the references' foreground; {} agrees with {:.1} %; --axes \
         sets the order",
        best.order.in_words(),
        100.0 * best.straight,
        second.order.in_words(),
        100.0 * second.straight
    );
    if best.order == *documented {
        log::info!("{text}");
    } else {
        log::warn!("{text}");
    }
    Ok(best.order.clone())
}

/// The error if the order is ambiguous, with the agreement of each order.
fn doubt(found: &Agreements, documented: &Order, path: &Path) -> Error {
    let straight = |found: &Agreement| format!("{:.0} % read as {}", 100.0 * found.straight, found.order.in_words());
    let mut shown: Vec<String> = found.orders.iter().map(straight).collect();
    let best = found.orders.iter().max_by(|a, b| a.flipped.0.total_cmp(&b.flipped.0));
    if let Some(best) = best.filter(|best| best.flipped.0 > best.straight) {
        let (share, letters) = &best.flipped;
        shown.push(format!("{:.0} % read as {} flipped along {letters}", 100.0 * share, best.order.in_words()));
    }
    let problem = format!(
        "the order of the axes is ambiguous: agreement with the references' foreground is {}",
        shown.join(", ")
    );
    Error::new(problem).at(path.display()).help(format!(
        "if you know the order, give it, for example --axes {documented}; if arrays are flipped, flip them"
    ))
}

#[cfg(test)]
mod tests;
