//! Gzip files with one or more members.
//!
//! Like gzip itself, and unlike `flate2`'s multi-member reader, this reader accepts zeros after a member as padding,
//! which tape archives and some writers leave. Any other trailing bytes are an error.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// The decompressed bytes of all members, one after the other.
pub(crate) struct Members<R> {
    /// The member being read; `None` after the last.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    /// Reads the members of `file`.
    pub(crate) fn new(file: R) -> Self {
        Self { member: Some(GzDecoder::new(file)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(ended) = self.member.take() else { break };
            let mut file = ended.into_inner();
            self.member = next_member(&mut file)?.then(|| GzDecoder::new(file));
        }
        Ok(0)
    }
}

/// Whether another member follows, after any zeros, before the end of the file.
fn next_member(file: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = file.fill_buf()?;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        match bytes.get(zeros) {
            Some(0x1f) => {
                file.consume(zeros);
                return Ok(true);
            }
            Some(_) => {
                return Err(io::Error::new(ErrorKind::InvalidData, "bytes that are not gzip follow the gzip data"));
            }
            None if zeros == 0 => return Ok(false),
            None => file.consume(zeros),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        // A small buffer, so that members and zeros cross its boundaries.
        Members::new(BufReader::with_capacity(7, bytes)).read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn members_follow_each_other_with_or_without_zeros_between() {
        let [a, b, none] = ["abc", "defg", ""].map(packed);
        let zeros = [0; 30];
        assert_eq!(unpacked(&a).unwrap(), "abc");
        assert_eq!(unpacked(&[&a[..], &b, &none].concat()).unwrap(), "abcdefg");
        assert_eq!(unpacked(&[&none[..], &a, &zeros, &b, &zeros].concat()).unwrap(), "abcdefg");
    }

    #[test]
    fn what_is_cut_damaged_or_no_gzip_is_an_error() {
        let a = packed("abc");
        assert_eq!(unpacked(&a[..a.len() - 1]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let mut damaged = a.clone();
        *damaged.iter_mut().nth_back(5).unwrap() ^= 1;
        assert!(unpacked(&damaged).is_err());
        let behind = unpacked(&[&a[..], b"\0\0garbage"].concat()).unwrap_err();
        assert!(behind.to_string().contains("not gzip"), "{behind}");
        assert!(unpacked(&[&a[..], b"\x1f"].concat()).is_err());
    }
}
