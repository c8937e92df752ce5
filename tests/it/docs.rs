//! The reference of the configuration says what the reader does: the same keys, the same defaults.
//!
//! Leaves out: types, allowed values and meanings, which only a person can compare (see `src/config/tests.rs`).

use std::collections::{BTreeMap, BTreeSet};

use certiscope::config::{Config, IfMissing};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

/// The column `default` of each key, by its full name. Keys of one kind of source only are under that kind.
#[derive(Debug, Default)]
struct Reference {
    of_any_source: BTreeMap<String, String>,
    by_kind: BTreeMap<String, BTreeMap<String, String>>,
}

impl Reference {
    /// Headings name the table, as in "## `[store]`", or the kind, as in "### `kind = "folder"`"; rows name the key.
    fn read(page: &str) -> Self {
        let mut reference = Self::default();
        let (mut table, mut kind) = (String::new(), None);
        for line in page.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                table = heading.trim_matches(['`', '[', ']', ' ']).to_owned();
                kind = None;
            } else if let Some(heading) = line.strip_prefix("### `kind = \"") {
                kind = Some(heading.trim_end_matches(['`', '"']).to_owned());
            } else if let Some(row) = line.strip_prefix("| `") {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                let [key, _type, default, _allowed, _meaning, ""] = cells[..] else {
                    panic!("docs/configuration.md: not five columns: {line}");
                };
                let name = format!("{table}.{}", key.trim_end_matches('`'));
                let keys = match &kind {
                    None => {
                    let what = format!("{}: read (kind = {}), not on the page", key.name, source.kind);
                    wrong.insert(what);
                }
                Some(default) => wrong.extend(differs(&default, &key.if_missing).map(|wanted| {
                    format!("{}: default {default} on the page, {wanted} where it is read", key.name)
                })),
            }
        }
        let unknown = listed.into_keys();
        wrong.extend(unknown.map(|name| format!("{name}: on the page, never read (kind = {})", source.kind)));
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "docs/configuration.md:\n  {}", wrong.join("\n  "));
    let kinds: Vec<&str> = Config::known_keys().into_iter().map(|source| source.kind).collect();
    assert!(reference.by_kind.keys().all(|kind| kinds.contains(&kind.as_str())), "{kinds:?}");
}
