//! Is the bundle on the disk still the one that was loaded?
//!
//! Guarantees: notices an exchanged manifest, and any other file of the bundle by its size or its time of change. What was
//! loaded is used until the next start, whatever this finds.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::bundle::{self, Bundle, BundleError};
use crate::status::{BundleState, Condition};

/// The files of a bundle as they were loaded.
pub(super) struct BundleWatch {
    label: String,
    manifest: PathBuf,
    manifest_sha256: String,
    others: Vec<WatchedFile>,
}

/// A file that the manifest vouches for.
struct WatchedFile {
    path: PathBuf,
    sha256: String,
    /// When its content was seen to be right; it is read again when these differ.
    seen: Option<FileStamp>,
}

/// Which file it is, its size and time of change: cheap to ask for, and other than before when a file was exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    bytes: u64,
    changed: SystemTime,
}

impl FileStamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { inode: metadata.ino(), bytes: metadata.len(), changed: metadata.modified()? })
    }
}

impl BundleWatch {
    /// For a bundle that has just been loaded.
    pub(super) fn new(bundle: &Bundle) -> Self {
        let manifest = &bundle.manifest;
        let maps = manifest.calibration.as_ref().map(|made| (&made.maps, &made.maps_sha256));
        let files = [
            (&manifest.model.file, &manifest.model.sha256),
            (&manifest.golden.file, &manifest.golden.sha256),
        ];
        let watched = |(name, sha256): (&String, &String)| WatchedFile {
            path: bundle.folder.join(name),
            sha256: sha256.clone(),
            seen: None,
        };
        Self {
            label: bundle.label(),
            manifest: bundle.folder.join(bundle::MANIFEST),
            manifest_sha256: bundle.sha256.clone(),
            others: files.into_iter().chain(maps).map(watched).collect(),
        }
    }

    pub(super) fn look(&mut self) -> Condition<BundleState> {
        self.find_change().unwrap_or_else(|error| Condition::bad(BundleState::Unreadable, error))
    }

    fn find_change(&mut self) -> Result<Condition<BundleState>, BundleError> {
        let found = bundle::sha256_of(&self.manifest)?;
        if found != self.manifest_sha256 {
            let reason = format!(
                "{}: sha256 is {found}; {} runs on as it was loaded: start the agent again to use the new one",
                self.manifest.display(),
                self.label
            );
            return Ok(Condition::bad(BundleState::Changed, reason));
        }
        for file in &mut self.others {
            let path = &file.path;
            let stamp = FileStamp::of(path)
                .map_err(|error| BundleError::File { path: path.clone(), why: error.to_string() })?;
            if file.seen == Some(stamp) {
                continue;
            }
            let found = bundle::sha256_of(path)?;
            if found != file.sha256 {
                let reason = format!(
                    "{}: sha256 is {found}, bundle.toml says {}; {} runs on as it was loaded: copy or export the \
                     bundle again, then start the agent again",
                    path.display(),
                    file.sha256,
                    self.label
                );
                return Ok(Condition::bad(BundleState::Changed, reason));
            }
            file.seen = Some(stamp);
        }
        Ok(Condition::ok())
    }
}
