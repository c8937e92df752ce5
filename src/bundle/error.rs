//! Why a bundle is refused, and what to do about it.

use std::path::PathBuf;

use crate::diffusion::schedule::ScheduleError;
use crate::tensors::TensorError;

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("bundle: {}: {why}; a folder with bundle.toml, model.onnx and golden.safetensors is needed", path.display())]
    File { path: PathBuf, why: String },
    #[error("bundle: {}: cannot be written: {why}; a folder on a disk with room is needed", path.display())]
    Write { path: PathBuf, why: String },
    #[error("bundle: {}: {problem}", path.display())]
    Manifest { path: PathBuf, problem: String },
    #[error("bundle: {}: sha256 is {got}; bundle.toml says {wanted}: the file was changed or damaged, export or copy it again", path.display())]
    Hash { path: PathBuf, got: String, wanted: String },
    #[error("bundle: {}: {what}; {allowed}", path.display())]
    Content { path: PathBuf, what: String, allowed: &'static str },
    #[error("bundle: {name}: {error}")]
    Schedule { name: String, error: ScheduleError },
    #[error("bundle: {name}: not calibrated: it has no threshold; run `certiscope calibrate --bundle {} --normal DIR`", path.display())]
    NotCalibrated { name: String, path: PathBuf },
    #[error(
        "bundle: {name}: golden vectors: {what}: the model does not score as it did when it was exported; use the ONNX Runtime it was made with, or export it again"
    )]
    Golden { name: String, what: String },
}

impl From<TensorError> for BundleError {
    fn from(error: TensorError) -> Self {
        match error {
            TensorError::Read { path, why } => Self::File { path, why },
            TensorError::Write { path, why } => Self::Write { path, why },
            TensorError::Format { path, what } => {
                Self::Content { path, what, allowed: "a safetensors file of f32 tensors is needed" }
            }
            TensorError::Tensor { path, what } => {
                Self::Content { path, what, allowed: "export or calibrate again" }
            }
        }
    }
}
