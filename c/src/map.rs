//! Post-hoc calibration: the files of `segcal calibrate fit` applied to scores in memory.

use std::ffi::c_char;
use std::path::Path;

use segcal_core::{Error, Result};
use segcal_evaluate::calibrate::map::MapFile;
use segcal_evaluate::scores::Scores;
use segcal_metrics::posthoc::logits_of;

use crate::error::{SegcalStatus, guarded};
use crate::measure::SegcalScores;
use crate::memory;

/// A fitted map.
pub struct SegcalMap(MapFile);

/// Reads a file of `segcal calibrate fit`: temperature, vector, Platt or isotonic.
///
/// # Safety
/// `path` ends with a 0, `map` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_map_read(path: *const c_char, map: *mut *mut SegcalMap) -> SegcalStatus {
    guarded(|| {
        // SAFETY: the caller's promise.
        let path = unsafe { memory::text(path, "path")? };
        let file = MapFile::read(Path::new(path))?;
        // SAFETY: the caller's promise.
        unsafe { memory::hand_out(SegcalMap(file), map, "map") }
    })
}

/// Number of classes of a map; 0 where `map` is null.
///
/// # Safety
/// The handle is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_map_classes(map: *const SegcalMap) -> usize {
    // SAFETY: the caller's promise.
    unsafe { memory::reference(map, "map") }.map_or(0, |map| map.0.classes)
}

/// Writes the calibrated probabilities of scores `[classes, voxels]` into an array of the same shape, which may be that of
/// the scores.
///
/// # Safety
/// The handle is alive, both arrays have `classes` (of the map) times `voxels` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_map_apply(
    map: *const SegcalMap,
    kind: i32,
    scores: *const f32,
    voxels: usize,
    probabilities: *mut f32,
) -> SegcalStatus {
    guarded(|| {
        // SAFETY: the caller's promise.
        let map = unsafe { memory::reference(map, "map")? };
        let all = memory::count(&[map.0.classes, voxels], "voxels")?;
        // SAFETY: the caller's promise; the copy ends this borrow before the other array is touched.
        let mut values = unsafe { memory::slice(scores, all, "scores")? }.to_vec();
        calibrate(&map.0, SegcalScores::of(kind)?, &mut values)?;
        // SAFETY: the caller's promise.
        unsafe { memory::slice_mut(probabilities, all, "probabilities")? }.copy_from_slice(&values);
        Ok(())
    })
}

/// Frees a map; null is nothing.
///
/// # Safety
/// The handle is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_map_free(map: *mut SegcalMap) {
    // SAFETY: the caller's promise.
    unsafe { memory::free(map) };
}

fn calibrate(file: &MapFile, kind: SegcalScores, values: &mut [f32]) -> Result<()> {
    let input = match kind {
        SegcalScores::Probabilities => Scores::Probabilities,
        SegcalScores::Logits => Scores::Logits,
    };
    file.expect(input, file.map.ignores_offsets())?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::new(format!("value {at} is {}", values[at])).at("scores").help("give finite numbers"));
    }
    if kind == SegcalScores::Probabilities {
        logits_of(values);
    }
    file.map.apply(values, file.classes);
    Ok(())
}
