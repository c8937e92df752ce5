//! Reading TOML tables key by key, so that all problems can be told at once.
//!
//! serde stops at the first error; a line engineer wants the whole list. Each [`Section`] knows which keys
//! were asked for, so whatever is left over is unknown, and the nearest known name can be offered.

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

/// One table of the file.
pub(super) struct Section<'a> {
    path: String,
    table: toml::Table,
    known: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: &str, table: toml::Table, problems: &'a Problems) -> Self {
        Self { path: path.to_owned(), table, known: Vec::new(), problems }
    }

    /// The full name of a key, for messages.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
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

    pub(super) fn or<T: DeserializeOwned>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// A key without which there is no configuration; `wanted` says what to give.
    pub(super) fn required<T: DeserializeOwned>(&mut self, key: &'static str, wanted: &str) -> Option<T> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.problems.add(format!("{}: missing: there is no safe default; give {wanted}", self.key(key)));
            return None;
        }
        self.optional(key)
    }

    /// A table below this one; empty where it is missing.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let table = self.optional(key).unwrap_or_default();
        Section::new(&self.key(key), table, self.problems)
    }

    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let table = self.optional(key)?;
        Some(Section::new(&self.key(key), table, self.problems))
    }

    /// An array of tables, `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let tables: Vec<toml::Table> = self.optional(key).unwrap_or_default();
        tables.into_iter().map(|table| Section::new(key, table, self.problems)).collect()
    }

    /// Refuses what nobody asked for, with the nearest known name.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let nearest = self
                .known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, key), *known))
                .min()
                .filter(|(distance, known)| *distance <= known.len().max(key.len()) / 2);
            let hint = match nearest {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("allowed here: {}", self.known.join(", ")),
            };
            self.problems.add(format!("{}: unknown key; {hint}", self.key(key)));
        }
    }
}
