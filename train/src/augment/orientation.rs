//! Flips and quarter turns of a sample, as in the public code of MEEP and SVLS: voxels are rearranged, and no value
//! changes.

use segcal_core::Rng;

use crate::settings::Augment;

/// How the voxels of a block are rearranged: mirrored along axes, then rotated about others. The default leaves them in
/// place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Whether it is mirrored along each of `[d, h, w]`.
    flips: [bool; 3],
    /// Quarter turns about each of `[d, h, w]`, from 0 to 3.
    turns: [usize; 3],
}

impl Orientation {
    /// Every combination of mirrorings along these axes of `[d, h, w]`; the first one mirrors nothing.
    pub fn mirrorings(axes: &[usize]) -> Vec<Self> {
        let mirrored = |chosen: usize| {
            let mut one = Self::default();
            axes.iter().enumerate().for_each(|(bit, &axis)| one.flips[axis] = chosen >> bit & 1 == 1);
            one
        };
        (0..1 << axes.len()).map(mirrored).collect()
    }

    /// Draws one.
    pub fn draw(augment: &Augment, rng: Rng) -> Self {
        let mut drawn = Self::default();
        for axis in augment.flips.iter().map(|axis| axis.index()) {
            drawn.flips[axis] = rng.below(axis as u64, 2) == 1;
        }
        for axis in augment.turns.iter().map(|axis| axis.index()) {
            drawn.turns[axis] = rng.below(3 + axis as u64, 4);
        }
        drawn
    }

    /// Applies the orientation to a block of numbers, channel by channel; the planes of quarter turns must be square.
    pub fn apply(self, numbers: &mut [f32], extent: [usize; 3]) {
        if self == Self::default() {
            return;
        }
        let mut turned = vec![0.0; extent.iter().product()];
        for channel in numbers.chunks_exact_mut(turned.len().max(1)) {
            for (place, number) in turned.iter_mut().enumerate() {
                let at = [place / (extent[1] * extent[2]), place / extent[2] % extent[1], place % extent[2]];
                let [d, h, w] = self.source(at, extent);
                *number = channel[(d * extent[1] + h) * extent[2] + w];
            }
            channel.copy_from_slice(&turned);
        }
    }

    /// The position that a voxel is taken from.
    fn source(self, mut at: [usize; 3], extent: [usize; 3]) -> [usize; 3] {
        for (axis, &turns) in self.turns.iter().enumerate() {
            let [a, b] = [[1, 2], [0, 2], [0, 1]][axis];
            for _ in 0..turns {
                (at[a], at[b]) = (at[b], extent[a] - 1 - at[a]);
            }
        }
        for axis in 0..3 {
            if self.flips[axis] {
                at[axis] = extent[axis] - 1 - at[axis];
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn applied(flips: [bool; 3], turns: [usize; 3], extent: [usize; 3]) -> Vec<f32> {
        let mut numbers: Vec<f32> = (0..extent.iter().product::<usize>()).map(|x| x as f32).collect();
        Orientation { flips, turns }.apply(&mut numbers, extent);
        numbers
    }

    #[test]
    fn flips_mirror_and_turns_rotate() {
        assert_eq!(applied([false, false, true], [0; 3], [1, 2, 3]), [2.0, 1.0, 0.0, 5.0, 4.0, 3.0]);
        assert_eq!(applied([false, true, false], [0; 3], [1, 2, 3]), [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]);
        assert_eq!(applied([false; 3], [1, 0, 0], [1, 2, 2]), [1.0, 3.0, 0.0, 2.0]);
        assert_eq!(applied([false; 3], [2, 0, 0], [1, 2, 2]), [3.0, 2.0, 1.0, 0.0]);
        // Four quarter turns, one after the other, change nothing.
        let mut numbers: Vec<f32> = (0..27).map(|x| x as f32).collect();
        for axis in 0..3 {
            let mut turns = [0; 3];
            turns[axis] = 1;
            (0..4).for_each(|_| Orientation { flips: [false; 3], turns }.apply(&mut numbers, [3; 3]));
            assert_eq!(numbers[5], 5.0);
        }
    }

    #[test]
    fn mirrorings_are_all_and_each_undoes_itself() {
        let all = Orientation::mirrorings(&[0, 2]);
        assert_eq!(
            all.iter().map(|one| one.flips).collect::<Vec<_>>(),
            [[false; 3], [true, false, false], [false, false, true], [true, false, true]]
        );
        for one in all {
            let numbers: Vec<f32> = (0..24).map(|x| x as f32).collect();
            let mut mirrored = numbers.clone();
            one.apply(&mut mirrored, [2, 3, 4]);
            assert_eq!(mirrored == numbers, one == Orientation::default());
            one.apply(&mut mirrored, [2, 3, 4]);
            assert_eq!(mirrored, numbers);
        }
    }

    #[test]
    fn every_orientation_is_drawn_and_the_same_one_again() {
        let settings = Settings::with(&["augment.flips=[\"x\",\"y\"]", "augment.turns=[\"z\"]"]).unwrap();
        let drawn: Vec<Orientation> =
            (0..400).map(|number| Orientation::draw(&settings.augment, Rng::new(7).stream(number))).collect();
        for flips in [[false, false], [false, true], [true, false], [true, true]] {
            for turns in 0..4 {
                let wanted = Orientation { flips: [false, flips[0], flips[1]], turns: [turns, 0, 0] };
                let count = drawn.iter().filter(|&&one| one == wanted).count();
                // 25 expected of 400, standard deviation 5.
                assert!((5..=50).contains(&count), "{wanted:?}: {count}");
            }
        }
        assert_eq!(drawn[3], Orientation::draw(&settings.augment, Rng::new(7).stream(3)));
        let refused = Settings::with(&["samples.size=[64,32]", "augment.turns=[\"z\"]"]).unwrap_err().to_string();
        assert!(refused.contains("augment.turns") && refused.contains("64 by 32"), "{refused}");
    }
}
