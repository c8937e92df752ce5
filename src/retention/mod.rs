//! Deletes the oldest evidence and rows: by age, by size, and when the disk is low on space.
//!
//! `policy` decides whether there is too much, `step` deletes a little at a time.

mod policy;
mod step;

pub use policy::{Bounds, Moment, RetentionLimits};
pub use step::Retention;
