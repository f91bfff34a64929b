//! CPU and GPU backends of segcal-core.
