//! Deletes the oldest evidence and rows: by age, by size, and when the disk is low on space.
//!
//! `policy` says what is too old or too low, `plan` chooses evidence, `disks` knows which limits are missed, `room` decides what may be deleted for a disk that is low,
//! `step` deletes a little at a time, `deleted` counts it. `evidence_folders` touches the disk.

mod deleted;
mod disks;
mod evidence_folders;
mod plan;
mod policy;
mod room;
mod step;

pub use deleted::Why;
pub(crate) use deleted::{Deleted, DeletedAmount};
pub use evidence_folders::sweep;
pub use policy::{Bounds, DiskRoom, DiskRooms, Moment, RetentionLimits};
pub(crate) use room::LOOKS;
pub use step::{Retention, RetentionReport, RetentionStep};
