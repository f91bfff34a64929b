//! `slice` and `place`: copies of runs that are contiguous on both sides.

use segcal_core::{Index, Shape};

use super::{Array, CHUNK, Cpu};

/// `y[o] = x[start + o]`.
pub(super) fn slice(cpu: &Cpu, (x, x_shape): Array<'_>, start: Index, y: &mut [f32], out: Shape) {
    let run = trailing(out, first_cut_axis(out, x_shape));
    cpu.chunks(y, CHUNK, |chunk, mut y| {
        let mut at = chunk * CHUNK;
        while !y.is_empty() {
            let within = at % run;
            let place = out.coordinate(at - within);
            let from = x_shape.offset(std::array::from_fn(|axis| start[axis] + place[axis])) + within;
            let (part, rest) = y.split_at_mut(y.len().min(run - within));
            part.copy_from_slice(&x[from..from + part.len()]);
            at += part.len();
            y = rest;
        }
    });
}

/// `y[start_p + i] += part_p[i]`, from zero.
pub(super) fn place(cpu: &Cpu, parts: &[(Array<'_>, Index)], y: &mut [f32], out: Shape) {
    let parts: Vec<Part<'_>> = parts
        .iter()
        .filter(|part| part.0.1.len() > 0)
        .map(|&((data, shape), start)| Part { data, shape, start })
        .collect();
    let disjoint = (0..parts.len()).all(|i| parts[..i].iter().all(|other| !parts[i].meets(other)));
    // In each row, every part is one contiguous run: a row spans the axes from the innermost one that some part does
    // not fill.
    let cut = parts.iter().map(|part| first_cut_axis(part.shape, out)).max().unwrap_or(0);
    let row = trailing(out, cut);
    cpu.chunks(y, CHUNK, |chunk, mut y| {
        let mut at = chunk * CHUNK;
        while !y.is_empty() {
            let within = at % row;
            let (piece, rest) = y.split_at_mut(y.len().min(row - within));
            fill_row(&parts, disjoint, out.coordinate(at - within), cut, within, piece);
            at += piece.len();
            y = rest;
        }
    });
}

/// A box of values to place.
struct Part<'a> {
    data: &'a [f32],
    shape: Shape,
    start: Index,
}

impl<'a> Part<'a> {
    fn meets(&self, other: &Self) -> bool {
        let end = |part: &Self, axis: usize| part.start[axis] + part.shape.dims()[axis];
        (0..5).all(|axis| self.start[axis] < end(other, axis) && other.start[axis] < end(self, axis))
    }

    /// The values of the part in a row, and the offset in the row where they begin.
    fn run(&self, row: Index, cut: usize) -> Option<(&'a [f32], usize)> {
        let mut from = [0; 5];
        for axis in 0..cut {
            from[axis] = row[axis].checked_sub(self.start[axis]).filter(|&i| i < self.shape.dims()[axis])?;
        }
        let from = self.shape.offset(from);
        let first = self.start[cut] * self.shape.strides()[cut];
        Some((&self.data[from..from + trailing(self.shape, cut)], first))
    }
}

/// Writes the elements `within ..` of the row that begins at coordinate `row`.
fn fill_row(parts: &[Part<'_>], disjoint: bool, row: Index, cut: usize, within: usize, piece: &mut [f32]) {
    let end = within + piece.len();
    let runs: Vec<(&[f32], usize)> = parts
        .iter()
        .filter_map(|part| part.run(row, cut))
        .map(|(run, first)| (run, first, first.max(within), end.min(first + run.len())))
        .filter(|&(_, _, low, high)| low < high)
        .map(|(run, first, low, high)| (&run[low - first..high - first], low - within))
        .collect();
    let covered: usize = runs.iter().map(|(run, _)| run.len()).sum();
    if !disjoint || covered < piece.len() {
        piece.fill(0.0);
    }
    for (run, first) in runs {
        let target = &mut piece[first..first + run.len()];
        if disjoint {
            target.copy_from_slice(run);
        } else {
            target.iter_mut().zip(run).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// The innermost axis along which a box does not fill the whole; 0 if it fills everything.
fn first_cut_axis(part: Shape, whole: Shape) -> usize {
    (0..5).rev().find(|&axis| part.dims()[axis] != whole.dims()[axis]).unwrap_or(0)
}

/// Number of elements from `axis` inwards.
fn trailing(shape: Shape, axis: usize) -> usize {
    shape.dims()[axis..].iter().product()
}

#[cfg(test)]
mod tests {
    use segcal_core::Backend;

    use super::*;

    #[test]
    fn channels_are_concatenated_and_cut_out_again() {
        let cpu = Cpu::default();
        let (one, two) = (Shape::new(2, 1, 1, 1, 2), Shape::new(2, 2, 1, 1, 2));
        let a = cpu.upload(vec![1.0, 2.0, 3.0, 4.0]);
        let b = cpu.upload(vec![10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]);
        let whole = Shape::new(2, 3, 1, 1, 2);
        let y = cpu.place(&[((&a, one), [0; 5]), ((&b, two), [0, 1, 0, 0, 0])], whole);
        assert_eq!(y.to_vec(), [1.0, 2.0, 10.0, 20.0, 30.0, 40.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0]);
        assert_eq!(cpu.slice((&y, whole), [0, 1, 0, 0, 0], two).to_vec(), b.to_vec());
        assert_eq!(cpu.slice((&y, whole), [1, 0, 0, 0, 1], Shape::new(1, 2, 1, 1, 1)).to_vec(), [4.0, 60.0]);
    }

    #[test]
    fn padding_is_zero_and_overlaps_add() {
        let cpu = Cpu::default();
        let x = cpu.upload(vec![1.0, 2.0]);
        let (row, wide) = (Shape::new(1, 1, 1, 1, 2), Shape::new(1, 1, 1, 1, 4));
        assert_eq!(cpu.place(&[((&x, row), [0, 0, 0, 0, 1])], wide).to_vec(), [0.0, 1.0, 2.0, 0.0]);
        let twice = cpu.place(&[((&x, row), [0, 0, 0, 0, 1]), ((&x, row), [0, 0, 0, 0, 2])], wide);
        assert_eq!(twice.to_vec(), [0.0, 1.0, 3.0, 2.0]);
        assert_eq!(cpu.place(&[], wide).to_vec(), [0.0; 4]);
    }
}
