//! The header of an array: a magic string, a length, and a Python dictionary as text.

use std::io::Read;

use segcal_core::{Context, Error, Result};

use crate::limits;
use crate::number::NumberType;

/// The longest header text that is accepted, in bytes; those of plain arrays have around 100.
const MAX_TEXT: usize = 1 << 16;

/// The fields of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number type.
    pub kind: NumberType,
    /// Byte order of the numbers.
    pub big_endian: bool,
    /// Whether the first axis is fastest.
    pub fortran: bool,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Length of the header in bytes.
    pub bytes: u64,
}

impl Header {
    /// The number of values.
    ///
    /// # Errors
    /// `size` stored bytes cannot contain them.
    pub(super) fn count(&self, size: u64, compressed: bool) -> Result<usize> {
        let count = limits::count(&self.shape).at("shape")?;
        let claimed = self.bytes + (count * self.kind.size()) as u64;
        limits::check_claim(claimed, size, compressed).at("shape")?;
        Ok(count)
    }

    /// Reads a header; the numbers follow.
    ///
    /// # Errors
    /// It is malformed, or the number type is not supported.
    pub(super) fn read(source: &mut dyn Read) -> Result<Self> {
        let mut start = [0; 8];
        source.read_exact(&mut start).map_err(|_| Error::new("the file ends within the header"))?;
        if !start.starts_with(b"\x93NUMPY") {
            return Err(Error::new("this is not a .npy array").at("magic"));
        }
        let width = match start[6] {
            1 => 2,
            2 | 3 => 4,
            other => return Err(Error::new(format!("unsupported .npy format version {other}")).at("version")),
        };
        let mut length = [0; 4];
        source.read_exact(&mut length[..width]).map_err(|_| Error::new("the file ends within the header"))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_TEXT {
            return Err(Error::new(format!("{length} bytes are too many")).at("header length"));
        }
        let mut text = vec![0; length];
        source.read_exact(&mut text).map_err(|_| Error::new("the file ends within the header"))?;
        let text = std::str::from_utf8(&text).map_err(|_| Error::new("the header is not text"))?;
        let mut header = Parser { text, at: 0 }.header()?;
        header.bytes = (8 + width + length) as u64;
        Ok(header)
    }

    /// The bytes of a version 1 header for little-endian numbers in C order, padded so that the numbers start at a
    /// multiple of 64.
    pub(super) fn to_bytes(kind: NumberType, shape: &[usize]) -> Vec<u8> {
        let letter = match kind {
            NumberType::Bool => 'b',
            NumberType::U8 | NumberType::U16 | NumberType::U32 | NumberType::U64 => 'u',
            NumberType::I8 | NumberType::I16 | NumberType::I32 | NumberType::I64 => 'i',
            NumberType::F16 | NumberType::F32 | NumberType::F64 => 'f',
        };
        let order = if kind.size() == 1 { '|' } else { '<' };
        let mut extents = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if shape.len() == 1 {
            extents.push(','); // Without it, one number in parentheses is not a tuple.
        }
        let size = kind.size();
        let mut text = format!("{{'descr': '{order}{letter}{size}', 'fortran_order': False, 'shape': ({extents}), }}");
        while (10 + text.len() + 1) % 64 != 0 {
            text.push(' ');
        }
        text.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }
}

