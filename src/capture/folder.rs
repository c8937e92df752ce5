//! A folder of pictures as a source: any tree of picture files, or a data set in the layout of MVTec AD.
//!
//! Guarantees: the list is made once, when the source is opened, sorted by the bytes of the relative path. Each file of
//! the list gives exactly one frame a round, also if it has vanished or cannot be read. Folders that link to each other
//! in a circle are visited once. `ground_truth` folders are skipped.
//! Labels come from the folders: where one is called `good` or `ok`, it and the folders beside it are classes. Of several
//! such places the innermost counts.
//! Leaves out: files that arrive after the source was opened.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::decode::{DecodeLimits, decode};
use super::frame::{BadFrame, Frame, GroundTruth, Stamp};
use super::frame_rate::{ALLOWED_RATES, FrameRate, allowed_rates_in_words};
use super::frame_source::{CaptureError, FrameSource, SourceEvent};
use super::picture_files::{is_good_folder, is_picture};

/// Which folder to read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct FolderSettings {
    pub path: PathBuf,
    /// Frames a second. `None`: as fast as frames are asked for.
    pub frames_per_second: Option<f64>,
    /// Start again after the last file, for ever.
    pub repeat: bool,
}

/// The pictures of a folder, in order.
pub struct FolderSource {
    settings: FolderSettings,
    rate: FrameRate,
    pictures: Vec<FolderListing>,
    limits: DecodeLimits,
    sent: u64,
}

#[derive(Debug)]
struct FolderListing {
    /// Path below the folder, with `/`.
    name: String,
    path: PathBuf,
    truth: Option<GroundTruth>,
}

impl FolderSource {
    pub fn open(settings: FolderSettings) -> Result<Self, CaptureError> {
        if let Some(rate) = settings.frames_per_second.filter(|rate| !ALLOWED_RATES.contains(rate)) {
            return Err(CaptureError::Setting {
                key: "folder.frames_per_second",
                value: rate.to_string(),
                why: "no such rate".into(),
                allowed: format!("{}, or none to go as fast as possible", allowed_rates_in_words()),
            });
        }
        let refused = |path: &Path, why: String| CaptureError::Folder {
            path: path.display().to_string(),
            why,
            allowed: "a folder with PNG, JPEG, BMP or TIFF pictures in it or below it".into(),
        };
        if let Err(error) = fs::read_dir(&settings.path) {
            return Err(refused(&settings.path, error.to_string()));
        }
        let mut walk = Walk::default();
        walk.folder(&settings.path, "").map_err(|(path, error)| refused(&path, error.to_string()))?;
        let pictures = walk.into_list();
        if pictures.is_empty() {
            return Err(refused(&settings.path, "no pictures".into()));
        }
        let (rate, limits) = (FrameRate::new(settings.frames_per_second), DecodeLimits::default());
        Ok(Self { rate, settings, pictures, limits, sent: 0 })
    }

    /// How many pictures one round has; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a folder without pictures is refused")]
    pub fn len(&self) -> usize {
        self.pictures.len()
    }
}

impl FrameSource for FolderSource {
    fn next(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError> {
        let count = self.pictures.len() as u64;
        if !self.settings.repeat && self.sent == count {
            return Ok(SourceEvent::End);
        }
        if !self.rate.sleep(wait) {
            return Ok(SourceEvent::NotYet);
        }
        let listed = &self.pictures[(self.sent % count) as usize];
        self.sent += 1;
        Ok(SourceEvent::Frame(Box::new(Frame {
            part_id: Some(listed.name.clone()),
            meas_id: None,
            truth: listed.truth.clone(),
            ..read_frame(&listed.path, self.sent, self.limits)
        })))
    }

    fn describe(&self) -> String {
        let rounds = if self.settings.repeat { "for ever" } else { "once" };
        format!("folder {}, {} pictures, {rounds}", self.settings.path.display(), self.pictures.len())
    }
}

/// Reads one picture file as a frame. A file that cannot be read gives a frame with the reason.
pub(crate) fn read_frame(path: &Path, source_seq: u64, limits: DecodeLimits) -> Frame {
    let name = path.display().to_string();
    let captured_at = Stamp::now();
    let (picture, encoded) = match read(path, limits.file_bytes()) {
        Ok(bytes) => (decode(&name, &bytes, limits), Some(Arc::from(bytes))),
        Err(error) => {
            let why = error.to_string();
            (Err(BadFrame::Unreadable { name: name.clone(), why }), None)
        }
    };
    Frame { source_seq, captured_at, part_id: Some(name), meas_id: None, picture, encoded, truth: None }
}

/// Reads a file of at most so many bytes. No picture that `decode` accepts is larger.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let why = format!("larger than {} MiB, as no picture of the accepted size is", most >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// The files and class folders found while walking the tree.
#[derive(Default)]
struct Walk {
    /// Real paths of the folders seen, so that links in a circle end.
    seen: HashSet<PathBuf>,
    /// Relative paths, ending in `/`, of the folders whose sub-folders are classes.
    class_parents: HashSet<String>,
    files: Vec<(String, PathBuf)>,
}

impl Walk {
    /// Walks the folder at `path`, called `prefix` below the root (empty, or ending in `/`).
    fn folder(&mut self, path: &Path, prefix: &str) -> Result<(), (PathBuf, io::Error)> {
        let at = |error| (path.to_path_buf(), error);
        if !self.seen.insert(fs::canonicalize(path).map_err(at)?) {
            return Ok(());
        }
        let mut entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(at)?;
        // Sorted, so that of two links to one folder every machine visits the same one.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    if name == "ground_truth" {
                        continue;
                    }
                    if is_good_folder(&name) {
                        self.class_parents.insert(prefix.into());
                    }
                    self.folder(&path, &format!("{prefix}{name}/"))?;
                }
                // A named pipe is skipped: opening it would wait for ever.
                Ok(metadata) if !metadata.is_file() => {}
                // A link that leads nowhere has no metadata. It is listed, and its frame carries the reason.
                _ if is_picture(&path) => self.files.push((format!("{prefix}{name}"), path)),
                _ => {}
            }
        }
        Ok(())
    }

    fn into_list(mut self) -> Vec<FolderListing> {
        self.files.sort();
        let truth = |name: &str| {
            let (mut start, mut class) = (0, None);
            for (end, _) in name.match_indices('/') {
                if self.class_parents.contains(&name[..start]) {
                    class = Some(&name[start..end]);
                }
                start = end + 1;
            }
            let kind = class.map(|class| if is_good_folder(class) { "good" } else { class })?;
            Some(GroundTruth { kind: kind.into() })
        };
        let truths: Vec<_> = self.files.iter().map(|(name, _)| truth(name)).collect();
        self.files
            .into_iter()
            .zip(truths)
            .map(|((name, path), truth)| FolderListing { name, path, truth })
            .collect()
    }
}
