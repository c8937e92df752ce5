//! `--part-from`: which pictures show the same part, as their names say.
//!
//! Guarantees: a name that does not tell its part is refused, and never counts as a part of its own.
//! The trainer's `split --part-from` takes the same words (`models/certiscope_models/grouping.py`).

use std::collections::HashMap;

use anyhow::{anyhow, bail};
use regex::Regex;

const ALLOWED: &str =
    r"a regular expression whose first group is the part, such as '^(\d+)_', or `folder` is allowed";

/// Where the name of a picture, its path below the folder, tells the part.
#[derive(Debug, Clone)]
pub(super) enum PartFrom {
    /// The sub-folder.
    Folder,
    /// The first group of a regular expression.
    Pattern(Regex),
}

impl PartFrom {
    /// For clap.
    pub(super) fn parse(typed: &str) -> anyhow::Result<Self> {
        if typed == "folder" {
            return Ok(Self::Folder);
        }
        let pattern = Regex::new(typed).map_err(|error| {
            let words = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            anyhow!("no regular expression: {words}; {ALLOWED}")
        })?;
        if pattern.captures_len() < 2 {
            bail!("has no group (...); {ALLOWED}");
        }
        Ok(Self::Pattern(pattern))
    }

    /// The part that the picture of this name shows.
    pub(super) fn part<'a>(&self, name: &'a str) -> anyhow::Result<&'a str> {
        match self {
            Self::Folder => name.rsplit_once('/').map(|(folder, _)| folder).ok_or_else(|| {
                anyhow!("--part-from folder: {name}: lies in no sub-folder; one sub-folder a part is needed")
            }),
            Self::Pattern(pattern) => {
                pattern.captures(name).and_then(|it| it.get(1)).map(|it| it.as_str()).ok_or_else(|| {
                    anyhow!("--part-from {pattern}: does not match {name}; every picture's path must match")
                })
            }
        }
    }

    /// The part of each picture, numbered from 0 in order of first appearance.
    pub(super) fn groups<'a>(&self, names: impl Iterator<Item = &'a str>) -> anyhow::Result<Vec<usize>> {
        let mut numbers = HashMap::new();
        names
            .map(|name| {
                let next = numbers.len();
                Ok(*numbers.entry(self.part(name)?.to_owned()).or_insert(next))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_part() {
        let groups = |typed: &str, names: &[&str]| {
            PartFrom::parse(typed).unwrap().groups(names.iter().copied()).unwrap()
        };
        assert_eq!(groups(r"_(\d+)", &["a_1.png", "a_2.png", "b_1.png"]), [0, 1, 0]);
        assert_eq!(groups("folder", &["x/1.png", "y/1.png", "x/2.png"]), [0, 1, 0]);
    }

    #[test]
    fn names_and_words_that_do_not_tell_the_part_are_refused() {
        for (typed, words) in [("(", "no regular expression"), ("_", "has no group")] {
            let error = PartFrom::parse(typed).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("`folder` is allowed"), "{error}");
        }
        for (typed, words) in [
            ("folder", "lies in no sub-folder"),
            ("(b)", "does not match a.png"),
            ("a|(b)", "does not match"),
        ] {
            let error = PartFrom::parse(typed).unwrap().part("a.png").unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