/// Parses the dictionary: string keys, and the few kinds of values that NumPy writes.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn header(mut self) -> Result<Header> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.take('}') {
            let key = self.string().at("header")?;
            self.expect(':')?;
            match key {
                "descr" => descr = Some(self.string().and_then(number_type).at("descr")?),
                "fortran_order" => fortran = Some(self.boolean().at("fortran_order")?),
                "shape" => shape = Some(self.tuple().at("shape")?),
                other => return Err(self.unexpected().at(format!("key {other:?}"))),
            }
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        let missing = |key: &str| Error::new("is missing from the header").at(key);
        let (kind, big_endian) = descr.ok_or_else(|| missing("descr"))?;
        let fortran = fortran.ok_or_else(|| missing("fortran_order"))?;
        let shape = shape.ok_or_else(|| missing("shape"))?;
        Ok(Header { kind, big_endian, fortran, shape, bytes: 0 })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn unexpected(&self) -> Error {
        let next: String = self.rest().chars().take(20).collect();
        Error::new(format!("the header is malformed at {next:?}"))
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: char) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, token: char) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected().at("header")) }
    }

    fn string(&mut self) -> Result<&'a str> {
        self.skip_space();
        let quote = self.rest().chars().next().filter(|quote| matches!(quote, '\'' | '"'));
        let quote = quote.ok_or_else(|| {
            if self.rest().starts_with('[') {
                Error::new("structured dtypes are not supported")
            } else {
                self.unexpected()
            }
        })?;
        let inside = &self.rest()[1..];
        let end = inside.find(quote).ok_or_else(|| self.unexpected())?;
        self.at += end + 2;
        Ok(&inside[..end])
    }

    fn boolean(&mut self) -> Result<bool> {
        self.skip_space();
        for (word, value) in [("True", true), ("False", false)] {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.unexpected())
    }

    fn tuple(&mut self) -> Result<Vec<usize>> {
        let mut extents = Vec::new();
        if !self.take('(') {
            return Err(self.unexpected());
        }
        while !self.take(')') {
            self.skip_space();
            let digits = self.rest().len() - self.rest().trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let extent = self.rest()[..digits].parse().map_err(|_| self.unexpected())?;
            self.at += digits;
            // Python 2 wrote long integers with this suffix.
            self.take('L');
            extents.push(extent);
            // NumPy's own limit.
            if extents.len() > 64 || (!self.take(',') && !self.rest().trim_start().starts_with(')')) {
                return Err(self.unexpected());
            }
        }
        Ok(extents)
    }
}

/// The number type of a type string such as `<f4`, and whether it is big-endian.
fn number_type(descr: &str) -> Result<(NumberType, bool)> {
    let refuse = || {
        Error::new(format!("the number type {descr:?} is not supported"))
            .help("save the array with one of NumPy's integer or float types")
    };
    let order = descr.chars().next().filter(|order| "<>|=".contains(*order)).ok_or_else(refuse)?;
    let kind = match &descr[1..] {
        "b1" => NumberType::Bool,
        "u1" => NumberType::U8,
        "i1" => NumberType::I8,
        "u2" => NumberType::U16,
        "i2" => NumberType::I16,
        "u4" => NumberType::U32,
        "i4" => NumberType::I32,
        "u8" => NumberType::U64,
        "i8" => NumberType::I64,
        "f2" => NumberType::F16,
        "f4" => NumberType::F32,
        "f8" => NumberType::F64,
        _ => return Err(refuse()),
    };
    if order == '|' && kind.size() > 1 {
        return Err(refuse());
    }
    Ok((kind, order == '>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Header> {
        Parser { text, at: 0 }.header()
    }

    #[test]
    fn dictionaries_in_any_order_and_spacing() {
        let header = parse(r#"{"shape":(2,3L,),'descr' : '>f8','fortran_order':True}  "#).unwrap();
        assert_eq!(header.shape, [2, 3]);
        assert!(header.big_endian && header.fortran);
        assert_eq!(parse("{'descr': '|u1', 'fortran_order': False, 'shape': (), }").unwrap().shape, [0; 0]);
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (text, word) in [
            ("", "header"),
            ("{}", "descr"),
            ("{'descr': '<f4'", "header"),
            ("{'descr': '<f4', 'fortran_order': 0}", "fortran_order"),
            ("{'descr': '<f4', 'fortran_order': True}", "shape"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (-1,)}", "shape"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (99999999999999999999999,)}", "shape"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1 2)}", "shape"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1", "shape"),
            ("{'descr': '|O', 'fortran_order': True, 'shape': (1,)}", "descr"),
            ("{'descr': '<c8', 'fortran_order': True, 'shape': (1,)}", "descr"),
            ("{'descr': 'é4', 'fortran_order': True, 'shape': (1,)}", "descr"),
            ("{'descr': [('a', '<f4')], 'fortran_order': True, 'shape': (1,)}", "structured"),
            ("{'other': 1}", "other"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn the_header_that_is_written_is_read() {
        for shape in [&[][..], &[7], &[2, 3, 4]] {
            let bytes = Header::to_bytes(NumberType::F32, shape);
            assert_eq!(bytes.len() % 64, 0);
            let header = Header::read(&mut &bytes[..]).unwrap();
            assert_eq!((header.kind, &header.shape[..], header.bytes), (NumberType::F32, shape, bytes.len() as u64));
        }
    }
}
