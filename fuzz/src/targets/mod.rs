//! The targets. Each is one file with `target`, which panics where a promise is broken, and `seeds`, from which the
//! committed corpus is made; one line in the list at the end makes it reachable.

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to begin with, by name; the same on every call.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.iter().find(|target| target.name == name).copied()
    }
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// Every target.
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), run: $name::target, seeds: $name::seeds }),*];
    };
}

targets! { nifti, npy, npz, png_image, published, checkpoint, config, plan, dataset, programs, losses, metrics }
