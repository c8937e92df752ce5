//! Checks whether the bundle on the disk is still the one that was loaded.
//!
//! Guarantees: an exchanged manifest is noticed. So is any other exchanged file of the bundle, unless its inode, size and
//! time of change are the same as before. The loaded bundle is used until the next start, whatever is found.

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

/// A file whose sha256 is in the manifest.
struct WatchedFile {
    path: PathBuf,
    sha256: String,
    /// The stamp of the file when its content was last right. While the stamp stays the same, the file is not read again.
    seen: Option<FileStamp>,
}

/// Inode, size and time of change of a file: cheap to read, and different after a file was exchanged.
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
    /// Watches a bundle that has just been loaded.
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

    /// Looks at the files on the disk.
    pub(super) fn look(&mut self) -> Condition<BundleState> {
        self.find_change().unwrap_or_else(|error| Condition::bad(BundleState::Unreadable, error))
    }

    fn find_change(&mut self) -> Result<Condition<BundleState>, BundleError> {
        let found = bundle::sha256_of(&self.manifest)?;
        if found != self.manifest_sha256 {
            let reason = format!(
                "{}: sha256 is now {found}; {} is used as it was loaded: start the agent again to use the new one",
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
                    "{}: sha256 is {found}, bundle.toml says {}; {} is used as it was loaded: copy or export the \
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
