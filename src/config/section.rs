//! Reads a TOML table key by key, so that every problem is reported at once.
//!
//! serde stops at the first error, but a line engineer wants the whole list. Each [`Section`] remembers which keys
//! were asked for: any other key in the file is unknown, and the nearest known name can be offered. The same record,
//! with every default, is what `docs/configuration.md` is compared with (see `Config::known_keys`).

use std::cell::RefCell;

use serde::de::DeserializeOwned;

/// The problems found so far, in the order of reading.
#[derive(Default)]
pub(super) struct Problems(RefCell<Vec<String>>);

impl Problems {
    pub(super) fn add(&self, problem: String) {
        self.0.borrow_mut().push(problem);
    }

    pub(super) fn into_list(self) -> Vec<String> {
        self.0.into_inner()
    }
}

/// A key that the reader asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownKey {
    /// The full name with its tables, such as `station.smoothing.alpha`.
    pub name: String,
    pub if_missing: IfMissing,
}

/// What the reader does if a key is not in the file.
#[derive(Debug, Clone, PartialEq)]
pub enum IfMissing {
    /// The reader refuses the configuration.
    Refuse,
    /// The reader uses this value, as if it had been typed.
    Default(toml::Value),
    /// There is no value, or it follows from other keys.
    Other,
}

/// The keys of a configuration with one kind of source.
#[derive(Debug)]
pub struct KnownSource {
    /// The kind as it is typed, such as `kind = "folder"`.
    pub kind: &'static str,
    pub keys: Vec<KnownKey>,
}

/// Every key that was asked for, in the order of reading.
#[derive(Default)]
pub(super) struct KnownKeys(RefCell<Vec<KnownKey>>);

impl KnownKeys {
    fn add(&self, name: String, if_missing: IfMissing) {
        self.0.borrow_mut().push(KnownKey { name, if_missing });
    }

    pub(super) fn into_list(self) -> Vec<KnownKey> {
        self.0.into_inner()
    }
}

/// One table of the file.
pub(super) struct Section<'a> {
    path: String,
    table: toml::Table,
    /// The names in this table that were asked for, including sub-tables.
    names: Vec<&'static str>,
    problems: &'a Problems,
    keys: &'a KnownKeys,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: &str, table: toml::Table, problems: &'a Problems, keys: &'a KnownKeys) -> Self {
        Self { path: path.to_owned(), table, names: Vec::new(), problems, keys }
    }

    /// The full name of a key, for messages.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A key that may be missing and has no default.
    pub(super) fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.keys.add(self.key(key), IfMissing::Other);
        self.take(key)
    }

    /// A key with a default, which is given as a user would type it.
    pub(super) fn or<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        default: impl Into<toml::Value>,
    ) -> T {
        let default = default.into();
        self.given(key, default.clone())
            .unwrap_or_else(|| default.try_into().expect("a default is a value that a user could have typed"))
    }

    /// Like [`Self::or`], for a reader that must know whether the key was typed: `None` if the default is used.
    pub(super) fn given<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        default: impl Into<toml::Value>,
    ) -> Option<T> {
        self.keys.add(self.key(key), IfMissing::Default(default.into()));
        self.take(key)
    }

    /// A required key; `wanted` says what to give.
    pub(super) fn required<T: DeserializeOwned>(&mut self, key: &'static str, wanted: &str) -> Option<T> {
        self.keys.add(self.key(key), IfMissing::Refuse);
        if !self.table.contains_key(key) {
            self.names.push(key);
            self.problems.add(format!("{}: missing: there is no safe default; give {wanted}", self.key(key)));
            return None;
        }
        self.take(key)
    }

    /// A table below this one; empty where it is missing.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        self.optional_section(key).unwrap_or_else(|| self.below(key, toml::Table::new()))
    }

    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let table = self.take(key)?;
        Some(self.below(key, table))
    }

    /// An array of tables, `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let tables: Vec<toml::Table> = self.take(key).unwrap_or_default();
        tables.into_iter().map(|table| self.below(key, table)).collect()
    }

    /// Refuses every key that was not asked for, with the nearest known name.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let nearest = self
                .names
                .iter()
                .map(|name| (strsim::damerau_levenshtein(name, key), *name))
                .min()
                .filter(|(distance, name)| *distance <= name.len().max(key.len()) / 2);
            let hint = match nearest {
                Some((_, name)) => format!("did you mean `{name}`?"),
                None => format!("allowed here: {}", self.names.join(", ")),
            };
            self.problems.add(format!("{}: unknown key; {hint}", self.key(key)));
        }
    }

    fn below(&self, key: &str, table: toml::Table) -> Section<'a> {
        Section::new(&self.key(key), table, self.problems, self.keys)
    }

    /// Takes the key's value out of the table; a value of the wrong type is a problem.
    fn take<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.names.push(key);
        let value = self.table.remove(key)?;
        let shown = value.to_string();
        value
            .try_into()
            .map_err(|error| {
                let why = error.to_string();
                self.problems.add(format!("{} = {shown}: {}", self.key(key), why.trim()));
            })
            .ok()
    }
}
