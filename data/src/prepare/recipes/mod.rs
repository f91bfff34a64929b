//! The recipes, one per published data set.

pub(super) mod acdc;
pub(super) mod bids;
pub(super) mod brats;
pub(super) mod busi;
pub(super) mod flare;
pub(super) mod la;
pub(super) mod mrbrains;
pub(super) mod msd;
pub(super) mod promise;
pub(super) mod wmh;
