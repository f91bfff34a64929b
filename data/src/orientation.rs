//! Small 3 x 3 matrices and the anatomical directions of a volume's axes.

use std::fmt;
use std::str::FromStr;

use segcal_core::Error;

/// A 3 x 3 matrix, row by row.
pub(super) type Matrix3 = [[f64; 3]; 3];

/// The anatomical direction of each axis of a volume, x first: the letters R, A, S for the positive directions of the
/// patient (right, anterior, superior) and L, P, I for their opposites.
///
/// ```
/// use segcal_data::Axes;
/// assert_eq!("LAS".parse::<Axes>().unwrap().to_string(), "LAS");
/// assert!("LRS".parse::<Axes>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axes {
    /// The world axis (0 right-left, 1 anterior-posterior, 2 superior-inferior) that x, y, z run along.
    pub world: [usize; 3],
    /// Whether x, y, z run in its positive direction.
    pub positive: [bool; 3],
}

const LETTERS: [[char; 2]; 3] = [['L', 'R'], ['P', 'A'], ['I', 'S']];

impl Axes {
    /// Right, anterior, superior.
    pub const RAS: Self = Self { world: [0, 1, 2], positive: [true; 3] };

    /// The world axes that the columns of `matrix` are closest to. The columns are first made orthonormal together (the
    /// orthogonal polar factor), then assigned in order of decreasing clarity, each world axis once.
    pub(super) fn of(matrix: &Matrix3) -> Self {
        let rotation = orthogonal_factor(matrix);
        let clearest = |column: usize| (0..3).map(|row| rotation[row][column].abs()).fold(0.0, f64::max);
        let mut order = [0, 1, 2];
        order.sort_by(|&a, &b| clearest(b).total_cmp(&clearest(a)));
        let mut axes = Self::RAS;
        let mut taken = [false; 3];
        for column in order {
            let free = (0..3).filter(|&row| !taken[row]);
            let nearest = free.max_by(|&a, &b| rotation[a][column].abs().total_cmp(&rotation[b][column].abs()));
            let row = nearest.unwrap_or(column);
            taken[row] = true;
            axes.world[column] = row;
            axes.positive[column] = rotation[row][column] >= 0.0;
        }
        axes
    }

    /// For each axis of a volume with axes `target`, the corresponding axis of a volume with axes `self`, and whether
    /// it must be flipped.
    pub(crate) fn to(self, target: Self) -> [(usize, bool); 3] {
        std::array::from_fn(|axis| {
            let own = (0..3).find(|&own| self.world[own] == target.world[axis]).unwrap_or(axis);
            (own, self.positive[own] != target.positive[axis])
        })
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..3).try_for_each(|axis| write!(f, "{}", LETTERS[self.world[axis]][usize::from(self.positive[axis])]))
    }
}

impl FromStr for Axes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad =
            || Error::new(format!("\"{text}\" is not an orientation")).help("use three letters such as RAS or LPS");
        let letters: Vec<char> = text.chars().collect();
        let [x, y, z] = letters[..] else { return Err(bad()) };
        let mut axes = Self::RAS;
        for (axis, letter) in [x, y, z].into_iter().enumerate() {
            let world = LETTERS.iter().position(|pair| pair.contains(&letter)).ok_or_else(bad)?;
            if axes.world[..axis].contains(&world) {
                return Err(bad());
            }
            axes.world[axis] = world;
            axes.positive[axis] = LETTERS[world][1] == letter;
        }
        Ok(axes)
    }
}

pub(super) fn determinant(m: &Matrix3) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

pub(super) fn transpose(m: &Matrix3) -> Matrix3 {
    std::array::from_fn(|row| std::array::from_fn(|column| m[column][row]))
}

/// The inverse by cofactors; the determinant must not be 0.
pub(super) fn inverse(m: &Matrix3) -> Matrix3 {
    let scale = 1.0 / determinant(m);
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            let [a, b] = [(column + 1) % 3, (column + 2) % 3];
            let [c, d] = [(row + 1) % 3, (row + 2) % 3];
            scale * (m[a][c] * m[b][d] - m[a][d] * m[b][c])
        })
    })
}

/// Euclidean length of each column.
pub(super) fn column_lengths(m: &Matrix3) -> [f64; 3] {
    std::array::from_fn(|column| (0..3).map(|row| m[row][column].powi(2)).sum::<f64>().sqrt())
}

/// The orthogonal matrix nearest to `m` with its columns scaled to length 1: the polar factor, by Newton's iteration
/// `X <- (X + X^-T) / 2`, which converges quadratically for every invertible matrix. (N. Higham, "Computing the polar
/// decomposition", SIAM J. Sci. Stat. Comput. 7, 1986.)
pub(super) fn orthogonal_factor(m: &Matrix3) -> Matrix3 {
    let lengths = column_lengths(m);
    let mut x: Matrix3 = std::array::from_fn(|row| std::array::from_fn(|column| m[row][column] / lengths[column]));
    for _ in 0..60 {
        let turned = transpose(&inverse(&x));
        let mut change = 0.0_f64;
        for row in 0..3 {
            for column in 0..3 {
                let next = 0.5 * (x[row][column] + turned[row][column]);
                change = change.max((next - x[row][column]).abs());
                x[row][column] = next;
            }
        }
        if change < 1e-14 {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(a: &Matrix3, b: &Matrix3) -> Matrix3 {
        std::array::from_fn(|row| std::array::from_fn(|column| (0..3).map(|k| a[row][k] * b[k][column]).sum()))
    }

    const SKEWED: Matrix3 = [[-2.0, 0.3, 0.1], [0.2, 1.9, -0.4], [0.0, 0.5, 2.2]];

    #[test]
    fn inverse_times_matrix_is_one() {
        let one = product(&SKEWED, &inverse(&SKEWED));
        for row in 0..3 {
            for column in 0..3 {
                assert!((one[row][column] - f64::from(u8::from(row == column))).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn the_polar_factor_is_orthogonal_and_keeps_an_orthogonal_matrix() {
        let q = orthogonal_factor(&SKEWED);
        let one = product(&transpose(&q), &q);
        for row in 0..3 {
            for column in 0..3 {
                assert!((one[row][column] - f64::from(u8::from(row == column))).abs() < 1e-13);
            }
        }
        assert_eq!(
            orthogonal_factor(&q).map(|row| row.map(|x| (x * 1e12).round())),
            q.map(|r| r.map(|x| (x * 1e12).round()))
        );
    }

    #[test]
    fn each_world_axis_is_used_once() {
        // Rotated by almost 45 degrees about z: x and y are both very slightly closer to the same direction.
        let axes = Axes::of(&[[0.71, -0.70, 0.0], [0.70, 0.71, 0.0], [0.0, 0.0, -1.0]]);
        assert_eq!(axes.to_string(), "RAI");
        assert_eq!(Axes::of(&SKEWED).to_string(), "LAS");
    }

    #[test]
    fn only_three_different_directions_are_an_orientation() {
        for bad in ["", "RA", "RASL", "RRS", "RLS", "ras", "XYZ"] {
            assert!(bad.parse::<Axes>().is_err(), "{bad}");
        }
    }
}
