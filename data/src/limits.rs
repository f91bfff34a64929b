//! Limits on what a file may claim.
//!
//! Deflate (gzip, zip, PNG) expands its input at most 1032 times: two bits can encode at most 258 bytes. A header that
//! claims more than the file can contain by that bound is rejected before anything is allocated. Memory within the
//! bound is still allocated in steps as data arrives ([`Growing`]), and never for more than [`MAX_VALUES`] values.

use std::collections::TryReserveError;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use segcal_core::{Context, Error, Result, memory};

/// The largest number of values in one array: 2^36, far below where an index or a byte count could overflow. Whether an
/// array fits into memory is checked separately ([`memory`]).
pub const MAX_VALUES: u64 = 1 << 36;

/// The most that one byte of a deflate stream can expand to.
pub const MAX_EXPANSION: u64 = 1032;

/// Number of values allocated at first; beyond that, memory at most doubles as data arrives.
const FIRST_STEP: usize = 1 << 22;

/// Opens a file and returns it with its size. Anything but a regular file (a folder, or a pipe that nobody may ever
/// write to) is rejected before it is opened.
///
/// # Errors
/// The file does not exist, is not a regular file, or may not be read.
pub fn open(path: &Path) -> Result<(File, u64)> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(Error::new("not a regular file"));
    }
    Ok((File::open(path)?, metadata.len()))
}

/// Reads a whole file, which must be a regular file that fits into memory.
///
/// # Errors
/// The file does not exist, may not be read, or does not fit into memory; the message names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let read = || -> Result<Vec<u8>> {
        let (mut file, size) = open(path)?;
        memory::expect(size, "the file")?;
        let mut bytes = Vec::new();
        // At most one more byte, so that a file that is still growing is not read forever.
        (&mut file).take(size + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().at(path.display())
}

/// Reads a whole text file; see [`read`].
///
/// # Errors
/// Those of [`read`], or the file is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| Error::new(format!("is not UTF-8: {error}"))).at(path.display())
}

/// The product of extents, if an array of that size can be read.
///
/// # Errors
/// It is larger than [`MAX_VALUES`], or would be without the extents of 0: strides are products of the other extents.
pub fn count(extents: &[usize]) -> Result<usize> {
    let filled = extents.iter().filter(|&&extent| extent > 0);
    let product = filled.clone().try_fold(1_u64, |product, &extent| product.checked_mul(extent as u64));
    match product {
        Some(product) if product <= MAX_VALUES => {
            Ok(if filled.count() == extents.len() { product as usize } else { 0 })
        }
        _ => Err(Error::new(format!("the extents {extents:?} give more than {MAX_VALUES} values"))
            .help("crop the array, or split the file into parts")),
    }
}

/// Reads the rest of a compressed stream, at whose end its checksum is verified.
///
/// # Errors
/// The checksum is wrong or missing, or other data follows.
pub fn finish(source: &mut dyn Read) -> Result<()> {
    std::io::copy(source, &mut std::io::sink())?;
    Ok(())
}

/// Returns an error if a file with `stored` bytes of data cannot contain the `claimed` bytes.
///
/// # Errors
/// The claim is too large.
pub fn check_claim(claimed: u64, stored: u64, compressed: bool) -> Result<()> {
    let most = if compressed { stored.saturating_mul(MAX_EXPANSION) } else { stored };
    if claimed <= most {
        return Ok(());
    }
    let how = if compressed { "can come from its compressed data" } else { "are there" };
    Err(Error::new(format!("the header claims {claimed} bytes of data, but only {most} {how}"))
        .help("the file is truncated or its header is wrong: download or copy it again"))
}

/// A vector of known final length that allocates memory only as values arrive.
#[derive(Debug)]
pub struct Growing<T> {
    values: Vec<T>,
    expected: usize,
}

impl<T> Growing<T> {
    /// Allocates memory for the first of `expected` values.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(expected: usize) -> Result<Self> {
        check_memory((expected as u64).saturating_mul(size_of::<T>() as u64))?;
        let mut values = Vec::new();
        values.try_reserve_exact(expected.min(FIRST_STEP)).map_err(|error| short(&error, expected))?;
        Ok(Self { values, expected })
    }

    /// Appends up to `count` values.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn extend(&mut self, count: usize, values: impl Iterator<Item = T>) -> Result<()> {
        let length = self.values.len() + count;
        if length > self.values.capacity() {
            let target = (2 * self.values.capacity()).min(self.expected).max(length);
            let more = target - self.values.len();
            self.values.try_reserve_exact(more).map_err(|error| short(&error, self.expected))?;
        }
        self.values.extend(values.take(count));
        Ok(())
    }

    /// All values.
    pub fn into_vec(self) -> Vec<T> {
        self.values
    }
}

/// A vector of `count` zeros, for values that arrive in a different order.
///
/// # Errors
/// There is not enough memory.
pub fn zeroed<T: Copy + Default>(count: usize) -> Result<Vec<T>> {
    check_memory((count as u64).saturating_mul(size_of::<T>() as u64))?;
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|error| short(&error, count))?;
    values.resize(count, T::default());
    Ok(values)
}

/// Returns an error if there is not enough memory for an array of a file.
fn check_memory(bytes: u64) -> Result<()> {
    // What a file claims is input, regardless of what limits the memory.
    memory::expect(bytes, "the array").map_err(|error| Error::new(error.to_string()).help(TOO_LARGE))
}

const TOO_LARGE: &str = "crop the array, or split the file into parts";

fn short(error: &TryReserveError, expected: usize) -> Error {
    Error::new(format!("{expected} values do not fit into memory: {error}")).help(TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_that_overflows_is_refused() {
        assert_eq!(count(&[3, 4, 5]).unwrap(), 60);
        assert!(count(&[32767; 7]).is_err());
        assert_eq!(count(&[512, 512, 600, 16]).unwrap(), 2_516_582_400, "more than 2^31");
        assert!(count(&[1 << 20, 1 << 21]).is_err());
        assert_eq!(count(&[0, 4, 5]).unwrap(), 0);
        assert!(count(&[0, 1 << 40, 1 << 40]).is_err() && count(&[1 << 40, 0]).is_err());
    }

    #[test]
    fn what_is_not_a_regular_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("a.txt");
        std::fs::write(&text, "μ").unwrap();
        assert_eq!(read_text(&text).unwrap(), "μ");
        for path in [folder.path(), Path::new("/dev/zero")] {
            let message = read_text(path).unwrap_err().to_string();
            assert!(message.contains("not a regular file") || !path.exists(), "{message}");
        }
    }

    #[test]
    fn memory_grows_with_what_arrives() {
        let mut growing = Growing::<u8>::new(1 << 30).unwrap();
        assert!(growing.values.capacity() <= 2 * FIRST_STEP);
        growing.extend(FIRST_STEP + 1, std::iter::repeat(1)).unwrap();
        assert!(growing.values.capacity() <= 4 * FIRST_STEP);
        assert_eq!(growing.into_vec().len(), FIRST_STEP + 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn more_than_the_free_memory_is_refused() {
        assert!(memory::free().is_some_and(|free| free > 1 << 20));
        assert!(check_memory(u64::MAX).unwrap_err().to_string().contains("GiB"));
    }

    #[test]
    fn claims_are_held_against_the_file() {
        assert!(check_claim(100, 100, false).is_ok());
        assert!(check_claim(101, 100, false).is_err());
        assert!(check_claim(103_200, 100, true).is_ok());
        assert!(check_claim(103_201, 100, true).is_err());
    }
}
