//! Translates programs to WGSL.
//!
//! A [`Listing`] is a program together with how each input is read over the domain. Adjacent axes that every input
//! treats the same way are merged, so that a per-channel input over `[n, c, d, h, w]` costs two divisions, not five,
//! and most shapes share one shader. Extents and scalars are parameters: a new shape or a new learning rate does not
//! compile a new shader.

use segcal_core::{Opcode, Program, Shape, Step};

use super::params::Params;
use super::text::line;

/// The axes of a domain after merging.
pub(super) struct Domain {
    /// Extents of the merged axes, all greater than 1.
    pub(super) extents: Vec<u32>,
    /// For each view, the merged axes along which it is not repeated, as a bit mask.
    pub(super) present: Vec<u8>,
    /// The merged axis of each axis whose coordinate is used; `None` if the coordinate is always 0.
    pub(super) coordinates: [Option<u8>; 5],
}

impl Domain {
    /// Merges the axes of `domain` as seen by the views; those in `pinned` are not merged.
    pub(super) fn new(domain: Shape, views: &[Shape], pinned: [bool; 5]) -> Self {
        let mut merged = Self { extents: Vec::new(), present: vec![0; views.len()], coordinates: [None; 5] };
        let mut last: Option<(Vec<bool>, bool)> = None;
        for axis in (0..5).filter(|&axis| domain.dims()[axis] != 1) {
            let extent = domain.dims()[axis] as u32;
            let status: Vec<bool> = views.iter().map(|view| view.dims()[axis] != 1).collect();
            if let (Some((previous, false)), Some(merged_extent), false) =
                (&last, merged.extents.last_mut(), pinned[axis])
                && *previous == status
            {
                *merged_extent *= extent;
                continue;
            }
            let number = merged.extents.len() as u8;
            merged.extents.push(extent);
            for (bits, &present) in merged.present.iter_mut().zip(&status) {
                *bits |= u8::from(present) << number;
            }
            merged.coordinates[axis] = pinned[axis].then_some(number);
            last = Some((status, pinned[axis]));
        }
        merged
    }

    /// Whether the last view is repeated along the innermost axis.
    pub(super) fn folds_innermost(&self) -> bool {
        let result = self.present.last().copied().unwrap_or(0);
        !self.extents.is_empty() && result >> (self.extents.len() - 1) & 1 == 0
    }
}

/// A program with the pattern in which its inputs are read: everything that its WGSL text depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Listing {
    steps: Vec<Step>,
    outputs: Vec<usize>,
    axes: usize,
    /// The input of each array, with the merged axes it has.
    inputs: Vec<(usize, u8)>,
    coordinates: [Option<u8>; 5],
    /// Whether all inputs are packed into one array, at offsets given as parameters.
    packed: bool,
}

impl Listing {
    /// `present[k]` belongs to input `inputs[k]`.
    pub(super) fn new(program: &Program, inputs: &[usize], domain: &Domain, packed: bool) -> Self {
        Self {
            steps: program.steps().to_vec(),
            outputs: program.outputs().to_vec(),
            axes: domain.extents.len(),
            inputs: inputs.iter().copied().zip(domain.present.iter().copied()).collect(),
            coordinates: domain.coordinates,
            packed,
        }
    }

    /// A listing whose `count` outputs are its `count` inputs, all of one pattern.
    pub(super) fn identity(count: usize, domain: &Domain) -> Self {
        Self {
            steps: (0..count).map(Step::Input).collect(),
            outputs: (0..count).collect(),
            axes: domain.extents.len(),
            inputs: (0..count).zip(domain.present.iter().copied()).collect(),
            coordinates: [None; 5],
            packed: false,
        }
    }

    /// Number of arrays read.
    pub(super) fn arrays(&self) -> usize {
        if self.packed { 1 } else { self.inputs.len() }
    }

    #[cfg(test)]
    pub(super) fn is_of(&self, program: &Program) -> bool {
        self.steps == program.steps()
    }

    /// Number of instructions.
    pub(super) fn operations(&self) -> u64 {
        self.steps.iter().filter(|step| matches!(step, Step::Apply(..))).count() as u64
    }

    /// Number of outputs.
    pub(super) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// The parameters: extents, offsets of packed inputs, numbers.
    pub(super) fn params(&self, extents: &[u32], starts: &[u32], scalars: &[f64]) -> Params {
        let mut params = Params::default().and_numbered("e", extents.iter().copied());
        if self.packed {
            params = params.and_numbered("start", starts.iter().copied());
        }
        self.numbers().iter().fold(params, |params, &step| match self.steps[step] {
            Step::Scalar(number) => params.and_step("s", step, scalars[number] as f32),
            Step::Const(bits) => params.and_step("s", step, f64::from_bits(bits) as f32),
            _ => unreachable!("only scalars and constants are parameters"),
        })
    }

