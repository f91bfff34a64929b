//! The generated shaders: a program over its domain, and a reduction of one.

use segcal_core::Fold;

use super::program::{Domain, Listing, print_coordinates};
use super::text::{ELEMENTWISE, line};

/// Everything that the shader of a map depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct MapPattern {
    pub(super) listing: Listing,
    axes: usize,
}

impl MapPattern {
    pub(super) fn new(listing: Listing, domain: &Domain) -> Self {
        Self { listing, axes: domain.extents.len() }
    }

    /// Prints the shader, except for the declarations of its arrays.
    pub(super) fn print(&self, text: &mut String) {
        self.listing.print_functions(text);
        line(text, format_args!("fn element(i: u32) {{"));
        print_coordinates(text, "i", &(0..self.axes).collect::<Vec<_>>());
        self.listing.print_steps(text, Some("i"));
        for output in 0..self.listing.outputs() {
            line(text, format_args!("    y{output}_set(i, {});", self.listing.output(output)));
        }
        line(text, format_args!("}}"));
        text.push_str(ELEMENTWISE);
    }
}

/// Everything that the shader of a reduction depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ReducePattern {
    pub(super) listing: Listing,
    /// Whether it takes the maximum instead of the sum.
    max: bool,
    axes: usize,
    /// The merged axes that are kept, as a bit mask.
    kept: u8,
    grouped: bool,
}

impl ReducePattern {
    /// The last view of `domain` is the result.
    pub(super) fn new(listing: Listing, domain: &Domain, fold: Fold, grouped: bool) -> Self {
        let kept = *domain.present.last().expect("the result is a view");
        Self { listing, max: fold == Fold::Max, axes: domain.extents.len(), kept, grouped }
    }

    /// Prints the shader, except for the declarations of its arrays.
    pub(super) fn print(&self, text: &mut String) {
        let outputs = self.listing.outputs();
        let (kept, folded): (Vec<usize>, Vec<usize>) = (0..self.axes).partition(|axis| self.kept >> axis & 1 == 1);
        line(text, format_args!("const OUTPUTS: u32 = {outputs}u;\nalias Values = array<f32, OUTPUTS>;"));
        self.listing.print_functions(text);
        line(text, format_args!("fn term(o: u32, m: u32) -> Values {{"));
        print_coordinates(text, "o", &kept);
        print_coordinates(text, "m", &folded);
        self.listing.print_steps(text, None);
        let values: Vec<String> = (0..outputs).map(|output| self.listing.output(output)).collect();
        line(text, format_args!("    return Values({});\n}}", values.join(", ")));
        line(text, format_args!("fn store(i: u32, values: Values) {{"));
        (0..outputs).for_each(|output| line(text, format_args!("    y{output}_set(i, values[{output}]);")));
        line(text, format_args!("}}"));
        text.push_str(if self.max {
            include_str!("shaders/reduce_max.wgsl")
        } else {
            include_str!("shaders/reduce_sum.wgsl")
        });
        text.push_str(include_str!("shaders/reduce.wgsl"));
        if self.grouped {
            text.push_str(include_str!("shaders/reduce_group.wgsl"));
        } else {
            text.push_str(include_str!("shaders/reduce_serial.wgsl"));
            text.push_str(ELEMENTWISE);
        }
    }
}
