//! The options that say where and how the model runs. Opens the model with them.

use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use super::exit_code::Failure;
use crate::bundle::Bundle;
use crate::config::all_cores;
use crate::detector::{Detector, Opened};
use crate::diffusion::onnx::{OnUnavailable, Provider, Runtime, SessionSettings};

/// Where and how the model runs.
#[derive(Debug, Args)]
pub(in crate::cli) struct ModelArgs {
    /// Execution provider
    #[arg(long, value_enum, default_value = "cpu")]
    pub(in crate::cli) provider: ProviderName,
    /// Use the CPU if the provider cannot run; without this option the command then refuses to start
    #[arg(long)]
    pub(in crate::cli) or_cpu: bool,
    /// Threads of one model call, 1 to 256 [default: all cores]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub(in crate::cli) threads: Option<usize>,
    /// Draws in one model call
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(in crate::cli) batch: u32,
    /// ONNX Runtime's library [default: $ORT_DYLIB_PATH, or where `make setup` puts it]
    #[arg(long)]
    pub(in crate::cli) onnxruntime: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum ProviderName {
    Cpu,
    Cuda,
    Tensorrt,
}

impl From<ProviderName> for Provider {
    fn from(name: ProviderName) -> Self {
        match name {
            ProviderName::Cpu => Self::Cpu,
            ProviderName::Cuda => Self::Cuda,
            ProviderName::Tensorrt => Self::TensorRt,
        }
    }
}

impl ModelArgs {
    /// Loads the runtime and opens the bundle's model, self-tested; a fallback to the CPU is logged.
    pub(in crate::cli) fn open(&self, bundle: &Bundle) -> Result<(Detector, Opened, Runtime), Failure> {
        let runtime = self.runtime()?;
        let (detector, opened) =
            Detector::open(bundle, &runtime, &self.settings(), self.batch).map_err(Failure::refused)?;
        warn_of_fallback(&opened);
        Ok((detector, opened, runtime))
    }

    pub(in crate::cli) fn runtime(&self) -> Result<Runtime, Failure> {
        Runtime::load(self.onnxruntime.as_deref()).map_err(Failure::refused)
    }

    pub(in crate::cli) fn settings(&self) -> SessionSettings {
        SessionSettings {
            provider: self.provider.into(),
            on_unavailable: if self.or_cpu { OnUnavailable::Cpu } else { OnUnavailable::Refuse },
            threads: self.threads.unwrap_or_else(all_cores),
        }
    }
}

/// Logs that the CPU runs in place of the provider that was asked for.
fn warn_of_fallback(opened: &Opened) {
    let provider = &opened.provider;
    if let Some(reason) = &provider.reason {
        tracing::warn!("{} asked for, {} runs: {reason}", provider.requested.word(), provider.active.word());
    }
}

pub(in crate::cli) fn load_bundle(folder: &Path) -> Result<Bundle, Failure> {
    Bundle::load(folder).map_err(Failure::refused)
}
