//! The inspection log and the outbox, in one SQLite file. The only module that uses SQL.
//!
//! `database` opens the file and commits, `migrations` brings an older file up to date, `outbox` has the messages that are
//! not yet acknowledged, `log` reads inspections, `deletion` deletes old ones, `thread` lets other threads use the store.
//! The store does not know what a message contains or how it is sent: each commit is given an encoder (`encoder`).

mod commit_trial;
mod database;
mod deletion;
mod encoder;
mod error;
pub(crate) mod fuzz;
mod identity;
mod inspection_row;
mod log;
mod migrations;
mod outbox;
mod stored_message;
mod thread;

pub(crate) use commit_trial::CommitTrial;
pub use database::Store;
pub(crate) use deletion::{EvidencePage, KeptEvidence, StoredAmount, check};
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
