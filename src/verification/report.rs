//! The result of a recomputation, step by step.

use crate::smoothing::StoppingState;

/// The result of one step of the recomputation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Finding {
    /// Equal bit for bit.
    Equal,
    /// Different, but within the tolerance. Both numbers are shares of the spread of normal scores, or of the score if that is
    /// larger; for a radius, shares of sigma.
    Within {
        worst: f64,
        tolerance: f64,
    },
    /// Not compared, because something is not there any more.
    Gone(String),
    Different(String),
}

/// The steps, in order. An inspection has only those that its draws and its evidence allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VerificationStep {
    /// The stored parameters must be those of the bundle.
    Parameters,
    /// The kept frame must give the kept input.
    FrameToInput,
    /// The kept frame must have the fault that was stored.
    FrameToFault,
    /// The kept input and the stored seed must give the stored scores.
    InputToScores,
    /// The stored scores must give the stored verdict.
    StoredScoresToVerdict,
    /// The recomputed scores must give the stored verdict.
    RecomputedScoresToVerdict,
}

/// The worst finding of all steps. Ordered from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Everything is equal bit for bit.
    Bits,
    /// Everything is equal within the tolerance.
    Tolerance,
    /// Something is not there any more; the rest is equal.
    Gone,
    /// Something is different.
    Different,
}

/// A recomputed inspection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VerificationReport {
    pub steps: Vec<(VerificationStep, Finding)>,
    /// `None` if the stored draws contradict the rule.
    pub ending: Option<DrawingEnd>,
}

impl VerificationReport {
    pub(crate) fn outcome(&self) -> Outcome {
        let outcomes = self.steps.iter().map(|(_, finding)| match finding {
            Finding::Equal => Outcome::Bits,
            Finding::Within { .. } => Outcome::Tolerance,
            Finding::Gone(_) => Outcome::Gone,
            Finding::Different(_) => Outcome::Different,
        });
        outcomes.max().unwrap_or(Outcome::Gone)
    }
}

/// Why no more draws were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrawingEnd {
    /// The frame was bad, so none were made.
    BadFrame,
    /// The rule stopped: the target radius was certified, could not be certified any more, or all draws were made.
    Rule(StoppingState),
    /// The deadline passed; taken from the log.
    Deadline,
    /// A score was not a number.
    NotANumber,
    /// A model call failed or did not return; taken from the log.
    CallFailed,
}
