//! The reasons why the U-Net cannot be run, each with what to do about it.

use std::path::PathBuf;

/// The release that `make setup` fetches and that the golden vectors were made with.
pub(crate) const ONNXRUNTIME_VERSION: &str = "1.31.1";

/// Why the U-Net cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    #[error(
        "onnxruntime: {}: cannot be loaded: {why}; `make setup` fetches version {ONNXRUNTIME_VERSION}, or set ORT_DYLIB_PATH to a libonnxruntime.so of version 1.31 or newer",
        library.display()
    )]
    Library { library: PathBuf, why: String },
    #[error(
        "onnxruntime: not loaded, because it would report its use to its maker: {name} must be {value} before the program starts"
    )]
    Telemetry { name: &'static str, value: &'static str },
    #[error("model: {}: cannot be opened: {why}; a U-Net exported by `python -m certiscope_models export` is needed", path.display())]
    Model { path: PathBuf, why: String },
    #[error("model: {}: {what} is {got}; the bundle says {wanted}; export the bundle again", path.display())]
    Interface { path: PathBuf, what: &'static str, got: String, wanted: String },
    #[error(
        "model.provider = {provider}: cannot run here: {why}; fix that, or allow the CPU (on_unavailable = \"cpu\" in a configuration, --or-cpu on the command line)"
    )]
    Provider { provider: &'static str, why: String },
}
