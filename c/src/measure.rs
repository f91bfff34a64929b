//! All figures of one case in memory.

use std::borrow::Cow;
use std::ffi::c_char;

use segcal_backends::Cpu;
use segcal_core::{Error, Result};
use segcal_metrics::definitions::{METRICS, metric};
use segcal_metrics::empty::Outcome;
use segcal_metrics::measure::{Figures, Options, Prediction, measure};
use segcal_metrics::volume::{Grid, Label};
use serde_json::{Map, Value, json};

use crate::error::{SegcalStatus, guarded};
use crate::memory;

/// What class scores are: the values of a parameter `kind`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegcalScores {
    /// Probabilities: not negative, of sum 1 over the classes.
    Probabilities = 0,
    /// Logits: any finite numbers, of which a softmax makes probabilities.
    Logits = 1,
}

impl SegcalScores {
    /// The kind of a number, which C does not check.
    pub(crate) fn of(kind: i32) -> Result<Self> {
        match kind {
            0 => Ok(Self::Probabilities),
            1 => Ok(Self::Logits),
            _ => Err(Error::new(format!("{kind} is no SegcalScores")).at("kind").help("give one of its constants")),
        }
    }
}

/// Voxels of a volume; an image of two dimensions has one plane.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SegcalGrid {
    /// Number of planes, rows and columns.
    pub extent: [usize; 3],
    /// Their distances in mm.
    pub spacing: [f64; 3],
}

/// How a case is measured; `segcal_options` gives the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SegcalOptions {
    /// Number of bins of the calibration errors.
    pub bins: usize,
    /// Tolerance of the normalised surface distance, in mm.
    pub tolerance_mm: f64,
    /// Half-width of the regions near boundaries, in mm.
    pub band_mm: f64,
    /// The reference label of voxels that are in no figure; -1 where there is none.
    pub ignored: i32,
}

/// The figures of one case.
pub struct SegcalFigures(Figures);

/// The default options: 15 bins, 1 mm, 2 mm, no ignored label.
#[unsafe(no_mangle)]
pub extern "C" fn segcal_options() -> SegcalOptions {
    let Options { bins, tolerance, band, .. } = Options::default();
    SegcalOptions { bins, tolerance_mm: tolerance, band_mm: band, ignored: -1 }
}

/// Measures class scores `[classes, planes, rows, columns]` against labels `[planes, rows, columns]`: overlap, distances
/// and calibration. `options` may be null. What each figure is: `segcal list metrics`.
///
/// # Safety
/// The arrays have the lengths that `classes` and `grid` say; `figures` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_measure(
    kind: i32,
    scores: *const f32,
    classes: usize,
    labels: *const u16,
    grid: *const SegcalGrid,
    options: *const SegcalOptions,
    figures: *mut *mut SegcalFigures,
) -> SegcalStatus {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (grid, options) = unsafe { (memory::reference(grid, "grid")?, memory::reference(options, "options").ok()) };
        let voxels = memory::count(&grid.extent, "grid.extent")?;
        let all = memory::count(&[classes, voxels], "classes")?;
        // SAFETY: the caller's promise.
        let (scores, labels) =
            unsafe { (memory::slice(scores, all, "scores")?, memory::slice(labels, voxels, "labels")?) };
        let prediction = match SegcalScores::of(kind)? {
            SegcalScores::Probabilities => Prediction::Probabilities(Cow::Borrowed(scores)),
            SegcalScores::Logits => Prediction::Logits(Cow::Borrowed(scores)),
        };
        let options = options.map_or_else(|| Ok(Options::default()), resolved)?;
        let grid = Grid::new(grid.extent, spacing(grid)?);
        let found = measure(&Cpu::new(None)?, prediction, labels, grid, &options)?;
        // SAFETY: the caller's promise.
        unsafe { memory::hand_out(SegcalFigures(found), figures, "figures") }
    })
}

