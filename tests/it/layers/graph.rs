//! The files of a source folder, and which of them import which others.
//!
//! Leaves out: reading the Rust text (`source.rs`), the rules (`mod.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::source::{self, Named, Source};

/// A module by its names from the root of the crate.
type Module = Vec<String>;

/// One import of a file by another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) from: String,
    pub(super) line: usize,
    pub(super) path: String,
    pub(super) to: String,
}

impl Import {
    fn goes_like(&self, other: &Self) -> bool {
        (&self.from, &self.to) == (&other.from, &other.to)
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    /// Each file by its path below the folder.
    pub(super) files: BTreeMap<String, Source>,
    modules: BTreeMap<Module, String>,
}

impl Tree {
    /// The `.rs` files of a folder and of those in it.
    pub(super) fn read(folder: &Path) -> Self {
        let mut files = Vec::new();
        collect(folder, "", &mut files);
        Self::of(files.iter().map(|(path, text)| (path.as_str(), text.as_str())))
    }

    /// Files by path and text.
    pub(super) fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let files: BTreeMap<String, Source> =
            files.into_iter().map(|(path, text)| (path.to_owned(), source::read(text))).collect();
        let modules =
            files.keys().filter(|path| *path != "main.rs").map(|path| (module_of(path), path.clone()));
        Self { modules: modules.collect(), files }
    }

    /// Modules with children that are not called `name/mod.rs`.
    pub(super) fn beside_their_folder(&self) -> Vec<String> {
        let has_children = |path: &str| {
            let folder = format!("{}/", path.trim_end_matches(".rs"));
            self.files.keys().any(|other| other.starts_with(&folder))
        };
        self.files.keys().filter(|path| has_children(path)).cloned().collect()
    }

    /// Files that exist only for unit tests: included under `#[cfg(test)]`, or by such a file.
    fn for_tests(&self) -> BTreeSet<&str> {
        let roots: Vec<Module> = self
            .files
            .iter()
            .flat_map(|(path, source)| {
                source.test_modules.iter().map(|name| {
                    let mut module = module_of(path);
                    module.push(name.clone());
                    module
                })
            })
            .collect();
        let test_only = |module: &Module| roots.iter().any(|root| module.starts_with(root));
        self.modules.iter().filter(|(module, _)| test_only(module)).map(|(_, path)| path.as_str()).collect()
    }

    /// Every file except those that exist only for unit tests.
    pub(super) fn shipped(&self) -> impl Iterator<Item = (&str, &Source)> {
        let for_tests = self.for_tests();
        self.files
            .iter()
            .map(|(path, source)| (path.as_str(), source))
            .filter(move |(path, _)| !for_tests.contains(path))
    }

