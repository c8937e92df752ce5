//! Deletes the oldest evidence and rows: by days, by bytes and by room on the disk.
//!
//! `policy` says what is too much, `step` deletes a little of it at a time.

mod policy;
mod step;

pub use policy::{Bounds, Moment, RetentionLimits};
pub use step::Retention;
