//! Layers, UNet, optimisers and checkpoints.
