//! Assembles shaders from their files, the arrays they read and write, and generated declarations.
//!
//! A shader never names a binding: it calls `x_at(i)` and `y_set(i, value)`, which are generated here for the bindings
//! that the buffers of a call need. A tensor that is larger than one binding of the device takes several, each exposing
//! one chunk of it, and the generated functions select the chunk.

use std::fmt::Write;
use std::hash::{Hash, Hasher};

use super::params::Params;
use super::pattern::{MapPattern, ReducePattern};
use super::text::{GROUP, line};

/// A shader that is stored in files.
pub(super) struct Kernel {
    /// The unique name of the kernel.
    pub(super) name: &'static str,
    /// The texts of its files.
    pub(super) files: &'static [&'static str],
    /// Names of the constants that each call sets.
    pub(super) constants: &'static [&'static str],
    /// Names of the arrays it reads.
    pub(super) reads: &'static [&'static str],
    /// Names of the arrays it writes.
    pub(super) writes: &'static [&'static str],
}

impl Kernel {
    /// The shader with the given values of its constants.
    pub(super) fn code(&'static self, constants: impl Into<Vec<u32>>) -> Code {
        Code::File(self, constants.into())
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Identifies a pipeline, except for the number of bindings.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Code {
    /// A shader from files, with the values of its constants.
    File(&'static Kernel, Vec<u32>),
    /// A program over a broadcast pattern.
    Map(MapPattern),
    /// A reduction of a program.
    Reduce(ReducePattern),
}

impl Code {
    /// Names of the arrays read and of the arrays written.
    pub(super) fn arrays(&self) -> [Vec<String>; 2] {
        let numbered = |letter: char, count: usize| (0..count).map(|i| format!("{letter}{i}")).collect();
        let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        match self {
            Self::File(kernel, _) => [named(kernel.reads), named(kernel.writes)],
            Self::Map(pattern) => [numbered('a', pattern.listing.arrays()), numbered('y', pattern.listing.outputs())],
            Self::Reduce(pattern) => {
                [numbered('a', pattern.listing.arrays()), numbered('y', pattern.listing.outputs())]
            }
        }
    }

    /// The complete shader. `bindings[i]` is the number of bindings of array `i`; each holds at most `chunk_words`
    /// words.
    pub(super) fn source(&self, params: &Params, bindings: &[u8], chunk_words: u32) -> String {
        let mut text = format!("const GROUP: u32 = {GROUP}u;\nconst CHUNK: u32 = {chunk_words}u;\n");
        let [reads, writes] = self.arrays();
        let mut binding = 1;
        for (number, (name, &count)) in reads.iter().chain(&writes).zip(bindings).enumerate() {
            array(&mut text, name, count, &mut binding, number >= reads.len());
        }
        params.print(&mut text);
        match self {
            Self::File(kernel, values) => {
                for (name, value) in kernel.constants.iter().zip(values) {
                    line(&mut text, format_args!("const {name}: u32 = {value}u;"));
                }
                kernel.files.iter().for_each(|file| text.push_str(file));
            }
            Self::Map(pattern) => pattern.print(&mut text),
            Self::Reduce(pattern) => pattern.print(&mut text),
        }
        text
    }

    /// Arithmetic operations per element of the domain. For shaders from files, only the caller knows the number.
    pub(super) fn operations(&self) -> u64 {
        match self {
            Self::File(..) => 0,
            Self::Map(pattern) => pattern.listing.operations(),
            Self::Reduce(pattern) => pattern.listing.operations() + pattern.listing.outputs() as u64,
        }
    }

    /// A name for messages and graphics debuggers.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::File(kernel, _) => kernel.name,
            Self::Map(_) => "map",
            Self::Reduce(_) => "reduce",
        }
    }
}

/// Declares the bindings of one array and the functions through which a shader uses it.
fn array(text: &mut String, name: &str, count: u8, binding: &mut u32, writable: bool) {
    let access = if writable { "read_write" } else { "read" };
    for chunk in 0..count {
        line(text, format_args!("@group(0) @binding({binding}) var<storage, {access}> {name}_{chunk}: array<f32>;"));
        *binding += 1;
    }
    let choose = |place: &dyn Fn(u8) -> String| {
        let mut body = String::new();
        for chunk in 0..count - 1 {
            write!(body, "if i < {}u * CHUNK {{ {} }} ", chunk + 1, place(chunk))
                .expect("writing to a string cannot fail");
        }
        body + &place(count - 1)
    };
    let read = choose(&|chunk| format!("return {name}_{chunk}[i - {chunk}u * CHUNK];"));
    line(text, format_args!("fn {name}_at(i: u32) -> f32 {{ {read} }}"));
    if writable {
        let write = choose(&|chunk| format!("{name}_{chunk}[i - {chunk}u * CHUNK] = value; return;"));
        line(text, format_args!("fn {name}_set(i: u32, value: f32) {{ {write} }}"));
    }
}
