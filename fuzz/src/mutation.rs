//! Changed inputs, the same for the same seed: a search without coverage, for machines without cargo-fuzz.

use segcal_core::Rng;

/// Inputs grow no longer than this.
const LONGEST: usize = 4096;

/// Whole numbers at the edges of their types.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// One of the inputs with one to eight changes; `inputs` holds at least one.
pub fn mutant(inputs: &[Vec<u8>], rng: Rng) -> Vec<u8> {
    let mut bytes = inputs[rng.below(0, inputs.len())].clone();
    for change in 0..=rng.below(1, 8) as u64 {
        let rng = rng.stream(change);
        let other = &inputs[rng.below(0, inputs.len())];
        change_one(&mut bytes, other, rng);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn change_one(bytes: &mut Vec<u8>, other: &[u8], rng: Rng) {
    let at = rng.below(1, bytes.len() + 1);
    let length = 1 + rng.below(2, 8);
    let end = (at + length).min(bytes.len());
    match rng.below(3, 8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(4, 8),
        1 if at < bytes.len() => bytes[at] = rng.below(4, 256) as u8,
        2 => drop(bytes.drain(at..end)),
        3 => drop(bytes.splice(at..at, (0..length as u64).map(|i| rng.stream(1).bits(i) as u8))),
        4 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => bytes.truncate(at),
        6 => {
            let edge = EDGES[rng.below(4, EDGES.len())];
            let field = if rng.below(5, 2) == 0 { edge.to_le_bytes() } else { edge.to_be_bytes() };
            let width = [1, 2, 4, 8][rng.below(6, 4)];
            let room = width.min(bytes.len() - at);
            bytes[at..at + room].copy_from_slice(&field[..room]);
        }
        _ => {
            let from = rng.below(4, other.len() + 1);
            let to = (from + 4 * length).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_mutant_and_others_differ() {
        let inputs = vec![vec![1, 2, 3, 4], Vec::new(), (0..=255).collect()];
        let mutants: Vec<_> = (0..500).map(|seed| mutant(&inputs, Rng::new(seed))).collect();
        assert_eq!(mutants[7], mutant(&inputs, Rng::new(7)));
        let changed = mutants.iter().filter(|mutant| !inputs.contains(mutant)).count();
        assert!(changed > 400, "{changed}");
    }
}
