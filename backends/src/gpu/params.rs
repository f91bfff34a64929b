//! Parameters of a shader: one list of names and values, which also generates the shader's struct `Params`.

use super::text::line;

/// The value of a parameter, in the type that the shader sees.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Unsigned(u32),
    Signed(i32),
    Float(f32),
    /// Fixed point: an integer part and a fraction in units of 2^-32.
    Fixed(i64),
}

/// A parameter. Those of a generated program are numbered.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Param {
    name: &'static str,
    number: Option<usize>,
    value: Value,
}

/// The parameters of a dispatch, in the order of the shader's struct.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Params(Vec<Param>);

impl Params {
    /// Sizes, as `u32`.
    pub(super) fn sizes<const N: usize>(list: [(&'static str, usize); N]) -> Self {
        Self::default().and_sizes(list)
    }

    /// Adds further sizes.
    pub(super) fn and_sizes<const N: usize>(mut self, list: [(&'static str, usize); N]) -> Self {
        list.into_iter().for_each(|(name, value)| self.push(name, None, Value::Unsigned(value as u32)));
        self
    }

    /// Adds the sizes along three axes.
    pub(super) fn and_axes(self, names: [&'static str; 3], values: [usize; 3]) -> Self {
        self.and_sizes(std::array::from_fn::<_, 3, _>(|axis| (names[axis], values[axis])))
    }

    /// Adds offsets, as `i32`.
    pub(super) fn and_offsets<const N: usize>(mut self, list: [(&'static str, i64); N]) -> Self {
        list.into_iter().for_each(|(name, value)| self.push(name, None, Value::Signed(value as i32)));
        self
    }

    /// Adds offsets along three axes.
    pub(super) fn and_steps(self, names: [&'static str; 3], values: [i64; 3]) -> Self {
        self.and_offsets(std::array::from_fn::<_, 3, _>(|axis| (names[axis], values[axis])))
    }

    /// Adds a number, as `f32`.
    pub(super) fn and_number(mut self, name: &'static str, value: f64) -> Self {
        self.push(name, None, Value::Float(value as f32));
        self
    }

    /// Adds a number in fixed point, as a `vec2<u32>` of its integer part and its fraction in units of 2^-32.
    pub(super) fn and_fixed(mut self, name: &'static str, value: f64) -> Self {
        self.push(name, None, Value::Fixed((value * 4_294_967_296.0).round() as i64));
        self
    }

    /// Adds numbered sizes.
    pub(super) fn and_numbered(mut self, name: &'static str, values: impl IntoIterator<Item = u32>) -> Self {
        let values = values.into_iter().enumerate();
        values.for_each(|(number, value)| self.push(name, Some(number), Value::Unsigned(value)));
        self
    }

    /// Adds one numbered value, as `f32`.
    pub(super) fn and_step(mut self, name: &'static str, number: usize, value: f32) -> Self {
        self.push(name, Some(number), Value::Float(value));
        self
    }

    /// Appends another list.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn push(&mut self, name: &'static str, number: Option<usize>, value: Value) {
        self.0.push(Param { name, number, value });
    }

    /// Prints the struct of the shader and its binding.
    pub(super) fn print(&self, text: &mut String) {
        line(text, format_args!("struct Params {{"));
        for param in &self.0 {
            let kind = match param.value {
                Value::Unsigned(_) => "u32",
                Value::Signed(_) => "i32",
                Value::Float(_) => "f32",
                Value::Fixed(_) => "vec2<u32>",
            };
            let number = param.number.map_or_else(String::new, |number| number.to_string());
            line(text, format_args!("    {}{number}: {kind},", param.name));
        }
        line(text, format_args!("}}\n@group(0) @binding(0) var<uniform> p: Params;"));
    }

    /// The values in the layout of the WGSL struct: a `vec2` begins at an even word.
    pub(super) fn words(&self) -> Vec<u32> {
        let mut words = Vec::with_capacity(self.0.len() + 1);
        for param in &self.0 {
            match param.value {
                Value::Unsigned(value) => words.push(value),
                Value::Signed(value) => words.push(value as u32),
                Value::Float(value) => words.push(value.to_bits()),
                Value::Fixed(value) => {
                    words.resize(words.len().next_multiple_of(2), 0);
                    words.extend([(value >> 32) as u32, value as u32]);
                }
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_struct_and_its_words_are_of_one_list() {
        let params = Params::sizes([("count", 7)]).and_numbered("e", [5, 6]).and_offsets([("base", -1)]);
        let params = params.and_number("spacing", 0.5).and_fixed("dd", -1.25).and_step("s", 3, 2.0);
        let mut text = String::new();
        params.print(&mut text);
        let fields = "count: u32,\n    e0: u32,\n    e1: u32,\n    base: i32,\n    spacing: f32,\n    dd: vec2<u32>,\n    s3: f32,";
        assert_eq!(
            text,
            format!("struct Params {{\n    {fields}\n}}\n@group(0) @binding(0) var<uniform> p: Params;\n")
        );
        let (half, two) = (0.5f32.to_bits(), 2.0f32.to_bits());
        assert_eq!(params.words(), [7, 5, 6, u32::MAX, half, 0, -2i32 as u32, 0xc000_0000, two]);
    }
}
