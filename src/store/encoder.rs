//! What the store is given to send: the messages of an inspection, one for each output.
//!
//! Leaves out: what is in them. The store keeps bytes, and the sender hands in the encoder.

use uuid::Uuid;

use crate::inspection::Inspection;

/// One way out of the station, with its own messages, its own outbox rows and its own refusals. The name is kept in
/// the log: it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OutputId(&'static str);

impl OutputId {
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    pub(super) fn name(self) -> &'static str {
        self.0
    }
}

/// Encodes an inspection for every output that sends it, as far as it is known at the commit. Called with boot id and
/// number inside the transaction of the commit, so it must be quick and must not use the store.
pub(crate) type EncodeMessages = dyn Fn(Uuid, u64, &Inspection) -> Vec<(OutputId, Vec<u8>)> + Send + Sync;
