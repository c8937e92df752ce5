//! What scores were computed with: everything outside the bundle that may change their last bits.

use crate::diffusion::onnx::ProviderReport;
use crate::machine;

/// The precision with which every provider computes, as `diffusion::onnx` configures it.
pub(crate) const PRECISION: &str = "fp32";

/// What scores were computed with. Part of the parameters of an inspection; `verify` compares it with the present computation.
///
/// The fields are strings, not enums, because another version of the program may have written the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computation {
    /// The active provider, such as `cpu`.
    pub provider: String,
    pub precision: String,
    /// ONNX Runtime's description of its build.
    pub onnxruntime: String,
    /// The number of threads of a model call.
    pub threads: usize,
    /// The processor's name.
    pub cpu: String,
}

impl Computation {
    /// The computation of a model that is open on this machine.
    pub fn here(provider: &ProviderReport) -> Self {
        Self {
            provider: provider.active.word().to_owned(),
            precision: PRECISION.to_owned(),
            onnxruntime: provider.onnxruntime.clone(),
            threads: provider.threads,
            cpu: machine::cpu_name(),
        }
    }
}
