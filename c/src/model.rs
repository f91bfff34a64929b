//! Prediction with a trained network.

use std::ffi::c_char;
use std::path::Path;

use ndarray::Array4;
use segcal_backends::Cpu;
use segcal_core::{Error, Result};
use segcal_data::{Grid, Volume};
use segcal_train::run::Trained;

use crate::error::{SegcalStatus, guarded};
use crate::measure::{SegcalGrid, spacing};
use crate::memory;

/// A trained network with its weights, on the processor.
pub struct SegcalModel {
    backend: Cpu,
    trained: Trained<Cpu>,
}

/// Opens the folder of a run of `segcal train` with its best weights.
///
/// # Safety
/// `run` ends with a 0, `model` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_model_open(run: *const c_char, model: *mut *mut SegcalModel) -> SegcalStatus {
    guarded(|| {
        // SAFETY: the caller's promise.
        let run = unsafe { memory::text(run, "run")? };
        let backend = Cpu::new(None)?;
        let trained = Trained::open(Path::new(run), &backend)?;
        // SAFETY: the caller's promise.
        unsafe { memory::hand_out(SegcalModel { backend, trained }, model, "model") }
    })
}

/// Number of channels of its images; 0 where `model` is null.
///
/// # Safety
/// The handle is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_model_channels(model: *const SegcalModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { memory::reference(model, "model") }.map_or(0, |model| model.trained.network.config().in_channels)
}

/// Number of its classes, the background included; 0 where `model` is null.
///
/// # Safety
/// The handle is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_model_classes(model: *const SegcalModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { memory::reference(model, "model") }.map_or(0, |model| model.trained.class_names.len())
}

/// Writes the class probabilities `[classes, planes, rows, columns]` of an image `[channels, planes, rows, columns]` with the
/// intensities of its file: the bits that `segcal predict` writes.
///
/// # Safety
/// The handle is alive, the arrays have as many values as channels, classes and `grid` say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_model_predict(
    model: *const SegcalModel,
    image: *const f32,
    grid: *const SegcalGrid,
    probabilities: *mut f32,
) -> SegcalStatus {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (model, grid) = unsafe { (memory::reference(model, "model")?, memory::reference(grid, "grid")?) };
        let trained = &model.trained;
        let channels = trained.network.config().in_channels;
        let voxels = memory::count(&grid.extent, "grid.extent")?;
        let (all, classes) = (memory::count(&[channels, voxels], "grid.extent")?, trained.class_names.len());
        // SAFETY: the caller's promise; the copy ends this borrow.
        let image = volume(unsafe { memory::slice(image, all, "image")? }, channels, grid)?;
        let found = trained.probabilities(&model.backend, image)?;
        let all = memory::count(&[classes, voxels], "grid.extent")?;
        // SAFETY: the caller's promise.
        unsafe { memory::slice_mut(probabilities, all, "probabilities")? }.copy_from_slice(found.values());
        Ok(())
    })
}

/// Frees a model; null is nothing.
///
/// # Safety
/// The handle is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_model_free(model: *mut SegcalModel) {
    // SAFETY: the caller's promise.
    unsafe { memory::free(model) };
}

fn volume(values: &[f32], channels: usize, grid: &SegcalGrid) -> Result<Volume<f32>> {
    let [z, y, x] = spacing(grid)?;
    let affine = [[x, 0.0, 0.0, 0.0], [0.0, y, 0.0, 0.0], [0.0, 0.0, z, 0.0]];
    let [d, h, w] = grid.extent;
    let data = Array4::from_shape_vec((channels, d, h, w), values.to_vec()).map_err(Error::from_source)?;
    Ok(Volume { data, grid: Grid::new(grid.extent, affine, 0)? })
}
