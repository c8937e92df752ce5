//! Which keys the reader knows, with their defaults: what the reference in `docs/configuration.md` must list.
//!
//! Which keys are asked for depends on the kind of source, so one configuration of each kind is read.

use std::path::Path;

use super::Config;
use super::section::{KnownKey, KnownKeys};

/// The keys of a configuration with one kind of source.
#[derive(Debug)]
pub struct KnownSource {
    /// As it is typed: `kind = "folder"`.
    pub kind: &'static str,
    pub keys: Vec<KnownKey>,
}

/// Every key that the reader asks for, of each kind of source.
pub fn known_keys() -> Vec<KnownSource> {
    ["folder", "simulator", "camera"]
        .into_iter()
        .map(|kind| {
            // Keys that are missing here are asked for all the same; their absence is a problem that nobody reads.
            let text = format!("[[station]]\n[station.region]\n[station.source]\nkind = \"{kind}\"\n");
            let keys = KnownKeys::default();
            let _problems = Config::parse_and_note(&text, Path::new("station.toml"), &keys);
            KnownSource { kind, keys: keys.into_list() }
        })
        .collect()
}
