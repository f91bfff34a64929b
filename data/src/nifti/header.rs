//! The header: parsed field by field, and rejected if a field is invalid.

use segcal_core::{Context, Error, Result};

use crate::limits;
use crate::number::NumberType;

/// The NIfTI version and file layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// 1 or 2.
    pub version: u8,
    /// Whether header and data are separate files.
    pub pair: bool,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "nifti-{} {}", self.version, if self.pair { "pair" } else { "single" })
    }
}

/// The relevant fields of a header, as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// NIfTI version and file layout.
    pub format: Format,
    /// Byte order of header and data.
    pub big_endian: bool,
    /// Extents, first axis first: `dim[1..=dim[0]]`.
    pub dim: Vec<usize>,
    /// The code of the number type.
    pub datatype: i16,
    /// The number type.
    pub kind: NumberType,
    /// `pixdim[0..=dim[0]]`; the first is the sign of the qform.
    pub pixdim: Vec<f64>,
    /// Byte offset of the data.
    pub vox_offset: u64,
    /// Factor applied to each number; 0 means no scaling.
    pub scl_slope: f64,
    /// Offset added to each number.
    pub scl_inter: f64,
    /// Code of the qform; 0 if there is none.
    pub qform_code: i16,
    /// Code of the sform; 0 if there is none.
    pub sform_code: i16,
    /// The intent code, which says what the numbers mean.
    pub intent_code: i16,
    /// Units of space (low 3 bits) and time.
    pub xyzt_units: u8,
    pub(super) quaternion: [f64; 3],
    pub(super) q_offset: [f64; 3],
    pub(super) sform: [[f64; 4]; 3],
    pub(super) sizes: [f64; 4],
}

/// Byte offsets of the fields, which differ between the versions.
struct Layout {
    dim: usize,
    datatype: usize,
    pixdim: usize,
    vox_offset: usize,
    slope: usize,
    qform_code: usize,
    quaternion: usize,
    sform: usize,
    units: usize,
    intent: usize,
}

const NIFTI1: Layout = Layout {
    dim: 40,
    datatype: 70,
    pixdim: 76,
    vox_offset: 108,
    slope: 112,
    qform_code: 252,
    quaternion: 256,
    sform: 280,
    units: 123,
    intent: 68,
};

const NIFTI2: Layout = Layout {
    dim: 16,
    datatype: 12,
    pixdim: 104,
    vox_offset: 168,
    slope: 176,
    qform_code: 344,
    quaternion: 352,
    sform: 400,
    units: 500,
    intent: 504,
};

/// Reads numbers at offsets of the header, in its byte order.
struct Fields<'a> {
    bytes: &'a [u8],
    version: u8,
    big_endian: bool,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[at..at + N]);
        if self.big_endian {
            array.reverse();
        }
        array
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.array(at))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    /// The `index`-th extent from `at`: 16 bits in NIfTI-1, 64 in NIfTI-2.
    fn extent(&self, at: usize, index: usize) -> i64 {
        if self.version == 1 {
            i64::from(self.i16(at + 2 * index))
        } else {
            i64::from_le_bytes(self.array(at + 8 * index))
        }
    }

    /// The `index`-th real number from `at`: f32 in NIfTI-1, f64 in NIfTI-2.
    fn real(&self, at: usize, index: usize) -> f64 {
        if self.version == 1 {
            f64::from(f32::from_le_bytes(self.array(at + 4 * index)))
        } else {
            f64::from_le_bytes(self.array(at + 8 * index))
        }
    }

    /// A code: 16 bits in NIfTI-1, 32 in NIfTI-2. A code that does not fit into 16 bits is unknown (-1).
    fn code(&self, at: usize, index: usize) -> i16 {
        if self.version == 1 { self.i16(at + 2 * index) } else { self.i32(at + 4 * index).try_into().unwrap_or(-1) }
    }
}

/// Size of the header in bytes.
pub(super) const fn header_size(version: u8) -> usize {
    if version == 1 { 348 } else { 540 }
}

impl Header {
    /// Parses a header from its first 348 (NIfTI-1) or 540 (NIfTI-2) bytes or more.
    ///
    /// # Errors
    /// It is not a NIfTI header, or a field is invalid; the message names it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (version, big_endian) = version_and_order(bytes)?;
        let fields = Fields { bytes, version, big_endian };
        let at = if version == 1 { NIFTI1 } else { NIFTI2 };
        let pair = pair_by_magic(&fields)?;
        let dim = dimensions(&fields, &at)?;
        let datatype = fields.i16(at.datatype);
        let kind = number_type(datatype)?;
        check_bits(kind, fields.i16(at.datatype + 2))?;
        let header = Self {
            format: Format { version, pair },
            big_endian,
            datatype,
            kind,
            pixdim: (0..=dim.len()).map(|index| fields.real(at.pixdim, index)).collect(),
            vox_offset: data_offset(&fields, &at, pair)?,
            scl_slope: fields.real(at.slope, 0),
            scl_inter: fields.real(at.slope, 1),
            qform_code: fields.code(at.qform_code, 0),
            sform_code: fields.code(at.qform_code, 1),
            intent_code: fields.code(at.intent, 0),
            xyzt_units: if version == 1 { bytes[at.units] } else { fields.i32(at.units) as u8 },
            quaternion: std::array::from_fn(|index| fields.real(at.quaternion, index)),
            q_offset: std::array::from_fn(|index| fields.real(at.quaternion, 3 + index)),
            sform: std::array::from_fn(|row| std::array::from_fn(|k| fields.real(at.sform, 4 * row + k))),
            sizes: std::array::from_fn(|index| fields.real(at.pixdim, index)),
            dim,
        };
        let (_, inter) = header.scaling();
        if !inter.is_finite() {
            let error = Error::new(format!("must be finite, got {inter}")).at("scl_inter");
            return Err(error.help("write 0 if nothing is to be added"));
        }
        Ok(header)
    }

    /// The factor and offset applied to each number: 1 and 0 if the header has no scaling, that is, if its slope is 0
    /// or not finite; the intercept is then ignored.
    pub fn scaling(&self) -> (f64, f64) {
        let scaled = self.scl_slope != 0.0 && self.scl_slope.is_finite();
        if scaled { (self.scl_slope, self.scl_inter) } else { (1.0, 0.0) }
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.dim.iter().product()
    }

    /// Extents along `[d, h, w]`, and the number of channels: the product of the extents beyond the third axis.
    pub fn extent(&self) -> ([usize; 3], usize) {
        let along = |axis: usize| self.dim.get(axis).copied().unwrap_or(1);
        ([along(2), along(1), along(0)], self.dim.iter().skip(3).product())
    }
}

