//! Recomputes a stored verdict from its evidence: from the frame to the input, the scores, the verdict.
//!
//! Guarantees: every step is compared with what was stored for it and starts from what was stored before it, so a
//! difference shows where it arose; draws are made with the stored seed in model calls of the stored sizes, since
//! ONNX Runtime promises equal bits for equal shapes only. What may change bits without anybody's fault is named by
//! [`circumstances`], before anything is compared.
//! Leaves out: the empirical score and the heat map, on which no verdict depends; whether a deadline or a failing
//! model call could be repeated: they are taken from the log, and the draws that came before them are followed.
//! Costs: the inspection's own model calls; without evidence, microseconds.

mod circumstances;
mod decision;
mod recompute;
mod report;
mod yardstick;

pub(crate) use circumstances::{Circumstance, circumstances};
pub(crate) use recompute::{VerificationModel, needs_model, verify};
pub(crate) use report::{DrawingEnd, Finding, Outcome, VerificationReport, VerificationStep};
