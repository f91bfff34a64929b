//! Integer codes that order probabilities, and cells of codes.
//!
//! A cell contains the probabilities `p` that agree in the upper bits of `p`, or, above 1/2, in those of `1 - p`, so
//! that both ends have the same resolution.

/// Number of low bits that are dropped for a cell: 256 cells from one power of two to the next.
pub(super) const OPEN_BITS: u32 = 15;

/// The code of 1/2, and twice that code.
const HALF: u32 = 0x3f00_0000;
const MIRROR: u32 = 2 * HALF;

/// The bits of 2^-25, which represent `1 - p = 0`: the next power of two below the smallest non-zero `1 - p`.
const NOTHING: u32 = 0x3300_0000;

/// First cell: everything below 2^-12. A class's probability is counted only above 1e-3, and the largest of up to 4000
/// that sum to 1 is above 2^-12, so this cell is nearly always empty.
const FIRST: u32 = (0x3980_0000 >> OPEN_BITS) - 1;
pub(super) const CELLS: usize = (((MIRROR - NOTHING) >> OPEN_BITS) - FIRST) as usize + 1;

/// An order-preserving code, distinct for every probability.
#[inline]
pub(super) fn code(p: f32) -> u32 {
    if p < 0.5 {
        p.to_bits()
    } else {
        // This is exact: 1 - p has no more digits than p.
        MIRROR - (1.0 - p).to_bits().max(NOTHING)
    }
}

/// The probability of a code.
pub(super) fn probability(code: u32) -> f32 {
    match MIRROR - code {
        _ if code < HALF => f32::from_bits(code),
        NOTHING => 1.0,
        rest => 1.0 - f32::from_bits(rest),
    }
}

#[inline]
pub(super) fn cell(code: u32) -> u32 {
    (code >> OPEN_BITS).max(FIRST) - FIRST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_order_probabilities_and_tell_them_apart() {
        let mut before = None;
        for bits in (0x3980_0000..=0x3f80_0000_u32).step_by(211).chain(0x3f7f_ff00..=0x3f80_0000) {
            let p = f32::from_bits(bits);
            assert_eq!(probability(code(p)), p);
            let now = (p, code(p));
            if let Some((q, other)) = before.replace(now) {
                assert_eq!(q < p, other < now.1, "{q} {p}");
            }
            assert!((cell(code(p)) as usize) < CELLS);
        }
        assert_eq!((cell(code(1e-30)), cell(code(1.0)) as usize), (0, CELLS - 1));
    }
}
