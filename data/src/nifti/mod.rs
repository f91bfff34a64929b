//! NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz`, and `.hdr`/`.img` pairs, each file of which may be gzipped.
//!
//! The reader supports both byte orders, all integer types, and 32- and 64-bit floats; slope and intercept are applied
//! in f64. A slope of 0 means no scaling, and so does a non-finite slope, with a warning, as in the NIfTI library and
//! in nibabel. The voxel grid comes from the sform, otherwise the qform, otherwise the voxel sizes (see
//! [`Header::affine`]). Complex, RGB and 128-bit types are refused by name. Files are written as NIfTI-1.
//!
//! # Why the header is parsed here
//!
//! The `nifti` crate (0.18) does not read NIfTI-2, ignores `vox_offset` if a file has no extension (so padding becomes
//! voxels), multiplies by a non-finite slope, panics on a `bitpix` that contradicts `datatype`, stores extents in 16
//! bits without checking, and changes the names of the files it writes. Guarding against all that requires parsing and
//! checking every field first, after which only decoding the numbers is left; doing that here allows streaming a file
//! directly into the array. The tests use the crate for cross-checks: each side reads what the other writes.

mod geometry;
mod header;
mod read;
mod write;

pub use geometry::{AffineSource, SpacingDoubt, SpacingFrom};
pub use header::{Format, Header};
pub use read::image_of;
pub use read::{Reader, read_header, read_image, read_image_along, read_labels};
pub use write::{write, write_stream};