    /// Steps whose value is a parameter: scalars, and constants that WGSL cannot express.
    fn numbers(&self) -> Vec<usize> {
        let parameter = |step: &Step| match *step {
            Step::Scalar(_) => true,
            Step::Const(bits) => !(f64::from_bits(bits) as f32).is_finite(),
            _ => false,
        };
        (0..self.steps.len()).filter(|&number| parameter(&self.steps[number])).collect()
    }

    /// Prints the lines that compute every step as `v0, v1, ...`, given the coordinates `c0, c1, ...` of the merged
    /// axes and, if there is one, the name of the index into an array that has all axes.
    pub(super) fn print_steps(&self, text: &mut String, whole: Option<&str>) {
        let numbers = self.numbers();
        for (number, step) in self.steps.iter().enumerate() {
            let value = match *step {
                _ if numbers.contains(&number) => format!("p.s{number}"),
                Step::Const(bits) => format!("{:e}f", f64::from_bits(bits) as f32),
                Step::Input(input) => self.read(input, whole),
                Step::Coord(axis) => self.coordinates[axis].map_or("0.0".into(), |axis| format!("f32(c{axis})")),
                Step::Apply(opcode, args) => apply(opcode, args),
                Step::Scalar(_) => unreachable!("scalars are parameters"),
            };
            line(text, format_args!("    let v{number}: f32 = {value};"));
        }
    }

    /// The expression of an output.
    pub(super) fn output(&self, number: usize) -> String {
        format!("v{}", self.outputs[number])
    }

    /// Prints the functions that the steps call.
    pub(super) fn print_functions(&self, text: &mut String) {
        let used = |opcode: &Opcode| self.steps.iter().any(|step| matches!(step, Step::Apply(of, _) if of == opcode));
        Opcode::ALL.iter().filter(|opcode| used(opcode)).filter_map(|opcode| opcode.wgsl_helper()).for_each(|helper| {
            // Two opcodes may call the same function.
            if !text.contains(helper) {
                text.push_str(helper);
            }
        });
    }

    fn read(&self, input: usize, whole: Option<&str>) -> String {
        let array = self.inputs.iter().position(|&(number, _)| number == input).expect("every input is bound");
        let place = self.place(self.inputs[array].1, whole);
        if self.packed { format!("a0_at(p.start{array} + {place})") } else { format!("a{array}_at({place})") }
    }

    /// The memory offset in a view that has these merged axes.
    fn place(&self, present: u8, whole: Option<&str>) -> String {
        if let (Some(whole), true) = (whole, u32::from(present) + 1 == 1 << self.axes) {
            return whole.to_owned();
        }
        let axes = (0..self.axes).filter(|axis| present >> axis & 1 == 1);
        let place = axes.fold(String::new(), |place, axis| {
            if place.is_empty() { format!("c{axis}") } else { format!("({place} * p.e{axis} + c{axis})") }
        });
        if place.is_empty() { "0u".into() } else { place }
    }
}

/// Prints lines that split the index `from` into coordinates of the given merged axes, the last one varying fastest.
pub(super) fn print_coordinates(text: &mut String, from: &str, axes: &[usize]) {
    line(text, format_args!("    var rest_{from} = {from};"));
    for (position, axis) in axes.iter().enumerate().rev() {
        if position == 0 {
            line(text, format_args!("    let c{axis} = rest_{from};"));
        } else {
            line(text, format_args!("    let c{axis} = rest_{from} % p.e{axis}; rest_{from} /= p.e{axis};"));
        }
    }
}

fn apply(opcode: Opcode, args: [usize; 3]) -> String {
    let mut text = opcode.wgsl().to_owned();
    for (place, arg) in args.iter().enumerate().take(opcode.arity()) {
        text = text.replace(&format!("{{{place}}}"), &format!("v{arg}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_all_inputs_treat_alike_are_merged() {
        let domain = Shape::new(2, 3, 4, 5, 6);
        let merged = Domain::new(domain, &[domain, Shape::new(1, 3, 1, 1, 1)], [false; 5]);
        assert_eq!((merged.extents, merged.present), (vec![2, 3, 120], vec![0b111, 0b010]));
        let alone = Domain::new(domain, &[domain], [false; 5]);
        assert_eq!((alone.extents, alone.present), (vec![720], vec![1]));
    }

    #[test]
    fn an_axis_whose_coordinate_is_asked_for_stays_alone() {
        let domain = Shape::new(2, 3, 1, 5, 6);
        let merged = Domain::new(domain, &[domain], [false, true, true, false, false]);
        assert_eq!(merged.extents, vec![2, 3, 30]);
        assert_eq!(merged.coordinates, [None, Some(1), None, None, None]);
    }

    #[test]
    fn axes_of_extent_one_do_not_count() {
        let merged = Domain::new(Shape::new(2, 1, 1, 1, 7), &[Shape::new(2, 1, 1, 1, 7)], [false; 5]);
        assert_eq!(merged.extents, vec![14]);
        assert!(Domain::new(Shape::SCALAR, &[Shape::SCALAR], [false; 5]).extents.is_empty());
    }
}
