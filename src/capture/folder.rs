//! A folder of pictures as a source: any tree of image files, or a data set in the layout of MVTec AD.
//!
//! Guarantees: the list is made once, when the source is opened, sorted by the bytes of the relative path;
//! every file of it gives exactly one frame a round, a file that vanished or cannot be read included.
//! Folders that link to each other in a circle are walked once. `ground_truth` folders are left out.
//! The truth comes from the folders: where one is called `good` or `ok`, it and the folders beside it are
//! classes; the innermost such place decides.
//! Leaves out: files that arrive after the source was opened.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::decode::decode;
use super::pace::Pace;
use super::{BadFrame, CaptureError, Frame, FrameSource, Next, Stamp, Truth};

const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "bmp"];
/// No picture that `decode` accepts is larger on the disk.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Which folder to read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct FolderSettings {
    pub path: PathBuf,
    /// `None`: as fast as frames are asked for.
    pub frames_per_second: Option<f64>,
    /// Start over after the last file, for ever.
    pub repeat: bool,
}

/// The pictures of a folder, in order.
pub struct FolderSource {
    settings: FolderSettings,
    pace: Pace,
    pictures: Vec<Listed>,
    sent: u64,
}

#[derive(Debug)]
struct Listed {
    /// Path below the folder, with `/`.
    name: String,
    path: PathBuf,
    truth: Option<Truth>,
}

impl FolderSource {
    pub fn open(settings: FolderSettings) -> Result<Self, CaptureError> {
        if let Some(rate) = settings.frames_per_second.filter(|rate| !Pace::ALLOWED.contains(rate)) {
            return Err(CaptureError::Setting {
                key: "folder.frames_per_second",
                value: rate.to_string(),
                why: "no such rate".into(),
                allowed: "0.001 to 1000, or none for as fast as it goes".into(),
            });
        }
        let refused = |path: &Path, why: String| CaptureError::Folder {
            path: path.display().to_string(),
            why,
            allowed: "a folder with PNG, JPEG or BMP pictures in it or below it".into(),
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
        Ok(Self { pace: Pace::new(settings.frames_per_second), settings, pictures, sent: 0 })
    }

    /// How many pictures one round has; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a folder without pictures is refused")]
    pub fn len(&self) -> usize {
        self.pictures.len()
    }
}

impl FrameSource for FolderSource {
    fn next(&mut self, wait: Duration) -> Result<Next, CaptureError> {
        let count = self.pictures.len() as u64;
        if !self.settings.repeat && self.sent == count {
            return Ok(Next::End);
        }
        if !self.pace.sleep(wait) {
            return Ok(Next::NotYet);
        }
        let listed = &self.pictures[(self.sent % count) as usize];
        self.sent += 1;
        Ok(Next::Frame(Box::new(Frame {
            part_id: Some(listed.name.clone()),
            meas_id: None,
            truth: listed.truth.clone(),
            ..read_frame(&listed.path, self.sent)
        })))
    }

    fn describe(&self) -> String {
        let rounds = if self.settings.repeat { "for ever" } else { "once" };
        format!("folder {}, {} pictures, {rounds}", self.settings.path.display(), self.pictures.len())
    }
}

/// One picture file as a frame, whatever is wrong with it.
pub fn read_frame(path: &Path, source_seq: u64) -> Frame {
    let name = path.display().to_string();
    let captured_at = Stamp::now();
    let (picture, encoded) = match read(path) {
        Ok(bytes) => (decode(&name, &bytes), Some(Arc::from(bytes))),
        Err(error) => {
            let why = error.to_string();
            (Err(BadFrame::Unreadable { name: name.clone(), why }), None)
        }
    };
    Frame { source_seq, captured_at, part_id: Some(name), meas_id: None, picture, encoded, truth: None }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 GiB"));
    }
    Ok(bytes)
}

/// What was found while walking the tree.
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
        // Of two links to one folder the first by name is walked, on every machine.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    if name == "ground_truth" {
                        continue;
                    }
                    if is_good(&name) {
                        self.class_parents.insert(prefix.into());
                    }
                    self.folder(&path, &format!("{prefix}{name}/"))?;
                }
                // Opening a named pipe would wait for ever.
                Ok(metadata) if !metadata.is_file() => {}
                // A link that leads nowhere has no metadata: it is listed, and its frame says so.
                _ if is_picture(&path) => self.files.push((format!("{prefix}{name}"), path)),
                _ => {}
            }
        }
        Ok(())
    }

    fn into_list(mut self) -> Vec<Listed> {
        self.files.sort();
        let truth = |name: &str| {
            let (mut start, mut class) = (0, None);
            for (end, _) in name.match_indices('/') {
                if self.class_parents.contains(&name[..start]) {
                    class = Some(&name[start..end]);
                }
                start = end + 1;
            }
            let kind = class.map(|class| if is_good(class) { "good" } else { class })?;
            Some(Truth { kind: kind.into() })
        };
        let truths: Vec<_> = self.files.iter().map(|(name, _)| truth(name)).collect();
        self.files.into_iter().zip(truths).map(|((name, path), truth)| Listed { name, path, truth }).collect()
    }
}

/// Whether a class folder of this name holds normal parts.
pub(crate) fn is_good(class: &str) -> bool {
    ["good", "ok"].iter().any(|word| class.eq_ignore_ascii_case(word))
}

pub(crate) fn is_picture(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}
