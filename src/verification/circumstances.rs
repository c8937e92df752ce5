//! Finds what was different when the part was inspected and may change the last bits of a score.

use crate::bundle::Bundle;
use crate::computation::Computation;
use crate::diffusion::onnx::ProviderReport;
use crate::store::Record;

/// A difference between then and now that may change the last bits of a score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Circumstance {
    pub what: &'static str,
    /// Empty if the log does not have it.
    pub stored: String,
    pub here: String,
}

/// Lists every difference between then and now. `model` is the model with which the draws are computed again, if they are.
pub(crate) fn circumstances(record: &Record, model: Option<(&Bundle, &ProviderReport)>) -> Vec<Circumstance> {
    let stored = &*record.inspection.parameters;
    let mut list = vec![("certiscope", record.version.clone(), env!("CARGO_PKG_VERSION").to_owned())];
    if let Some((bundle, provider)) = model {
        let (then, here) = (&stored.computation, Computation::here(provider));
        list.extend([
            ("bundle.toml sha256", stored.bundle_sha256.clone(), bundle.sha256.clone()),
            ("model sha256", stored.model_sha256.clone(), bundle.manifest.model.sha256.clone()),
            ("ONNX Runtime", then.onnxruntime.clone(), here.onnxruntime),
            ("provider", then.provider.clone(), here.provider),
            ("precision", then.precision.clone(), here.precision),
            ("processor", then.cpu.clone(), here.cpu),
            ("threads", then.threads.to_string(), here.threads.to_string()),
        ]);
    }
    list.into_iter()
        .filter(|(_, stored, here)| stored != here)
        .map(|(what, stored, here)| Circumstance { what, stored, here })
        .collect()
}
