//! The U-Net on ONNX Runtime. The only module that knows `ort`.
//!
//! [`library`] loads ONNX Runtime, [`provider`] says where the U-Net is computed, [`session`] opens a model there and
//! runs it.
//!
//! Guarantees: a missing, broken or too old library is an error that says what to do, never a panic. A provider that
//! cannot run is refused or replaced by the CPU, as configured, and [`ProviderReport`] says which one runs and why.
//! With an accelerator, a node that would run on the CPU is an error.
//! Leaves out: fetching the library (`make setup`); int8 and engine caches.
//! Threads: a session belongs to the thread that owns the [`OnnxDenoiser`] (`&mut`).

mod error;
mod library;
mod provider;
mod session;

pub(crate) use error::OnnxError;
pub use library::Runtime;
pub(crate) use library::forbid_telemetry;
pub(crate) use provider::ProviderReport;
pub use provider::{OnUnavailable, Provider, SessionSettings};
pub use session::OnnxDenoiser;
