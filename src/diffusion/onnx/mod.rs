//! The U-Net on ONNX Runtime. The only module that knows `ort`.
//!
//! [`library`] loads ONNX Runtime, [`provider`] says where the U-Net is computed, [`session`] opens a model there and
//! runs it.
//! Guarantees: a missing, broken or too old library is an error with the way out, never a panic; a provider that was
//! asked for and cannot run is refused or replaced by the CPU as configured, and [`ProviderReport`] says which ran and
//! why; with an accelerator, a node left to the CPU is an error.
//! Leaves out: which library version to use is set-up's business (`make`); int8 and engine caches.
//! Threads: a session belongs to the thread that owns the [`OnnxDenoiser`] (`&mut`).

mod error;
mod library;
mod provider;
mod session;

pub use error::{ONNXRUNTIME_VERSION, OnnxError};
pub use library::Runtime;
pub use provider::{OnUnavailable, Provider, ProviderReport, SessionSettings};
pub use session::OnnxDenoiser;
