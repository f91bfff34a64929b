//! Overlap, surface and calibration metrics, post-hoc calibration and ranking.
