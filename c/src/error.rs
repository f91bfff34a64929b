//! What a call came to, and the text of a failure.

use std::cell::RefCell;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use segcal_core::Result;

use crate::memory;

/// What a call came to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegcalStatus {
    /// The result was written.
    Ok = 0,
    /// An argument or a file is not what it should be; nothing was written. The text names it and the remedy.
    Error = 1,
    /// A defect of the library; nothing was written.
    Defect = 2,
}

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Copies the text of the calling thread's last failure, as UTF-8 with a final 0, cut to `capacity` bytes, and returns
/// its length without the 0. `text` may be null where `capacity` is 0.
///
/// # Safety
/// `text` points to `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segcal_error(text: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's promise.
    LAST.with_borrow(|last| unsafe { memory::write_text(last, text, capacity) })
}

/// Runs the body of a function: its error and its panic become a status and a text.
pub(crate) fn guarded(body: impl FnOnce() -> Result<()>) -> SegcalStatus {
    let (status, text) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return SegcalStatus::Ok,
        Ok(Err(error)) => (SegcalStatus::Error, error.to_string()),
        Err(panic) => (SegcalStatus::Defect, format!("a defect of segcal: {}", said(&*panic))),
    };
    LAST.set(text);
    status
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_with_its_text() {
        assert_eq!(guarded(|| panic!("seven")), SegcalStatus::Defect);
        // SAFETY: nothing is written into no bytes; then into as many as there are.
        let length = unsafe { segcal_error(std::ptr::null_mut(), 0) };
        assert_eq!(length, "a defect of segcal: seven".len());
        let mut text = [1u8; 4];
        // SAFETY: the array has four bytes.
        unsafe { segcal_error(text.as_mut_ptr().cast(), text.len()) };
        assert_eq!(&text, b"a d\0");
    }
}
