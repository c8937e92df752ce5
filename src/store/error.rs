//! What can go wrong with the log: in words that say what to do, and as a kind for programs.

use std::path::Path;

use rusqlite::ErrorCode;

/// The inspection log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("store: {path}: {}: {why}; {}", cause.words(), cause.way_out())]
    Unwritable { path: String, cause: Cause, why: String },
    #[error("store: {path}: another agent writes it; stop that one, or name another folder under [store]")]
    InUse { path: String },
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

/// Why the disk takes nothing. Its word is part of the `status` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Full,
    ReadOnly,
    /// Rights are missing, or there is no such folder, or no file can be opened any more.
    Refused,
    /// The disk reports errors.
    Failing,
    /// Another program holds the file.
    Busy,
}

impl Cause {
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Refused => "refused",
            Self::Failing => "failing",
            Self::Busy => "busy",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Full => "cannot be written, the disk is full",
            Self::ReadOnly => "cannot be written, the disk or file is read-only",
            Self::Refused => "cannot be written",
            Self::Failing => "cannot be written, the disk reports errors",
            Self::Busy => "held by another program",
        }
    }

    fn way_out(self) -> &'static str {
        match self {
            Self::Full => "make room on it",
            Self::ReadOnly => "mount it writable, or name a folder that certiscope may write",
            Self::Refused => "name a folder that certiscope may write",
            Self::Failing => "look into the system's log, and replace the disk if it is broken",
            Self::Busy => "end that program (a backup, a person with sqlite3)",
        }
    }
}

/// What a program does about an error of the store; what a person does is in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It will not be done, however often it is asked.
    Refused,
    /// Another agent has the log.
    InUse,
    /// The disk or the folder's rights hinder it; waiting may help.
    Unavailable,
    /// The file is damaged.
    Corrupt,
    /// An error of the program or of the system.
    Failed,
}

impl StoreError {
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Unwritable { .. } => StoreErrorKind::Unavailable,
            Self::InUse { .. } => StoreErrorKind::InUse,
            Self::Corrupt { .. } => StoreErrorKind::Corrupt,
            Self::Newer { .. } | Self::NotDurable { .. } => StoreErrorKind::Refused,
            Self::Sql { .. } | Self::Thread(_) | Self::Ended => StoreErrorKind::Failed,
        }
    }

    /// Why nothing can be written now, where waiting may help; `None` for an error that stays.
    pub fn passing(&self) -> Option<Cause> {
        match self {
            Self::Unwritable { cause, .. } => Some(*cause),
            _ => None,
        }
    }

    /// Sorts SQLite's error by what a person has to do about it.
    pub(super) fn new(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, why) = (path.display().to_string(), error.to_string());
        let cause = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => return Self::Corrupt { path, why },
            Some(ErrorCode::DiskFull) => Cause::Full,
            Some(ErrorCode::ReadOnly) => Cause::ReadOnly,
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Cause::Refused,
            Some(ErrorCode::SystemIoFailure) => Cause::Failing,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Cause::Busy,
            _ => return Self::Sql { path, why },
        };
        Self::Unwritable { path, cause, why }
    }

    /// Sorts the system's error on the way to the database.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        let cause = match error.kind() {
            std::io::ErrorKind::StorageFull => Cause::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => Cause::ReadOnly,
            _ => Cause::Refused,
        };
        Self::Unwritable { path: path.display().to_string(), cause, why: error.to_string() }
    }
}
