//! NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz`, and `.hdr`/`.img` pairs, each file of which may be gzipped.
//!
//! Read are both byte orders, all integer types, 32- and 64-bit floats; slope and intercept are applied in f64. A
//! slope of 0 means none, and so does one that is not a finite number, as in the NIfTI library and in nibabel, with a
//! warning. Where the voxels lie comes from the sform, else the qform, else the voxel sizes (see
//! [`Header::affine`]). Complex, RGB and 128-bit types are refused by name. Written is NIfTI-1.
//!
//! # Why the header is read here
//!
//! The `nifti` crate (0.18) reads no NIfTI-2, ignores `vox_offset` where a file has no extension (padding becomes
//! voxels), multiplies by a non-finite slope, panics on a `bitpix` that contradicts `datatype`, holds extents in 16 bits
//! without checking, and changes the names of the files it writes. Guarding all that needs every field parsed and
//! checked first, after which only the decoding of numbers is left; doing that here lets a file be streamed straight
//! into the array. The crate serves as a second opinion in the tests: each side reads what the other writes.

mod geometry;
mod header;
mod read;
mod write;

pub use geometry::{AffineSource, SpacingDoubt, SpacingFrom};
pub use header::{Format, Header};
pub use read::image_of;
pub use read::{Reader, read_header, read_image, read_image_along, read_labels};
pub use write::{write, write_stream};
