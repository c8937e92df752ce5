//! Where the U-Net is computed: the execution provider that was asked for, and the one that runs.
//!
//! Guarantees: the CPU replaces another provider only if the settings allow it, and [`ProviderReport`] then gives the
//! reason.

use super::error::OnnxError;

/// Where the U-Net is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    Cpu,
    Cuda,
    TensorRt,
}

impl Provider {
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }
}

/// What happens when the provider asked for cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnavailable {
    Refuse,
    Cpu,
}

/// How the U-Net is to be run.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    pub provider: Provider,
    pub on_unavailable: OnUnavailable,
    /// Threads of one model call.
    pub threads: usize,
}

/// Which provider was asked for, which runs, and why they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderReport {
    pub requested: Provider,
    pub active: Provider,
    pub reason: Option<String>,
    /// The library's description of its build.
    pub onnxruntime: String,
    /// Of one model call.
    pub threads: usize,
}

/// Opens something on the provider that was asked for. Where that cannot run and the settings allow it, opens it on the
/// CPU and says why.
pub(super) fn on_provider<T>(
    settings: &SessionSettings,
    open: impl Fn(Provider) -> Result<T, OnnxError>,
) -> Result<(T, Provider, Option<String>), OnnxError> {
    let requested = settings.provider;
    match open(requested) {
        Ok(opened) => Ok((opened, requested, None)),
        Err(OnnxError::Provider { why, .. }) if settings.on_unavailable == OnUnavailable::Cpu => {
            Ok((open(Provider::Cpu)?, Provider::Cpu, Some(why)))
        }
        Err(error) => Err(error),
    }
}
