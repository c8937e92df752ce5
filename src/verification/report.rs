//! What a recomputation found, step by step.

use crate::smoothing::StoppingState;

/// What one step of the recomputation came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Finding {
    /// Bit for bit.
    Equal,
    /// Shares of the spread of normal scores (of the score, where larger); for a radius, of sigma.
    Within {
        worst: f64,
        tolerance: f64,
    },
    /// What cannot be compared, since it is not there any more.
    Gone(String),
    Different(String),
}

/// The steps, in order; an inspection has those that its draws and its evidence allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VerificationStep {
    /// The stored parameters are those of the bundle.
    Parameters,
    /// The kept frame gives the kept input.
    FrameToInput,
    /// The kept frame is bad in the way that was stored.
    FrameToFault,
    /// The kept input and the stored seed give the stored scores.
    InputToScores,
    /// The stored scores give the stored verdict.
    StoredScoresToVerdict,
    /// The recomputed scores give the stored verdict.
    RecomputedScoresToVerdict,
}

/// What all steps together say, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Bits,
    Tolerance,
    /// What is still there holds.
    Gone,
    Different,
}

/// A recomputed inspection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VerificationReport {
    pub steps: Vec<(VerificationStep, Finding)>,
    /// `None` where the stored draws contradict the rule.
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
    /// The picture allowed none.
    BadFrame,
    /// The target radius was reached, could not be reached any more, or the draws were spent.
    Rule(StoppingState),
    /// The clock said so: taken from the log.
    Deadline,
    /// Scores that are not numbers.
    NotANumber,
    /// A model call failed, or did not come back: taken from the log.
    CallFailed,
}
