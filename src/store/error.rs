//! What can go wrong with the inspection log: a message that says what to do, and a kind for the program to act on.

use std::path::Path;

use rusqlite::ErrorCode;

/// The inspection log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("store: {path}: {}: {why}; {}", cause.description(), cause.remedy())]
    Unwritable { path: String, cause: Cause, why: String },
    #[error("store: {path}: another agent writes it; stop that agent, or set another folder under [store]")]
    InUse { path: String },
    #[error(
        "store: {path}: not a sound database: {why}; stop the agent, move the file aside together with its -wal and \
         -shm files and start again: a new log is begun, and the old one can still be read by `sqlite3 .recover`"
    )]
    Corrupt { path: String, why: String },
    #[error(
        "store: {path}: written by a newer certiscope (schema {found}; this version knows {known}); run that version, \
         or set another folder under [store]"
    )]
    Newer { path: String, found: u32, known: u32 },
    #[error(
        "store: {path}: {pragma} is {found}: the disk or file system does not support {wanted}, and without it a power cut loses verdicts; use a local disk"
    )]
    NotDurable { path: String, pragma: &'static str, found: String, wanted: &'static str },
    #[error("store: {path}: {why}")]
    Sql { path: String, why: String },
    #[error("store: its thread cannot be started: {0}; the system allows no more threads or memory")]
    Thread(std::io::Error),
    #[error("store: its thread has ended; the reason is earlier in the journal")]
    Ended,
}

/// Why nothing can be written. Its word is part of the `status` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Full,
    ReadOnly,
    /// A permission is missing, the folder does not exist, or no more files can be opened.
    Refused,
    /// The disk reports errors.
    Failing,
    /// Another program has locked the file.
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

    fn description(self) -> &'static str {
        match self {
            Self::Full => "cannot be written, the disk is full",
            Self::ReadOnly => "cannot be written, the disk or file is read-only",
            Self::Refused => "cannot be written",
            Self::Failing => "cannot be written, the disk reports errors",
            Self::Busy => "cannot be written, another program has locked it",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Full => "free some space on it",
            Self::ReadOnly => "mount it writable, or set a folder that certiscope may write",
            Self::Refused => "set a folder that certiscope may write",
            Self::Failing => "read the system's log, and replace the disk if it is broken",
            Self::Busy => "end that program (a backup, a person with sqlite3)",
        }
    }
}

/// The kinds of errors that the program treats differently. What a person should do is in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The log cannot be used as it is; trying again does not help.
    Refused,
    /// Another agent uses the log.
    InUse,
    /// The disk is full or failing, or a permission is missing; waiting may help.
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

    /// Why nothing can be written now, if waiting may help; `None` for an error that stays.
    pub fn passing(&self) -> Option<Cause> {
        match self {
            Self::Unwritable { cause, .. } => Some(*cause),
            _ => None,
        }
    }

    /// Classifies an error of SQLite by what a person has to do about it.
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

    /// Classifies an error of the operating system that came up while the database was opened.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        let cause = match error.kind() {
            std::io::ErrorKind::StorageFull => Cause::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => Cause::ReadOnly,
            _ => Cause::Refused,
        };
        Self::Unwritable { path: path.display().to_string(), cause, why: error.to_string() }
    }
}
