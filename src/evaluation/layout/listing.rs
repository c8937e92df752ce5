//! Lists folders: sorted, without hidden files, and with names on one line.

use std::fs;
use std::path::{Path, PathBuf};

use super::data_set::LayoutError;
use crate::capture::file_names::on_one_line;
use crate::capture::picture_files::{LeftOutFiles, is_hidden, is_picture};

/// The entries of a folder that are not hidden, sorted.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    let failed =
        |error: std::io::Error| LayoutError::Folder { path: on_one_line(folder), why: error.to_string() };
    let listed = fs::read_dir(folder).map_err(failed)?;
    let mut paths =
        listed.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    paths.retain(|path| !path.file_name().is_some_and(is_hidden));
    paths.sort();
    Ok(paths)
}

pub(super) fn folders(folder: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Whether the entry can be read as a picture, by its name and by what it is. A link that leads nowhere can: the reason is told
/// when it is read.
pub(super) fn is_picture_file(entry: &Path) -> bool {
    is_picture(entry) && fs::metadata(entry).map_or(true, |metadata| metadata.is_file())
}

/// Counts files that are left out. Folders are not counted.
pub(super) fn counted<'a>(entries: impl IntoIterator<Item = &'a PathBuf>) -> LeftOutFiles {
    let mut left_out = LeftOutFiles::default();
    for entry in entries {
        match fs::metadata(entry) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if !metadata.is_file() => left_out.add_special(),
            _ => left_out.add(entry),
        }
    }
    left_out
}

/// What a folder holds, for an error that says what was found.
pub(super) fn contents_in_words(folder: &Path) -> Result<String, LayoutError> {
    const NAMED: usize = 8;
    let (folders, files): (Vec<_>, Vec<_>) = entries(folder)?.into_iter().partition(|path| path.is_dir());
    let mut words = Vec::new();
    let names: Vec<String> = folders.iter().take(NAMED).map(|folder| name_of(folder)).collect();
    match folders.len().saturating_sub(NAMED) {
        _ if names.is_empty() => {}
        0 => words.push(format!("the folders {}", names.join(", "))),
        more => words.push(format!("the folders {} and {more} more", names.join(", "))),
    }
    let files = counted(&files);
    if !files.is_empty() {
        words.push(files.to_string());
    }
    Ok(if words.is_empty() { "nothing".to_owned() } else { words.join(", ") })
}

/// The name of a file or folder, on one line.
pub(super) fn name_of(path: &Path) -> String {
    let named = |path: &Path| path.file_name().map(on_one_line);
    // `.` and `..` have a name only once they are resolved.
    named(path).or_else(|| named(&fs::canonicalize(path).ok()?)).unwrap_or_default()
}
