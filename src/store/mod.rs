//! The inspection log and the outbox: one SQLite file, the only module that knows SQL.
//!
//! `database` opens the file and commits, `migrations` brings an older file up to date, `outbox` holds what is not yet
//! acknowledged, `log` reads, `deletion` makes room, `thread` lets other threads use the store. What is sent of an
//! inspection, and how, the store does not know: an encoder is handed in with each commit (`encoder`).

mod commit_trial;
mod database;
mod deletion;
mod encoder;
mod error;
mod identity;
mod inspection_row;
mod log;
mod migrations;
mod outbox;
mod stored_message;
mod thread;

pub(crate) use commit_trial::CommitTrial;
pub use database::Store;
pub(crate) use deletion::{KeptEvidence, check};
pub(crate) use encoder::EncodeMessages;
pub use encoder::OutputId;
pub(crate) use error::Cause;
pub use error::{StoreError, StoreErrorKind};
pub use identity::{Boot, Committed, Origin, RowId};
pub use log::{DeliveryState, Filter, Log, Order};
pub(crate) use log::{EvidenceKept, LogError, Record};
pub use outbox::Backlog;
pub(crate) use outbox::OutboxRow;
pub use thread::{StoreHandle, StoreThread};
