//! What can go wrong with the log, in words that say the way out.

use std::path::Path;

use rusqlite::ErrorCode;

/// The inspection log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "store: {path}: cannot be written: {why}; name a folder that certiscope may write, with room on its disk"
    )]
    Unwritable { path: String, why: String },
    #[error(
        "store: {path}: not a sound database: {why}; stop the agent, move the file aside together with its -wal and \
         -shm files and start again: a new log is begun, and the old one can still be read by `sqlite3 .recover`"
    )]
    Corrupt { path: String, why: String },
    #[error(
        "store: {path}: written by a newer certiscope (schema {found}; this version knows {known}); run that version, \
         or name another store"
    )]
    Newer { path: String, found: u32, known: u32 },
    #[error(
        "store: {path}: {pragma} is {found}: the disk or file system refused {wanted}, without which a power cut loses verdicts; use a local disk"
    )]
    NotDurable { path: String, pragma: &'static str, found: String, wanted: &'static str },
    #[error("store: {path}: {why}")]
    Sql { path: String, why: String },
    #[error("store: its thread cannot be started: {0}; the system allows no more threads or memory")]
    Thread(std::io::Error),
    #[error("store: its thread has ended; the reason stands earlier in the log")]
    Ended,
}

impl StoreError {
    /// Sorts SQLite's error by what a person has to do about it.
    pub(super) fn new(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, why) = (path.display().to_string(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, why },
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull,
            ) => Self::Unwritable { path, why },
            _ => Self::Sql { path, why },
        }
    }
}
