//! Calibration: from pictures of normal parts, before any part is inspected, it makes the training maps ([`maps`]) and
//! the threshold ([`conformal`]).
//!
//! Leaves out: running the detector and writing the bundle (`cli::calibrate`). Statistics only.

pub(crate) mod conformal;
pub(crate) mod maps;
