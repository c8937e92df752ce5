//! The reference of the configuration says what the reader does: the same keys, the same defaults.
//!
//! Leaves out: types, allowed values and meanings, which only a person can compare (see `src/config/tests.rs`).

use std::collections::{BTreeMap, BTreeSet};

use certiscope::testing::config::{Config, IfMissing};

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
                    None => &mut reference.of_any_source,
                    Some(kind) => reference.by_kind.entry(kind.clone()).or_default(),
                };
                let twice = keys.insert(name.clone(), default.to_owned());
                assert!(twice.is_none(), "docs/configuration.md: {name} is there twice");
            }
        }
        reference
    }

    fn of(&self, kind: &str) -> BTreeMap<String, String> {
        let mut keys = self.of_any_source.clone();
        keys.extend(self.by_kind.get(kind).cloned().unwrap_or_default());
        keys
    }
}

/// What the page says of a key, against what the reader does without it.
fn differs(default: &str, if_missing: &IfMissing) -> Option<String> {
    let wanted = match if_missing {
        IfMissing::Refuse => "**required**".to_owned(),
        IfMissing::Other => "none".to_owned(),
        IfMissing::Default(value) => {
            let typed = default.trim_matches('`');
            let table: Option<toml::Table> = toml::from_str(&format!("x = {typed}")).ok();
            if table.is_some_and(|table| same(&table["x"], value)) {
                return None;
            }
            format!("`{value}`")
        }
    };
    (default != wanted).then_some(wanted)
}

/// Equal, where a whole number may be typed for a fraction.
fn same(left: &toml::Value, right: &toml::Value) -> bool {
    let number = |value: &toml::Value| value.as_float().or(value.as_integer().map(|whole| whole as f64));
    left == right || number(left).is_some_and(|left| Some(left) == number(right))
}

#[test]
fn the_reference_lists_every_key_that_is_read_and_no_other_with_its_default() {
    let page = std::fs::read_to_string(PAGE).unwrap_or_else(|error| panic!("{PAGE}: {error}"));
    let reference = Reference::read(&page);
    let mut wrong = BTreeSet::new();
    for source in Config::known_keys() {
        let mut listed = reference.of(source.kind);
        for key in source.keys {
            match listed.remove(&key.name) {
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
