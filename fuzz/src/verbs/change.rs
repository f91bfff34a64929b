//! Changes that keep the form of a file, so that they reach what lies behind its reader.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use segcal_core::Rng;

use crate::mutation;

/// Offsets and widths of the fields of a NIfTI-1 header.
const NIFTI: [(usize, usize); 30] = [
    (0, 4),
    (40, 2),
    (42, 2),
    (44, 2),
    (46, 2),
    (48, 2),
    (50, 2),
    (52, 2),
    (54, 2),
    (56, 4),
    (60, 4),
    (64, 4),
    (68, 2),
    (70, 2),
    (72, 2),
    (74, 2),
    (76, 4),
    (80, 4),
    (84, 4),
    (88, 4),
    (108, 4),
    (112, 4),
    (116, 4),
    (123, 1),
    (252, 2),
    (254, 2),
    (268, 4),
    (280, 4),
    (300, 4),
    (344, 4),
];

/// What a number of a text becomes.
const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "2",
    "3",
    "255",
    "256",
    "65536",
    "2147483648",
    "9223372036854775807",
    "18446744073709551616",
    "1e39",
    "1e-320",
    "1e999",
    "nan",
    "0.5",
];

/// What a word of a text becomes.
const WORDS: [&str; 10] = ["", "=1+1", "../x", "/etc/passwd", "\u{1b}[2J", "null", "[]", "{}", "true", "\"\""];

/// The bytes with one to four changes, by the ending of the file's name.
pub fn changed(name: &str, bytes: &[u8], rng: Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in 0..=rng.below(0, 4) as u64 {
        let rng = rng.stream(1 + change);
        // Now and then without regard to the form.
        let plain = rng.below(0, 8) == 0;
        bytes = if plain { mutation::mutant(&[bytes], rng) } else { in_form(name, bytes, rng) };
    }
    bytes
}

fn in_form(name: &str, bytes: Vec<u8>, rng: Rng) -> Vec<u8> {
    let ending = name.rsplit('.').next().unwrap_or_default();
    match ending {
        "gz" => packed(&nifti(unpacked(&bytes), rng)),
        "nii" => nifti(bytes, rng),
        "png" => chunk(bytes, rng),
        "safetensors" => safetensors(&bytes, rng),
        "npy" => header_and_data(bytes, 128, rng),
        "mha" | "nrrd" => {
            let end = bytes.windows(2).position(|pair| pair == b"\n\n" || pair == b"L\n").map_or(0, |at| at + 2);
            header_and_data(bytes, end, rng)
        }
        "toml" | "json" | "csv" => text(&bytes, rng),
        _ => mutation::mutant(&[bytes], rng),
    }
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // What can be unpacked of a file that was changed before.
    let _ = MultiGzDecoder::new(bytes).read_to_end(&mut out);
    out
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).and_then(|()| out.finish()).expect("memory can be written")
}

/// A field of the header with a number at the edges of its type, or voxels with other bits.
fn nifti(mut bytes: Vec<u8>, rng: Rng) -> Vec<u8> {
    if rng.below(0, 3) == 0 && bytes.len() > 352 {
        let at = 352 + rng.below(1, bytes.len() - 352);
        let end = (at + 4).min(bytes.len());
        let float = [f32::NAN, f32::INFINITY, 1e38, -1.0, 300.0][rng.below(2, 5)].to_le_bytes();
        bytes[at..end].copy_from_slice(&float[..end - at]);
        return bytes;
    }
    let (at, width) = NIFTI[rng.below(1, NIFTI.len())];
    let values: [i64; 10] = [0, 1, 2, 3, 4, 16, -1, 32_767, i64::from(f32::NAN.to_bits()), 1 << 30];
    let value = values[rng.below(2, values.len())].to_le_bytes();
    if at + width <= bytes.len() {
        bytes[at..at + width].copy_from_slice(&value[..width]);
    }
    bytes
}

