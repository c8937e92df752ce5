//! The function that makes the messages of an inspection, one for each output.
//!
//! Leaves out: the content of the messages. The store keeps bytes; the code that sends them provides the encoder.

use uuid::Uuid;

use crate::inspection::Inspection;

/// The name of an output, such as `json`. Each output has its own messages, outbox rows and refusals. The name is stored in
/// the log, so it never changes.
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

/// Encodes an inspection for each output, as far as the message is known at the commit. Called with boot id and sequence
/// number inside the transaction of the commit, so it must be quick and must not use the store.
pub(crate) type EncodeMessages = dyn Fn(Uuid, u64, &Inspection) -> Vec<(OutputId, Vec<u8>)> + Send + Sync;