    /// Every import of one file by another, by `use` or by a path in the code.
    pub(super) fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        for (path, source) in self.shipped() {
            let named = source.uses.iter().map(|leaf| &leaf.named).chain(&source.paths);
            for named in named {
                let Some(to) = self.file_of(path, named) else { continue };
                if to != path {
                    let (from, to) = (path.to_owned(), to.to_owned());
                    imports.push(Import { from, line: named.line, path: named.path.join("::"), to });
                }
            }
        }
        imports.sort();
        imports.dedup();
        imports
    }

    /// Names of other crates in a file, with their lines.
    pub(super) fn foreign<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
        let source = &self.files[path];
        let named = source.uses.iter().map(|leaf| &leaf.named).chain(&source.paths);
        named
            .filter(|named| self.absolute(path, named, 0).is_none())
            .map(|named| (&*named.path[0], named.line))
    }

    /// Each circle of files once, as the imports that close it. Of several circles through a file, the shortest.
    pub(super) fn circles(imports: &[Import]) -> Vec<Vec<Import>> {
        let mut edges: BTreeMap<&str, Vec<&Import>> = BTreeMap::new();
        for import in imports {
            edges.entry(&import.from).or_default().push(import);
        }
        let mut circles: Vec<Vec<Import>> = Vec::new();
        for start in edges.keys() {
            let Some(circle) = way_back(&edges, start) else { continue };
            let same = |known: &Vec<Import>| {
                circle.iter().all(|import| known.iter().any(|other| other.from == import.from))
            };
            if !circles.iter().any(same) {
                let closes = |import: &&Import| circle.iter().any(|step| step.goes_like(import));
                circles.push(imports.iter().filter(closes).cloned().collect());
            }
        }
        circles
    }

    /// The file that holds what a path names: a re-export is followed to the file that defines it.
    fn file_of(&self, path: &str, named: &Named) -> Option<&str> {
        let absolute = self.absolute(path, named, 0)?;
        self.holder(&absolute, 0)
    }

    fn holder(&self, absolute: &[String], depth: usize) -> Option<&str> {
        let deepest =
            (0..=absolute.len()).rev().find(|names| self.modules.contains_key(&absolute[..*names]))?;
        let path = &self.modules[&absolute[..deepest]];
        let Some(name) = absolute.get(deepest) else { return Some(path) };
        let source = &self.files[path];
        if depth > 8 || source.items.contains(name) {
            return Some(path);
        }
        let exported = source.uses.iter().filter(|leaf| leaf.public && leaf.named.within.is_empty());
        for leaf in exported {
            let Some(mut target) = self.absolute(path, &leaf.named, 0) else { continue };
            if leaf.name == "*" {
                target.push(name.clone());
                let holder = self.holder(&target, depth + 1)?;
                if self.files[holder].items.contains(name) {
                    return Some(holder);
                }
            } else if leaf.name == *name {
                target.extend_from_slice(&absolute[deepest + 1..]);
                return self.holder(&target, depth + 1);
            }
        }
        Some(path)
    }

    /// A path from the root of this crate; `None` for one of another crate.
    fn absolute(&self, path: &str, named: &Named, depth: usize) -> Option<Module> {
        let mut here = module_of(path);
        here.extend_from_slice(&named.within);
        let mut names = named.path.iter().peekable();
        let first = names.peek()?.as_str();
        let mut module = match first {
            "certiscope" if path == "main.rs" => {
                names.next();
                Vec::new()
            }
            "crate" => {
                names.next();
                Vec::new()
            }
            "self" | "super" => {
                let mut module = here;
                while let Some(name) = names.next_if(|name| ["self", "super"].contains(&name.as_str())) {
                    if name == "super" {
                        module.pop();
                    }
                }
                module
            }
            _ if self.is_child(&here, first) => here,
            _ => {
                // A module that a `use` of this file names.
                let same_place =
                    |leaf: &&source::Use| leaf.name == first && leaf.named.within == named.within;
                let leaf = self.files[path].uses.iter().find(same_place)?;
                if depth > 8 || leaf.named == *named {
                    return None;
                }
                names.next();
                self.absolute(path, &leaf.named, depth + 1)?
            }
        };
        module.extend(names.cloned());
        Some(module)
    }

    fn is_child(&self, module: &Module, name: &str) -> bool {
        let mut child = module.clone();
        child.push(name.to_owned());
        self.modules.contains_key(&child)
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            files.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
}

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`; `lib.rs` and `main.rs` are the root.
fn module_of(path: &str) -> Module {
    let names = path.trim_end_matches(".rs").split('/').map(str::to_owned);
    let mut names: Module = names.collect();
    if names.last().is_some_and(|last| last == "mod") || ["lib.rs", "main.rs"].contains(&path) {
        names.pop();
    }
    names
}

/// The shortest way from a file back to itself.
fn way_back<'a>(edges: &BTreeMap<&str, Vec<&'a Import>>, start: &str) -> Option<Vec<&'a Import>> {
    let mut reached: BTreeMap<&str, &Import> = BTreeMap::new();
    let mut next = std::collections::VecDeque::from([start]);
    while let Some(file) = next.pop_front() {
        for import in edges.get(file).into_iter().flatten() {
            if !reached.contains_key(import.to.as_str()) {
                reached.insert(&import.to, import);
                next.push_back(&import.to);
            }
        }
        if let Some(last) = reached.get(start) {
            let mut circle = vec![*last];
            while circle[0].from != start {
                circle.insert(0, reached[circle[0].from.as_str()]);
            }
            return Some(circle);
        }
    }
    None
}

/// One line per import.
pub(super) fn listed<'a>(imports: impl IntoIterator<Item = &'a Import>) -> String {
    imports.into_iter().fold(String::new(), |mut text, import| {
        let Import { from, line, path, to } = import;
        writeln!(text, "    src/{from}:{line} names {path} (in src/{to})").expect("a string takes all");
        text
    })
}