/// Version and byte order, from the header size in the first field.
fn version_and_order(bytes: &[u8]) -> Result<(u8, bool)> {
    let short = |needed: usize| Error::new(format!("a header needs {needed} bytes, got {}", bytes.len()));
    let first: [u8; 4] = bytes.get(..4).and_then(|four| four.try_into().ok()).ok_or_else(|| short(348))?;
    let (version, big_endian) = match (i32::from_le_bytes(first), i32::from_be_bytes(first)) {
        (348, _) => (1, false),
        (540, _) => (2, false),
        (_, 348) => (1, true),
        (_, 540) => (2, true),
        (other, _) => {
            return Err(
                Error::new(format!("this is not a NIfTI file: expected 348 or 540, got {other}")).at("sizeof_hdr")
            );
        }
    };
    if bytes.len() < header_size(version) {
        return Err(short(header_size(version)));
    }
    Ok((version, big_endian))
}

/// Whether the magic says that header and data are separate files.
fn pair_by_magic(fields: &Fields<'_>) -> Result<bool> {
    let magic = if fields.version == 1 { &fields.bytes[344..348] } else { &fields.bytes[4..12] };
    match magic {
        b"n+1\0" | b"n+2\0\r\n\x1a\n" => Ok(false),
        b"ni1\0" | b"ni2\0\r\n\x1a\n" => Ok(true),
        [0, 0, 0, 0] => {
            Err(Error::new("this is an ANALYZE 7.5 header, which does not give the position of the voxels")
                .at("magic")
                .help("convert the file to NIfTI"))
        }
        other => Err(Error::new(format!("\"{}\" is not a NIfTI magic", other.escape_ascii())).at("magic")),
    }
}

fn dimensions(fields: &Fields<'_>, at: &Layout) -> Result<Vec<usize>> {
    let rank = fields.extent(at.dim, 0);
    if !(1..=7).contains(&rank) {
        return Err(Error::new(format!("expected 1 to 7 axes, got {rank}")).at("dim[0]"));
    }
    let dim = (1..=rank as usize).map(|index| match fields.extent(at.dim, index) {
        extent if extent < 1 => {
            Err(Error::new(format!("expected a positive extent, got {extent}")).at(format!("dim[{index}]")))
        }
        extent => Ok(extent as usize),
    });
    let dim = dim.collect::<Result<Vec<_>>>()?;
    limits::count(&dim).at("dim")?;
    Ok(dim)
}

fn number_type(datatype: i16) -> Result<NumberType> {
    let refused = match datatype {
        2 => return Ok(NumberType::U8),
        4 => return Ok(NumberType::I16),
        8 => return Ok(NumberType::I32),
        16 => return Ok(NumberType::F32),
        64 => return Ok(NumberType::F64),
        256 => return Ok(NumberType::I8),
        512 => return Ok(NumberType::U16),
        768 => return Ok(NumberType::U32),
        1024 => return Ok(NumberType::I64),
        1280 => return Ok(NumberType::U64),
        1 => "single bits",
        32 => "complex64",
        128 => "RGB24",
        1536 => "float128",
        1792 => "complex128",
        2048 => "complex256",
        2304 => "RGBA32",
        _ => "unknown",
    };
    Err(Error::new(format!("the number type {datatype} ({refused}) is not supported"))
        .at("datatype")
        .help("convert the file to one of the integer or float types"))
}

fn check_bits(kind: NumberType, bitpix: i16) -> Result<()> {
    let expected = 8 * kind.size();
    if bitpix as usize == expected {
        return Ok(());
    }
    Err(Error::new(format!("{bitpix} bits contradict the number type {}, which has {expected} bits", kind.name()))
        .at("bitpix"))
}

fn data_offset(fields: &Fields<'_>, at: &Layout, pair: bool) -> Result<u64> {
    let value =
        if fields.version == 1 { fields.real(at.vox_offset, 0) } else { fields.extent(at.vox_offset, 0) as f64 };
    let lowest = if pair { 0 } else { header_size(fields.version) + 4 };
    // Up to 2^53, f64 represents every whole number; no file is that long.
    if value.fract() == 0.0 && value >= lowest as f64 && value < 9e15 {
        return Ok(value as u64);
    }
    Err(Error::new(format!("the data cannot start at byte {value}; the first possible byte is {lowest}"))
        .at("vox_offset"))
}
