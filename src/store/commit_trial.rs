//! Measures what durability costs on a disk: the same commits with their disk sync and without. For `certiscope bench` only.
//!
//! Guarantees: both logs are new files in one folder, opened by [`Store::open`]. Only the second one runs without sync, and
//! no other code can switch the sync off.
//! Costs: two commits a call, two files of a few kilobytes a commit.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::database::Store;
use super::encoder::EncodeMessages;
use super::error::StoreError;
use super::identity::{Boot, Origin};
use crate::inspection::Inspection;

/// Two logs in which one inspection is committed again and again.
pub(crate) struct CommitTrial<'a> {
    sample: &'a Inspection,
    encode: &'a EncodeMessages,
    origin: Origin,
    synced: Store,
    unsynced: Store,
}

impl<'a> CommitTrial<'a> {
    /// Makes the logs `synced.db` and `unsynced.db` in `folder`.
    pub(crate) fn open(
        folder: &Path,
        sample: &'a Inspection,
        encode: &'a EncodeMessages,
    ) -> Result<Self, StoreError> {
        let origin = Origin { boot_id: Uuid::new_v4(), station: Arc::from("trial") };
        let open = |name: &str| -> Result<Store, StoreError> {
            let mut store = Store::open(&folder.join(name))?;
            let boot = Boot {
                started_at: Timestamp::now(),
                version: env!("CARGO_PKG_VERSION"),
                configuration: "",
                bundle_folder: folder,
                parameters: &sample.parameters,
            };
            store.begin(&origin, &boot)?;
            Ok(store)
        };
        let (synced, unsynced) = (open("synced.db")?, open("unsynced.db")?);
        unsynced.read(|connection| connection.pragma_update(None, "synchronous", "OFF"))?;
        Ok(Self { sample, encode, origin, synced, unsynced })
    }

    /// Commits once in each log. Returns how long the commit with sync and the one without took.
    pub(crate) fn commit_both(&mut self) -> Result<(Duration, Duration), StoreError> {
        let Self { sample, encode, origin, synced, unsynced } = self;
        let timed = |store: &mut Store| -> Result<Duration, StoreError> {
            let begun = Instant::now();
            store.commit(origin, sample, *encode)?;
            Ok(begun.elapsed())
        };
        Ok((timed(synced)?, timed(unsynced)?))
    }
}
