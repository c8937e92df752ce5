//! Where frames come from: one trait, [`FrameSource`], and the [`Frame`] that it hands on.
//!
//! Guarantees: a frame is stamped once, here, with the wall clock and the monotonic clock. The bytes that the camera
//! sent or the file held travel along unchanged as [`Frame::encoded`], so that evidence can show them. A picture that
//! could not be read is still a frame, because a part was there: it carries the reason in place of the picture and ends
//! as an `abstain` verdict.
//! Leaves out: every change of the picture (see `preprocess`); queues and threads (see `agent`).

pub(crate) mod camera;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod file_names;
pub(crate) mod folder;
mod frame;
mod frame_rate;
mod frame_source;
pub(crate) mod picture_files;
pub(crate) mod simulator;
pub(crate) mod trigger;

pub(crate) use frame::GroundTruth;
pub use frame::{BadFrame, Channels, Frame, Picture, Samples, Stamp};
pub(crate) use frame_rate::{ALLOWED_RATES, allowed_rates_in_words};
pub use frame_source::{CameraInfo, CaptureError, Drops, FrameSource, SourceEvent, Trouble, TroubleKind};
