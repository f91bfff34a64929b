//! Fuzz targets that are ordinary programs too.
