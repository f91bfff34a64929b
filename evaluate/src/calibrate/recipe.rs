//! The settings for fitting the network of local temperatures.

/// Lower bound of the temperatures.
pub const LEAST_TEMPERATURE: f64 = 0.25;

/// The initial weights, and the bound of the temperatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// Starts near `T = 1`, and never goes below [`LEAST_TEMPERATURE`].
    Bounded,
    /// As in the public code: starts at `T = 2`, goes down to 1e-8; 200 epochs at a learning rate of 1e-4.
    Public,
}

impl Recipe {
    /// Every recipe.
    pub const ALL: [Self; 2] = [Self::Bounded, Self::Public];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bounded => "bounded",
            Self::Public => "public",
        }
    }

    /// The recipe's number of epochs and learning rate.
    pub fn training(self) -> Training {
        let (epochs, rate) = match self {
            Self::Bounded => (20, 1e-3),
            Self::Public => (200, 1e-4),
        };
        Training { recipe: self, epochs, rate, seed: 0 }
    }

    pub(super) const fn least(self) -> f64 {
        match self {
            Self::Bounded => LEAST_TEMPERATURE,
            Self::Public => 0.0,
        }
    }
}

/// Settings for fitting the network.
#[derive(Clone, Copy, Debug)]
pub struct Training {
    /// Initial weights and bound.
    pub recipe: Recipe,
    /// Passes over the cases.
    pub epochs: usize,
    /// Learning rate of Adam.
    pub rate: f64,
    /// Seed of the weights and of the order of cases and slices.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Self {
        Recipe::Bounded.training()
    }
}
