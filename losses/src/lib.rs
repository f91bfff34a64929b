//! Segmentation losses and label priors for calibrated confidence.
