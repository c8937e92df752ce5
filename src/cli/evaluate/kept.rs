//! Scores that are reused after an interruption: one JSON line for each finished picture, and its heat map.
//!
//! Guarantees: a line is appended only after its map is on the disk, and counts only for the same picture, bundle,
//! draws and seed. A last line that was cut off by a stop is dropped.
//! Leaves out: deleting scores that are no longer needed.
//! Costs: four bytes on the disk for each pixel of a map. Maps are kept because computing them again takes as long as
//! computing the scores.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::tensors::{self, Tensors};

/// Everything that the scores of a picture depend on. A new option that changes scores must be added here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct PictureKey {
    /// sha256 of the file's bytes.
    pub(super) picture: String,
    /// sha256 of the bundle's manifest, which holds those of its other files.
    pub(super) bundle: String,
    pub(super) draws: u32,
    pub(super) seed: u64,
}

/// The scores of one picture; those that are not a number are `None`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Scores {
    pub(super) draws_scores: Vec<Option<f32>>,
    pub(super) empirical: Option<f32>,
}

#[derive(Serialize, Deserialize)]
struct KeptLine {
    #[serde(flatten)]
    key: PictureKey,
    #[serde(flatten)]
    scores: Scores,
}

/// The scores in a folder.
pub(super) struct KeptScores {
    folder: PathBuf,
    lines: File,
    known: HashMap<PictureKey, Scores>,
}

impl KeptScores {
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("scores.jsonl");
        let at = || file.display().to_string();
        std::fs::create_dir_all(folder.join("maps")).with_context(|| folder.display().to_string())?;
        let text = if file.exists() { std::fs::read(&file).with_context(at)? } else { Vec::new() };
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut known = HashMap::new();
        for (number, line) in text[..whole].split(|&byte| byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let KeptLine { key, scores } = serde_json::from_slice(line).map_err(|error| {
                anyhow!("{}: line {}: {error}; give another --out, or remove the file", at(), number + 1)
            })?;
            known.insert(key, scores);
        }
        let lines = OpenOptions::new().create(true).append(true).open(&file).with_context(at)?;
        lines.set_len(whole as u64).with_context(at)?;
        Ok(Self { folder: folder.to_path_buf(), lines, known })
    }

    /// The scores and the map of a picture that was finished earlier.
    pub(super) fn get(&self, key: &PictureKey, shape: [usize; 2]) -> Option<(Scores, Array2<f32>)> {
        Some((self.known.get(key)?.clone(), self.map(key, shape)?))
    }

    pub(super) fn map(&self, key: &PictureKey, shape: [usize; 2]) -> Option<Array2<f32>> {
        let map = Tensors::read(&self.map_file(key)).ok()?.get("map", &shape).ok()?;
        map.into_dimensionality().ok()
    }

    pub(super) fn put(&mut self, key: &PictureKey, scores: &Scores, map: &Array2<f32>) -> anyhow::Result<()> {
        tensors::write(&self.map_file(key), &[("map", map.view().into_dyn())])?;
        let line = KeptLine { key: key.clone(), scores: scores.clone() };
        let text = serde_json::to_string(&line).expect("scores are always text") + "\n";
        self.lines
            .write_all(text.as_bytes())
            .with_context(|| self.folder.join("scores.jsonl").display().to_string())
    }

    fn map_file(&self, key: &PictureKey) -> PathBuf {
        let PictureKey { picture, bundle, draws, seed } = key;
        self.folder.join(format!("maps/{}-{}-{draws}-{seed}.safetensors", &picture[..32], &bundle[..16]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_dropped_and_the_rest_stays() {
        let folder = tempfile::TempDir::new().unwrap();
        let key = |seed| PictureKey { picture: "a".repeat(64), bundle: "b".repeat(64), draws: 2, seed };
        let scores = Scores { draws_scores: vec![Some(0.1), None], empirical: Some(1.5) };
        let map = ndarray::arr2(&[[1.0, 2.0]]);
        let mut kept = KeptScores::open(folder.path()).unwrap();
        kept.put(&key(1), &scores, &map).unwrap();
        kept.put(&key(2), &scores, &map).unwrap();
        drop(kept);
        let file = folder.path().join("scores.jsonl");
        let text = std::fs::read(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 7]).unwrap();

        let mut kept = KeptScores::open(folder.path()).unwrap();
        let (found, found_map) = kept.get(&key(1), [1, 2]).unwrap();
        assert_eq!((found.draws_scores, found_map), (vec![Some(0.1), None], map.clone()));
        assert!(kept.get(&key(2), [1, 2]).is_none() && kept.get(&key(3), [1, 2]).is_none());
        kept.put(&key(2), &scores, &map).unwrap();
        assert!(
            KeptScores::open(folder.path()).unwrap().get(&key(2), [1, 2]).is_some(),
            "written whole again"
        );

        let full = kept.map_file(&key(3));
        std::os::unix::fs::symlink("/dev/full", &full).unwrap();
        let refused = kept.put(&key(3), &scores, &map).unwrap_err().to_string();
        let named = format!("{}: cannot be written: No space left on device", full.display());
        assert!(refused.starts_with(&named) && !refused.contains("bundle"), "{refused}");

        std::fs::remove_dir_all(folder.path().join("maps")).unwrap();
        assert!(kept.get(&key(1), [1, 2]).is_none(), "without its map a picture is not finished");
        std::fs::write(&file, "{}\n").unwrap();
        let refused = KeptScores::open(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("line 1") && refused.contains("another --out"), "{refused}");
    }
}
