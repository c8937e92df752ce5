//! Computes a stored verdict again from its evidence: from the frame to the input, to the scores, to the verdict.
//!
//! Guarantees: each step starts from the stored result of the step before, and its own result is compared with the stored
//! one. So a difference shows in which step it arose. The verdict is also computed from the recomputed scores. Draws are made
//! with the stored seed, in model calls of the stored sizes, because ONNX Runtime gives equal bits only for equal shapes.
//! [`mod@circumstances`] lists what may change the last bits without being a fault, such as another processor.
//! Leaves out: the empirical score and the heat map, on which no verdict depends. A deadline or a failed model call is not
//! repeated: it is taken from the log, and only the draws before it are computed again.
//! Costs: as many model calls as the inspection; without evidence, microseconds.

mod circumstances;
mod decision;
mod recompute;
mod report;
mod yardstick;

pub(crate) use circumstances::{Circumstance, circumstances};
pub(crate) use recompute::{VerificationModel, findings_in, needs_model, verify};
pub(crate) use report::{DrawingEnd, Finding, Outcome, VerificationReport, VerificationStep};
