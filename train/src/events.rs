//! The training curves in TensorBoard's format.
//!
//! An event file is a sequence of records: the length of a message (u64, little endian), its checksum, the message, its
//! checksum. Checksums are CRC-32C, rotated right by 15 bits plus 0xa282ead8. Messages are protocol buffers of
//! `tensorflow/core/util/event.proto`, of which three fields are needed.

use prost::Message;

use super::record::EpochRecord;

/// The data of one step.
#[derive(Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// Only in the first record.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Scalar>,
}

/// One point of the curve `tag`.
#[derive(Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    value: Option<f32>,
}

/// An event file with one step per epoch. Its clock counts the seconds of training, so that the same log gives the same
/// bytes; NaN is left out.
pub(super) fn event_file(records: &[EpochRecord]) -> Vec<u8> {
    let version = Event { wall_time: 0.0, step: 0, file_version: Some("brain.Event:2".into()), summary: None };
    let mut file = framed(&version.encode_to_vec());
    let mut clock = 0.0;
    for record in records {
        clock += record.seconds;
        let summary = Some(Summary { values: scalars(record) });
        let event = Event { wall_time: clock, step: record.epoch as i64, file_version: None, summary };
        file.extend(framed(&event.encode_to_vec()));
    }
    file
}

fn scalars(record: &EpochRecord) -> Vec<Scalar> {
    let mut curves = vec![("learning_rate".to_owned(), record.learning_rate)];
    curves.extend(record.loss.iter().map(|(name, value)| (format!("train/{name}"), *value)));
    curves.extend([("validation/dsc".into(), record.dsc.0), ("validation/ece".into(), record.ece.0)]);
    curves.extend(record.dsc_by_structure.iter().map(|(name, dsc)| (format!("validation/dsc/{name}"), dsc.0)));
    for (name, values) in &record.state {
        curves.extend(values.iter().enumerate().map(|(i, &value)| (format!("{name}/{i}"), value)));
    }
    let finite = curves.into_iter().filter(|(_, value)| value.is_finite());
    finite.map(|(tag, value)| Scalar { tag, value: Some(value as f32) }).collect()
}

/// A message with its length and checksums.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length, &checksum(&length)[..], message, &checksum(message)].concat()
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Link;
    use segcal_data::output::Number;

    /// Reads the records back by their lengths and checksums, as TensorBoard does.
    fn parse(mut file: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !file.is_empty() {
            let (length, rest) = file.split_at(8);
            let size = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            let (sum, rest) = rest.split_at(4);
            assert_eq!(sum, checksum(length));
            let (message, rest) = rest.split_at(size);
            let (sum, rest) = rest.split_at(4);
            assert_eq!(sum, checksum(message));
            events.push(Event::decode(message).unwrap());
            file = rest;
        }
        events
    }

    #[test]
    fn each_epoch_is_a_step_with_its_numbers() {
        let record = |epoch| EpochRecord {
            epoch,
            learning_rate: 0.5,
            loss: vec![("loss".into(), 2.0), ("ce".into(), 0.0)],
            dsc: Number(f64::NAN),
            dsc_by_structure: vec![("a".into(), Number(0.25))],
            ece: Number(0.125),
            state: vec![("multipliers".into(), vec![1.0, 3.0])],
            seconds: 10.0,
            images_per_second: 1.0,
            hashes: Link::default(),
        };
        let events = parse(&event_file(&[record(1), record(2)]));
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        let last = events.last().unwrap();
        assert_eq!((events.len(), last.step, last.wall_time), (3, 2, 20.0));
        let values = &last.summary.as_ref().unwrap().values;
        let curves: Vec<(&str, f32)> = values.iter().map(|s| (s.tag.as_str(), s.value.unwrap())).collect();
        let expected = [
            ("learning_rate", 0.5),
            ("train/loss", 2.0),
            ("train/ce", 0.0),
            ("validation/ece", 0.125),
            ("validation/dsc/a", 0.25),
            ("multipliers/0", 1.0),
            ("multipliers/1", 3.0),
        ];
        assert_eq!(curves, expected);
    }

    /// CRC-32C of nine digits is 0xe3069283 (RFC 3720, appendix B.4, and every catalogue of checksums).
    #[test]
    fn checksums_are_masked() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(
            u32::from_le_bytes(checksum(b"123456789")),
            0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }
}
