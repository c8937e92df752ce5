//! A bundle: the folder with the U-Net and everything that belongs to it, checked as one.
//!
//! Its files are `bundle.toml` ([`manifest`]), `model.onnx`, `golden.safetensors` (golden vectors, [`golden`]) and, once
//! calibrated, `maps.safetensors`. Other files are for people, and no program reads them.
//!
//! Guarantees: a bundle that [`Bundle::load`] returns is complete: every file is there with its hash, the shapes fit,
//! the noise level exists, and the maps are finite and their deviations above 0. Whether the model still gives the
//! scores that it gave at export is checked in [`self_test`], since that needs a session.
//! Leaves out: making bundles (the Python package exports, [`crate::calibration`] calibrates).

mod error;
mod folder;
pub(crate) mod fuzz;
mod golden;
pub(crate) mod manifest;
pub(crate) mod self_test;

pub(crate) use error::BundleError;
pub use folder::{Bundle, sha256_of};
pub(crate) use folder::{Calibrated, ForPeople, MANIFEST};
