//! By what scores are computed: everything outside the bundle that may change their last bits.

use crate::diffusion::onnx::ProviderReport;
use crate::machine;

/// The precision of the computation on every provider as `diffusion::onnx` sets it up.
pub(crate) const PRECISION: &str = "fp32";

/// One value that goes with every score: into the parameters of an inspection, and beside those of a recomputation.
///
/// Words, not enums: a log may hold what another version of the program computed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computation {
    /// The provider that runs, such as `cpu`.
    pub provider: String,
    pub precision: String,
    /// ONNX Runtime's description of its build.
    pub onnxruntime: String,
    /// Threads of one model call.
    pub threads: usize,
    /// The processor's name.
    pub cpu: String,
}

impl Computation {
    /// That of a model which was opened on this machine.
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
