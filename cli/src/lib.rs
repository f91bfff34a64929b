//! Train, predict and evaluate segmentation networks whose confidence can be trusted.
