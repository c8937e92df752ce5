//! A folder of pictures as a source: any tree of picture files, or a data set in the layout of MVTec AD.
//!
//! Guarantees: the list is made once, when the source is opened, sorted by the bytes of the relative path. Each file of
//! the list gives exactly one frame a round, also if it has vanished or cannot be read. Folders that link to each other
//! in a circle are visited once. `ground_truth` folders are skipped, and so are hidden files and folders (a leading dot). Every
//! other file that is not listed is counted ([`LeftOutFiles`]).
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
use super::file_names::{on_one_line, text_of};
use super::frame::{BadFrame, Frame, GroundTruth, Stamp};
use super::frame_rate::{ALLOWED_RATES, FrameRate, allowed_rates_in_words};
use super::frame_source::{CaptureError, FrameSource, SourceEvent};
use super::picture_files::{LeftOutFiles, PICTURE_NAMES, is_good_folder, is_hidden, is_picture};

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
    left_out: LeftOutFiles,
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

/// The picture files in a folder and below it, in order, and the count of the others. At least one picture.
pub(crate) fn picture_files(folder: &Path) -> Result<(Vec<PathBuf>, LeftOutFiles), CaptureError> {
    let (listed, left_out) = list(folder)?;
    Ok((listed.into_iter().map(|listed| listed.path).collect(), left_out))
}

fn list(folder: &Path) -> Result<(Vec<FolderListing>, LeftOutFiles), CaptureError> {
    let refused = |path: &Path, why: String| CaptureError::Folder {
        path: on_one_line(path),
        why,
        allowed: format!("a folder with PNG, JPEG, BMP or TIFF pictures in it or below it; {PICTURE_NAMES}"),
    };
    let mut walk = Walk::default();
    walk.folder(folder, "").map_err(|(path, error)| match error.kind() {
        io::ErrorKind::PermissionDenied if path != folder => CaptureError::Folder {
            path: on_one_line(path),
            why: error.to_string(),
            allowed: "no picture is left out unseen: let this user read the folder, or move it elsewhere"
                .into(),
        },
        _ => refused(&path, error.to_string()),
    })?;
    if walk.files.is_empty() {
        return Err(refused(folder, format!("no pictures; {}", walk.instead())));
    }
    Ok(walk.into_list())
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
        let (pictures, left_out) = list(&settings.path)?;
        let (rate, limits) = (FrameRate::new(settings.frames_per_second), DecodeLimits::default());
        Ok(Self { rate, settings, pictures, left_out, limits, sent: 0 })
    }

    /// The same source, which decodes no picture beyond `limits`.
    pub(crate) fn within(self, limits: DecodeLimits) -> Self {
        Self { limits, ..self }
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
        let path = on_one_line(&self.settings.path);
        let left_out = self.left_out().map(|left_out| format!("; {left_out}")).unwrap_or_default();
        format!("folder {path}, {} pictures, {rounds}{left_out}", self.pictures.len())
    }

    fn left_out(&self) -> Option<String> {
        (!self.left_out.is_empty()).then(|| self.left_out.to_string())
    }
}

/// Reads one picture file as a frame. A file that cannot be read gives a frame with the reason.
pub(crate) fn read_frame(path: &Path, source_seq: u64, limits: DecodeLimits) -> Frame {
    let name = on_one_line(path);
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
    left_out: LeftOutFiles,
    hidden: u64,
    ground_truth: u64,
}

impl Walk {
    /// Walks the folder at `path`, called `prefix` below the root (empty, or ending in `/`).
    fn folder(&mut self, path: &Path, prefix: &str) -> Result<(), (PathBuf, io::Error)> {
        let listed = fs::canonicalize(path).and_then(|real| {
            if !self.seen.insert(real) {
                return Ok(Vec::new());
            }
            fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()
        });
        let mut entries = match listed {
            // A folder below the root that vanished since it was listed has no pictures.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !prefix.is_empty() => return Ok(()),
            listed => listed.map_err(|error| (path.to_path_buf(), error))?,
        };
        // Sorted, so that of two links to one folder every machine visits the same one.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if is_hidden(&entry.file_name()) {
                self.hidden += 1;
                continue;
            }
            let name = text_of(entry.file_name());
            let path = entry.path();
            // A link is followed. One that leads nowhere has no type: it is listed, and its frame carries the reason.
            let kind = entry.file_type().ok().filter(|kind| !kind.is_symlink());
            match kind.or_else(|| Some(fs::metadata(&path).ok()?.file_type())) {
                Some(kind) if kind.is_dir() => {
                    if name == "ground_truth" {
                        self.ground_truth += 1;
                        continue;
                    }
                    if is_good_folder(&name) {
                        self.class_parents.insert(prefix.into());
                    }
                    self.folder(&path, &format!("{prefix}{name}/"))?;
                }
                Some(kind) if !kind.is_file() => self.left_out.add_special(),
                _ if is_picture(&path) => self.files.push((format!("{prefix}{name}"), path)),
                _ => self.left_out.add(&path),
            }
        }
        Ok(())
    }

    /// What was found where no picture is.
    fn instead(&self) -> String {
        let mut found = Vec::new();
        if !self.left_out.is_empty() {
            found.push(self.left_out.to_string());
        }
        if self.hidden > 0 {
            found.push(format!("{} hidden", self.hidden));
        }
        if self.ground_truth > 0 {
            found.push("the masks in ground_truth".to_owned());
        }
        match found.as_slice() {
            [] => "no file is in it or below it".to_owned(),
            found => format!("found: {}", found.join(", ")),
        }
    }

    fn into_list(mut self) -> (Vec<FolderListing>, LeftOutFiles) {
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
        let listed = self
            .files
            .into_iter()
            .zip(truths)
            .map(|((name, path), truth)| FolderListing { name, path, truth })
            .collect();
        (listed, self.left_out)
    }
}
