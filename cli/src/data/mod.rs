//! What is read: volumes, arrays, images and data sets.