/// One figure: `metric` of a structure (`"1"`, `"2"`, ...) or of a region (`"all"`, `"predicted"`, ...). NaN where
/// an empty mask leaves the formula without a value.
///
/// # Safety
/// The handle is alive, the texts end with a 0, `value` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_figure(
    figures: *const SegcalFigures,
    of: *const c_char,
    metric: *const c_char,
    value: *mut f64,
) -> SegcalStatus {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (figures, of, metric) = unsafe {
            (memory::reference(figures, "figures")?, memory::text(of, "of")?, memory::text(metric, "metric")?)
        };
        let found = one(&figures.0, of, metric)?;
        // SAFETY: the caller's promise.
        unsafe { memory::slice_mut(value, 1, "value")?[0] = found };
        Ok(())
    })
}

/// Copies all figures as a JSON object of `structures` and `regions`, cut to `capacity` bytes, with a final 0, and returns
/// its length without the 0. `text` may be null where `capacity` is 0. Returns 0 where `figures` is null.
///
/// # Safety
/// The handle is alive, `text` points to `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_figures_json(
    figures: *const SegcalFigures,
    text: *mut c_char,
    capacity: usize,
) -> usize {
    let mut length = 0;
    guarded(|| {
        // SAFETY: the caller's promise.
        let figures = unsafe { memory::reference(figures, "figures")? };
        // SAFETY: the caller's promise.
        length = unsafe { memory::write_text(&document(&figures.0).to_string(), text, capacity) };
        Ok(())
    });
    length
}

/// Frees figures; null is nothing.
///
/// # Safety
/// The handle is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_figures_free(figures: *mut SegcalFigures) {
    // SAFETY: the caller's promise.
    unsafe { memory::free(figures) };
}

fn resolved(options: &SegcalOptions) -> Result<Options> {
    let ignored = match options.ignored {
        -1 => None,
        label => Some(Label::try_from(label).map_err(|_| {
            Error::new(format!("{label} is not a label")).at("options.ignored").help("give -1 or a label up to 65535")
        })?),
    };
    let SegcalOptions { bins, tolerance_mm, band_mm, .. } = *options;
    Ok(Options { bins, tolerance: tolerance_mm, band: band_mm, ignored, ..Options::default() })
}

pub(crate) fn spacing(grid: &SegcalGrid) -> Result<[f64; 3]> {
    if grid.spacing.iter().all(|step| step.is_finite() && *step > 0.0) {
        return Ok(grid.spacing);
    }
    let error = Error::new(format!("{:?} are not voxel sizes", grid.spacing)).at("grid.spacing");
    Err(error.help("give three positive numbers in mm"))
}

fn one(figures: &Figures, of: &str, key: &str) -> Result<f64> {
    let Some(row) = metric(key) else {
        let known: Vec<&str> = METRICS.iter().map(|row| row.key).collect();
        return Err(Error::new(format!("unknown metric \"{key}\"")).at("metric").help(known.join(", ")));
    };
    let (found, known): (_, Vec<&String>) = if row.per_structure() {
        let found = figures.structures.get(of).and_then(|figures| figures.get(key).copied().map(number));
        (found, figures.structures.keys().collect())
    } else {
        (figures.regions.get(of).and_then(|figures| figures.get(key).copied()), figures.regions.keys().collect())
    };
    found.ok_or_else(|| Error::new(format!("no {key} of \"{of}\"")).at("of").help(format!("there are {known:?}")))
}

fn number(outcome: Outcome) -> f64 {
    outcome.formula().unwrap_or(f64::NAN)
}

/// All figures; those without a finite value are null.
fn document(figures: &Figures) -> Value {
    let structures = figures.structures.iter().map(|(name, figures)| {
        let values = figures.iter().map(|(&key, &outcome)| (key.to_owned(), json!(number(outcome)))).collect();
        (name.clone(), Value::Object(values))
    });
    let regions = figures.regions.iter().map(|(name, figures)| {
        let values = figures.iter().map(|(&key, &value)| (key.to_owned(), json!(value))).collect();
        (name.clone(), Value::Object(values))
    });
    json!({
        "structures": structures.collect::<Map<String, Value>>(), "regions": regions.collect::<Map<String, Value>>(),
        "ignored_voxels": figures.ignored,
    })
}
