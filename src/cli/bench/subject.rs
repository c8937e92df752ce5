//! What is measured: the same bundle and settings for the agent, the bare loop and the started program.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use indicatif::ProgressBar;

use super::super::{Failure, ModelArgs, load_bundle};
use crate::agent::Stop;
use crate::bundle::Bundle;
use crate::config::Config;
use crate::diffusion::onnx::{Runtime, SessionSettings};

/// What is measured: the same for the agent, the bare loop and the program.
pub(super) struct Subject {
    pub(super) bundle: Bundle,
    pub(super) runtime: Runtime,
    pub(super) settings: SessionSettings,
    pub(super) batch: u32,
    /// The configuration of a station that inspects simulated parts with them, as fast as it can.
    pub(super) configuration: String,
}

impl Subject {
    pub(super) fn of(bundle: Option<&Path>, model: &ModelArgs, scratch: &Path) -> Result<Self, Failure> {
        let folder = match bundle {
            Some(folder) => std::path::absolute(folder).map_err(Failure::refused)?,
            None => embedded_bundle(scratch)?,
        };
        let bundle = load_bundle(&folder)?;
        Ok(Self {
            runtime: model.runtime()?,
            settings: model.settings(),
            batch: model.batch,
            configuration: configuration(&bundle, model),
            bundle,
        })
    }
}

#[cfg(feature = "demo")]
fn embedded_bundle(scratch: &Path) -> Result<PathBuf, Failure> {
    let folder = scratch.join("bundle");
    super::super::demo::unpack_bundle(&folder).map_err(Failure::stopped)?;
    Ok(folder)
}

#[cfg(not(feature = "demo"))]
fn embedded_bundle(_: &Path) -> Result<PathBuf, Failure> {
    unreachable!("--bundle is required where none is built in")
}

/// The configuration of a station on the simulator. On any ordinary machine port 1 refuses a connection at once, so
/// the missing broker costs the agent no time.
fn configuration(bundle: &Bundle, model: &ModelArgs) -> String {
    let quoted = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned()).to_string();
    let library = model.onnxruntime.as_deref().map_or_else(String::new, |library| {
        let library = std::path::absolute(library).unwrap_or_else(|_| library.to_path_buf());
        format!("[onnxruntime]\nlibrary = {}\n", quoted(&library))
    });
    let SessionSettings { provider, threads, .. } = model.settings();
    format!(
        r#"{library}
[store]
folder = "state"
[broker]
host = "127.0.0.1"
port = 1
[[station]]
name = "bench"
bundle = {bundle}
[station.source]
kind = "simulator"
delivery = "every"
[station.smoothing]
target_radius = {target_radius:?}
max_draws = {max_draws}
batch = {batch}
[station.model]
provider = "{provider}"
on_unavailable = "{on_unavailable}"
threads = {threads}
"#,
        bundle = quoted(&bundle.folder),
        target_radius = bundle.level.sigma() / 2.0,
        max_draws = model.batch.max(200),
        batch = model.batch,
        provider = provider.word(),
        on_unavailable = if model.or_cpu { "cpu" } else { "refuse" },
    )
}

impl Subject {
    /// The configuration for a station with its files in `folder`.
    pub(super) fn config(&self, folder: &Path) -> Result<Config, Failure> {
        Config::parse(&self.configuration, &folder.join("station.toml")).map_err(Failure::refused)
    }
}

/// Shows the progress of the measurement, and ends it when the user wants to stop.
pub(super) struct Watch<'a> {
    pub(super) interrupted: &'a Stop,
    pub(super) bar: &'a ProgressBar,
}

impl Watch<'_> {
    pub(super) fn go_on(&self) -> Result<(), Failure> {
        if self.interrupted.requested() {
            return Err(Failure::stopped(anyhow!("bench: interrupted; there are no figures")));
        }
        Ok(())
    }
}