/// A byte of a chunk of a PNG, with the checksum that it then needs.
fn chunk(mut bytes: Vec<u8>, rng: Rng) -> Vec<u8> {
    let mut chunks = Vec::new();
    let mut at = 8;
    while at + 12 <= bytes.len() {
        let length = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        if length > bytes.len() - at - 12 {
            break;
        }
        chunks.push((at, length));
        at += 12 + length;
    }
    let Some(&(at, length)) = chunks.get(rng.below(0, chunks.len().max(1))) else { return bytes };
    let kind_and_data = at + 4..at + 8 + length;
    let place = at + 8 + rng.below(1, length.max(1));
    if length > 0 {
        bytes[place] = [0, 1, 2, 3, 4, 6, 8, 16, 0x7f, 0xff][rng.below(2, 10)];
    }
    let mut sum = flate2::Crc::new();
    sum.update(&bytes[kind_and_data.clone()]);
    bytes[kind_and_data.end..kind_and_data.end + 4].copy_from_slice(&sum.sum().to_be_bytes());
    bytes
}

/// A token of the JSON header, whose length is kept true.
fn safetensors(bytes: &[u8], rng: Rng) -> Vec<u8> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return bytes.to_vec() };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX).min(rest.len());
    let (header, data) = rest.split_at(length);
    if rng.below(0, 4) == 0 {
        let data = mutation::mutant(&[data.to_vec()], rng);
        return [&(header.len() as u64).to_le_bytes()[..], header, &data].concat();
    }
    let header = text(header, rng);
    [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
}

/// A token of the header, which is text, or bytes behind it.
fn header_and_data(bytes: Vec<u8>, end: usize, rng: Rng) -> Vec<u8> {
    if end > bytes.len() || rng.below(0, 4) == 0 {
        return mutation::mutant(&[bytes], rng);
    }
    [text(&bytes[..end], rng), bytes[end..].to_vec()].concat()
}

/// A text in which one token is another one, twice there, or gone; or a line is.
fn text(bytes: &[u8], rng: Rng) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let is_inside = |c: char| c.is_alphanumeric() || "._-+".contains(c);
    let mut tokens = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (start, is_inside(c)) {
            (None, true) => start = Some(at),
            (Some(first), false) => {
                tokens.push((first, at));
                start = None;
            }
            _ => {}
        }
    }
    let Some(&(first, last)) = tokens.get(rng.below(0, tokens.len().max(1))) else { return bytes.to_vec() };
    let token = &text[first..last];
    let other = tokens[rng.below(3, tokens.len())];
    let new = match rng.below(1, 6) {
        0 => String::new(),
        1 => format!("{token}{token}"),
        2 => text[other.0..other.1].to_owned(),
        3 => "A".repeat([10, 1000, 70_000][rng.below(2, 3)]),
        _ if token.parse::<f64>().is_ok() => NUMBERS[rng.below(2, NUMBERS.len())].to_owned(),
        _ => WORDS[rng.below(2, WORDS.len())].to_owned(),
    };
    format!("{}{new}{}", &text[..first], &text[last..]).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_keep_the_form() {
        let gz = packed(&vec![7; 400]);
        let header = b"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}";
        let tensors = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
        let (mut same, rounds) = (0, 300);
        for seed in 0..rounds {
            let rng = Rng::new(seed);
            assert_eq!(unpacked(&in_form("a.nii.gz", gz.clone(), rng)).len(), 400);
            let changed = in_form("a.safetensors", tensors.clone(), rng);
            let length = u64::from_le_bytes(changed[..8].try_into().unwrap());
            assert!(length as usize <= changed.len() - 8);
            same += u64::from(text(b"x = 3\ny = [1, 2]\n", rng) == b"x = 3\ny = [1, 2]\n");
        }
        assert!(same < rounds / 4, "{same} of {rounds} did nothing");
    }
}
