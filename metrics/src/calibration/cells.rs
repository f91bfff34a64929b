//! Numbered bins, of which only the non-empty ones are stored.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bins::Bin;

/// The non-empty bins, ascending by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cells(Vec<(u32, Bin)>);

impl Cells {
    /// Appends a bin whose number is larger than all previous ones; an empty bin is skipped.
    pub(super) fn push(&mut self, number: u32, bin: Bin) {
        debug_assert!(self.0.last().is_none_or(|last| last.0 < number), "ascending");
        if bin.count > 0 {
            self.0.push((number, bin));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(u32, Bin)> + Clone {
        self.0.iter()
    }

    /// The bins whose numbers are in a range.
    pub(super) fn between(&self, from: u32, to: u32) -> &[(u32, Bin)] {
        let at = |number: u32| self.0.partition_point(|cell| cell.0 < number);
        &self.0[at(from)..at(to)]
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.0.iter().map(|cell| cell.0).eq(other.0.iter().map(|cell| cell.0)) {
            self.0.iter_mut().zip(&other.0).for_each(|(own, new)| own.1.merge(&new.1));
            return;
        }
        let own = std::mem::take(&mut self.0);
        let (mut a, mut b) = (own.into_iter().peekable(), other.0.iter().copied().peekable());
        while let (Some(&(x, mut bin)), Some(&(y, new))) = (a.peek(), b.peek()) {
            let order = x.cmp(&y);
            if order.is_le() {
                a.next();
            }
            if order.is_ge() {
                b.next();
            }
            self.0.push(match order {
                Ordering::Less => (x, bin),
                Ordering::Equal => {
                    bin.merge(&new);
                    (x, bin)
                }
                Ordering::Greater => (y, new),
            });
        }
        self.0.extend(a.chain(b));
    }

    /// Merges the bins by `number >> bits`.
    pub(super) fn coarser(&self, bits: u32) -> Self {
        let mut coarser = Self::default();
        for &(number, bin) in &self.0 {
            match coarser.0.last_mut() {
                Some((last, total)) if *last == number >> bits => total.merge(&bin),
                _ => coarser.0.push((number >> bits, bin)),
            }
        }
        coarser
    }
}

/// Serialised as one string of hexadecimal numbers, four per bin: difference from the previous number, count, hits,
/// sum. It has a third of the size of JSON arrays, and no reader rounds it.
impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        let mut before = 0;
        for (number, Bin { count, hits, sum }) in &self.0 {
            let gap = if text.is_empty() { "" } else { " " };
            text += &format!("{gap}{:x} {count:x} {hits:x} {:x}", number - before, sum.units());
            before = *number;
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text)
            .ok_or_else(|| serde::de::Error::custom("bins are not four hexadecimal numbers each, in ascending order"))
    }
}

fn parse(text: &str) -> Option<Cells> {
    let (mut cells, mut before) = (Vec::new(), 0_u32);
    let mut words = text.split_ascii_whitespace();
    while let Some(step) = words.next() {
        let step = u32::from_str_radix(step, 16).ok().filter(|&step| step > 0 || cells.is_empty())?;
        before = before.checked_add(step)?;
        let mut number = || u64::from_str_radix(words.next()?, 16).ok();
        let (count, hits) = (number()?, number()?);
        let sum = super::fixed::FixedSum::of_units(u128::from_str_radix(words.next()?, 16).ok()?);
        cells.push((before, Bin { count, hits, sum }));
    }
    Some(Cells(cells))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bin(count: u64) -> Bin {
        let mut bin = Bin { count, hits: count / 2, ..Bin::default() };
        bin.sum.add_repeated(1 << 39, count);
        bin
    }

    fn cells(numbers: &[u32]) -> Cells {
        let mut cells = Cells::default();
        numbers.iter().for_each(|&number| cells.push(number, bin(u64::from(number) + 1)));
        cells
    }

    proptest! {
        #[test]
        fn merging_is_adding_number_by_number(
            a in prop::collection::btree_set(0..40_u32, 0..20),
            b in prop::collection::btree_set(0..40_u32, 0..20),
        ) {
            let [a, b] = [a, b].map(|set| cells(&set.into_iter().collect::<Vec<_>>()));
            let (mut forth, mut back) = (a.clone(), b.clone());
            forth.merge(&b);
            back.merge(&a);
            prop_assert_eq!(&forth, &back);
            for number in 0..40 {
                let of = |cells: &Cells| cells.between(number, number + 1).first().map_or(0, |cell| cell.1.count);
                prop_assert_eq!(of(&forth), of(&a) + of(&b));
            }
            let text = serde_json::to_string(&forth).unwrap();
            prop_assert_eq!(serde_json::from_str::<Cells>(&text).unwrap(), forth.clone());
            let total = |cells: &Cells| cells.iter().map(|cell| cell.1.count).sum::<u64>();
            prop_assert_eq!(total(&forth.coarser(3)), total(&forth));
        }
    }

    #[test]
    fn a_state_that_was_edited_is_refused() {
        for text in ["1 2 3", "1 2 1 0 0 2 1 0", "x 1 1 1", "ffffffff 1 1 1 1 1 1 1"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
