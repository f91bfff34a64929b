//! Pointers of the caller as slices, texts and handles.

use std::ffi::{CStr, c_char};

use segcal_core::{Error, Result};

/// `length` values at `pointer`.
///
/// # Errors
/// The pointer is null or not aligned.
///
/// # Safety
/// A pointer that is neither points to `length` values, which nobody changes while the slice lives.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, length: usize, name: &str) -> Result<&'a [T]> {
    expect(pointer, name)?;
    // SAFETY: checked above, and the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// `length` values at `pointer`, to be written.
///
/// # Errors
/// The pointer is null or not aligned.
///
/// # Safety
/// As [`slice`], and nobody else reads them.
pub(crate) unsafe fn slice_mut<'a, T>(pointer: *mut T, length: usize, name: &str) -> Result<&'a mut [T]> {
    expect(pointer, name)?;
    // SAFETY: checked above, and the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, length) })
}

/// The value at `pointer`.
///
/// # Errors
/// The pointer is null or not aligned.
///
/// # Safety
/// As [`slice`] of one value.
pub(crate) unsafe fn reference<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    expect(pointer, name)?;
    // SAFETY: checked above, and the caller's promise.
    Ok(unsafe { &*pointer })
}

/// A text that ends with a 0.
///
/// # Errors
/// The pointer is null, or the text is not UTF-8.
///
/// # Safety
/// A pointer that is not null points to bytes that end with a 0.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    expect(pointer, name)?;
    // SAFETY: checked above, and the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Error::new("is not UTF-8").at(name))
}

/// Copies a text with a final 0, cut to `capacity` bytes, and gives its whole length without the 0.
///
/// # Safety
/// `place` points to `capacity` bytes, or `capacity` is 0.
pub(crate) unsafe fn write_text(text: &str, place: *mut c_char, capacity: usize) -> usize {
    if capacity > 0 && !place.is_null() {
        let count = text.len().min(capacity - 1);
        // SAFETY: `count` and one more byte fit into `capacity`.
        let place = unsafe { std::slice::from_raw_parts_mut(place.cast::<u8>(), count + 1) };
        place[..count].copy_from_slice(&text.as_bytes()[..count]);
        place[count] = 0;
    }
    text.len()
}

/// Hands a value to the caller, who frees it with [`free`].
///
/// # Errors
/// The pointer is null or not aligned.
///
/// # Safety
/// A pointer that is neither may be written.
pub(crate) unsafe fn hand_out<T>(value: T, place: *mut *mut T, name: &str) -> Result<()> {
    expect(place, name)?;
    // SAFETY: checked above, and the caller's promise.
    unsafe { place.write(Box::into_raw(Box::new(value))) };
    Ok(())
}

/// Frees what [`hand_out`] gave; null is nothing.
///
/// # Safety
/// The handle comes from [`hand_out`] and is not used again.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(handle) });
    }
}

/// The product of extents, if it is the length of an array.
///
/// # Errors
/// An extent is 0, or the product is not addressable.
pub(crate) fn count(extents: &[usize], name: &str) -> Result<usize> {
    let product = extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    match product.filter(|&count| count > 0 && count <= isize::MAX as usize / 8) {
        Some(count) => Ok(count),
        None => Err(Error::new(format!("{extents:?} are no extents of an array")).at(name)),
    }
}

fn expect<T>(pointer: *const T, name: &str) -> Result<()> {
    let problem = match (pointer.is_null(), pointer.is_aligned()) {
        (true, _) => "is a null pointer",
        (_, false) => "is not aligned",
        _ => return Ok(()),
    };
    Err(Error::new(problem).at(name))
}
