//! The configuration file of a station. Tests write it here only.

use std::path::{Path, PathBuf};

/// The configuration of a test's station: lines of TOML for each section.
pub(crate) struct StationConfig {
    /// `[store] folder`; relative to the folder of the file.
    pub(crate) state: PathBuf,
    pub(crate) store: String,
    pub(crate) evidence: String,
    /// `[broker]` without the host, which is this machine.
    pub(crate) broker: String,
    /// Whole sections beside those here, such as `[metrics]`.
    pub(crate) sections: String,
    pub(crate) name: String,
    pub(crate) bundle: PathBuf,
    /// Keys of the station itself.
    pub(crate) station: String,
    pub(crate) source: String,
    pub(crate) smoothing: String,
    pub(crate) model: String,
}

impl StationConfig {
    /// The required settings: bundle, port of the broker, and source.
    pub(crate) fn new(bundle: &Path, port: u16, source: &str) -> Self {
        Self {
            state: "state".into(),
            store: String::new(),
            evidence: String::new(),
            broker: format!("port = {port}"),
            sections: String::new(),
            name: "station1".to_owned(),
            bundle: bundle.to_owned(),
            station: String::new(),
            source: source.to_owned(),
            smoothing: "target_radius = 0.01".to_owned(),
            model: String::new(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let Self { state, store, evidence, broker, sections, .. } = self;
        let Self { name, bundle, station, source, smoothing, model, .. } = self;
        format!(
            r#"
[store]
folder = {state:?}
{store}
[evidence]
{evidence}
[broker]
host = "127.0.0.1"
{broker}
{sections}
[[station]]
name = {name:?}
bundle = {bundle:?}
{station}
[station.source]
{source}
[station.smoothing]
{smoothing}
[station.model]
{model}
"#
        )
    }

    /// Writes it as `station.toml` into `folder`; returns where.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("station.toml");
        std::fs::write(&file, self.text()).unwrap();
        file
    }
}
