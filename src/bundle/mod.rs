//! A model bundle: the U-Net with everything that must travel with it, checked as one.
//!
//! `bundle.toml` ([`manifest`]), `model.onnx`, `golden.safetensors` (golden vectors, [`golden`]) and, once
//! calibrated, `maps.safetensors`; other files are for people, and no program reads them.
//!
//! Guarantees: what [`Bundle::load`] returns is whole: every file present
//! with its hash, shapes that fit, a noise level that exists, maps that are finite and above 0. Whether
//! the model still scores as it did is [`self_test`]'s to say, since that needs a session.
//! Leaves out: making bundles (the Python package exports, [`crate::calibration`] calibrates).

mod error;
mod folder;
pub(crate) mod golden;
pub(crate) mod manifest;
pub(crate) mod self_test;

pub(crate) use error::BundleError;
pub use folder::{Bundle, sha256_of};
pub(crate) use folder::{Calibrated, ForPeople, MANIFEST};
