//! The number types of files, and their conversion to and from types in memory.

use std::io::Read;

use segcal_core::{Error, Result};

/// The type of numbers stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it: signedness or kind, and bits")]
pub enum NumberType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl NumberType {
    /// Size of one number in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Its NumPy name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// Whether it is an integer type (or bool).
    pub const fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// Appends the numbers of `bytes` to `out`. 64-bit integers beyond 2^53 are rounded to the nearest f64.
    fn decode(self, big_endian: bool, bytes: &[u8], out: &mut Vec<f64>) {
        macro_rules! each {
            ($type:ty, $value:expr) => {
                out.extend(bytes.chunks_exact(size_of::<$type>()).map(|chunk| {
                    let mut array = [0; size_of::<$type>()];
                    array.copy_from_slice(chunk);
                    let number = if big_endian { <$type>::from_be_bytes(array) } else { <$type>::from_le_bytes(array) };
                    $value(number)
                }))
            };
        }
        match self {
            Self::Bool => each!(u8, |x| f64::from(u8::from(x != 0))),
            Self::U8 => each!(u8, f64::from),
            Self::I8 => each!(i8, f64::from),
            Self::U16 => each!(u16, f64::from),
            Self::I16 => each!(i16, f64::from),
            Self::U32 => each!(u32, f64::from),
            Self::I32 => each!(i32, f64::from),
            Self::U64 => each!(u64, |x| x as f64),
            Self::I64 => each!(i64, |x| x as f64),
            Self::F16 => each!(u16, half),
            Self::F32 => each!(f32, f64::from),
            Self::F64 => each!(f64, |x| x),
        }
    }
}

/// The value of an IEEE 754 half-precision float.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

/// A type that arrays can be read as.
pub trait FromFile: Copy + Default {
    /// Its type in a file.
    const TYPE: NumberType;
    /// Decodes little-endian bytes of this type.
    fn of_bytes(bytes: &[u8]) -> impl ExactSizeIterator<Item = Self>;
    /// Converts `x`, or returns `None` if it does not fit: a finite number out of range, or a fraction for an integer.
    fn from_file(x: f64) -> Option<Self>;
}

macro_rules! own_bytes {
    ($type:ty, $number:ident) => {
        const TYPE: NumberType = NumberType::$number;
        fn of_bytes(bytes: &[u8]) -> impl ExactSizeIterator<Item = Self> {
            bytes.as_chunks().0.iter().map(|&bytes| <$type>::from_le_bytes(bytes))
        }
    };
}

impl FromFile for f64 {
    own_bytes!(f64, F64);
    fn from_file(x: f64) -> Option<Self> {
        Some(x)
    }
}

impl FromFile for f32 {
    own_bytes!(f32, F32);
    fn from_file(x: f64) -> Option<Self> {
        let narrow = x as f32;
        (narrow.is_finite() || !x.is_finite()).then_some(narrow)
    }
}

impl FromFile for i32 {
    own_bytes!(i32, I32);
    fn from_file(x: f64) -> Option<Self> {
        let narrow = x as i32;
        (f64::from(narrow) == x).then_some(narrow)
    }
}

/// A type that arrays can be written as.
pub trait ToFile: Copy {
    /// Its type in a file.
    const TYPE: NumberType;
    /// Appends its little-endian bytes.
    fn put(self, bytes: &mut Vec<u8>);
}

macro_rules! to_file {
    ($($type:ty: $number:ident,)*) => {
        $(impl ToFile for $type {
            const TYPE: NumberType = NumberType::$number;
            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
        })*
    };
}

to_file! { u8: U8, i8: I8, u16: U16, i16: I16, u32: U32, i32: I32, u64: U64, i64: I64, f32: F32, f64: F64, }

/// Writes numbers, little-endian, through a small buffer.
///
/// # Errors
/// Those of `out`.
pub fn write_all<T: ToFile>(out: &mut dyn std::io::Write, values: &[T]) -> Result<()> {
    let mut bytes = Vec::with_capacity(STEP);
    for chunk in values.chunks(STEP / 8) {
        bytes.clear();
        for value in chunk {
            value.put(&mut bytes);
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Bytes read or written at a time.
const STEP: usize = 1 << 16;

/// Reads `count` numbers and passes them to `each` in pieces, so that the raw bytes of a file are never all in memory.
///
/// # Errors
/// `source` ends early or fails, or `each` does.
pub fn stream(
    source: &mut dyn Read,
    kind: NumberType,
    big_endian: bool,
    count: usize,
    mut each: impl FnMut(&[f64]) -> Result<()>,
) -> Result<()> {
    let mut numbers = Vec::with_capacity(STEP);
    pieces(source, kind.size(), count, |bytes| {
        numbers.clear();
        kind.decode(big_endian, bytes, &mut numbers);
        each(&numbers)
    })
}

/// Reads `count` numbers of `size` bytes each and passes their bytes to `each` in pieces of whole numbers.
///
/// # Errors
/// Those of [`stream`].
pub fn pieces(
    source: &mut dyn Read,
    size: usize,
    count: usize,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut bytes = vec![0; STEP];
    let mut done = 0;
    while done < count {
        let step = (count - done).min(STEP / size);
        let piece = &mut bytes[..step * size];
        source.read_exact(piece).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::new(format!("the data ends before number {} of {count}", done + step))
                    .help("the file is truncated: download or copy it again")
            }
            _ => Error::from(error),
        })?;
        each(piece)?;
        done += step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_by_its_definition() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x0001, 2_f64.powi(-24)),
            (0x0400, 2_f64.powi(-14)),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333251953125),
            (0x7bff, 65504.0),
            (0x7c00, f64::INFINITY),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
        assert!(half(0x7c01).is_nan());
    }

    #[test]
    fn both_byte_orders_give_the_number() {
        let mut numbers = Vec::new();
        NumberType::I16.decode(true, &[0xff, 0xfe], &mut numbers);
        NumberType::I16.decode(false, &[0xfe, 0xff], &mut numbers);
        NumberType::F64.decode(false, &1.5_f64.to_le_bytes(), &mut numbers);
        NumberType::U64.decode(true, &7_u64.to_be_bytes(), &mut numbers);
        assert_eq!(numbers, [-2.0, -2.0, 1.5, 7.0]);
    }

    #[test]
    fn bytes_of_the_own_type_are_what_they_are_by_way_of_f64() {
        let bytes: Vec<u8> = (0..64_u8).map(|byte| byte.wrapping_mul(37)).collect();
        fn check<T: FromFile + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
            let mut wide = Vec::new();
            T::TYPE.decode(false, bytes, &mut wide);
            let wide: Vec<T> = wide.into_iter().map(|x| T::from_file(x).unwrap()).collect();
            assert_eq!(T::of_bytes(bytes).collect::<Vec<T>>(), wide);
        }
        check::<f32>(&bytes);
        check::<f64>(&bytes);
        check::<i32>(&bytes);
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        assert_eq!(f32::from_file(1e300), None);
        assert_eq!(f32::from_file(f64::INFINITY), Some(f32::INFINITY));
        assert!(f32::from_file(f64::NAN).is_some_and(f32::is_nan));
        assert_eq!(i32::from_file(2.5), None);
        assert_eq!(i32::from_file(f64::NAN), None);
        assert_eq!(i32::from_file(4e9), None);
        assert_eq!(i32::from_file(-3.0), Some(-3));
    }
}
