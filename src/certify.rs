//! From a model input to its certificate: draw, score and count until the rule says stop.
//!
//! Guarantees: every draw that was made counts, in issue order, none is dropped or repeated; a model that fails, or
//! gives values that are not numbers, leaves a certificate without a side.
//! Leaves out: where the input comes from, deadlines and the pulse (the caller's, in `may_go_on`), pictures for people
//! (the caller's, in `see`).
//! Costs: one model call per batch of draws; everything else is below a millisecond at 64x64.

use crate::detector::{Detector, call_size};
use crate::diffusion::reconstruct::Reconstruction;
use crate::diffusion::seed::FrameSeed;
use crate::preprocess::Input;
use crate::score::ScoredDraw;
use crate::smoothing::{Certificate, SequentialRule, SequentialRun, StoppingState};
use crate::verdict::{Reason, Verdict};

/// The draws of one input, and what they certify.
#[derive(Debug, Clone)]
pub struct CertifiedDraws {
    pub certificate: Certificate,
    /// Score of every draw, in issue order (NaN where the model gave one).
    pub scores: Vec<f32>,
    /// Draws per model call, in issue order; sums to `scores.len()`.
    pub batches: Vec<u32>,
    /// Why there is no verdict, if the certificate has no side.
    pub otherwise: Reason,
    /// For a person: how the model failed, if it did.
    pub fault: Option<String>,
}

impl CertifiedDraws {
    pub fn verdict(&self) -> Verdict {
        Verdict::from_certificate(&self.certificate, self.otherwise)
    }
}

/// Draws with the noise of `seed` until the certificate is settled, hopeless or out of draws, or until `may_go_on`,
/// which is asked before each model call, gives a reason to stop. `see` is shown every draw.
pub fn certify(
    detector: &mut Detector,
    rule: &SequentialRule,
    input: &Input,
    seed: FrameSeed,
    mut may_go_on: impl FnMut() -> Result<(), Reason>,
    mut see: impl FnMut(Reconstruction, ScoredDraw),
) -> CertifiedDraws {
    let mut run = SequentialRun::new(rule);
    let (mut scores, mut batches) = (Vec::new(), Vec::new());
    let (mut otherwise, mut fault) = (Reason::Undecided, None);
    let mut draws = detector.draws(input, seed);
    while run.state() == StoppingState::Continue && fault.is_none() {
        if let Err(reason) = may_go_on() {
            otherwise = reason;
            break;
        }
        let size = call_size(draws.detector().batch(), rule.max_draws() - run.draws());
        match draws.next(size) {
            Ok(batch) => {
                for reconstruction in batch {
                    let scored = draws.detector().score(&reconstruction);
                    run.count_against_threshold(scored.score);
                    scores.push(scored.score.value());
                    see(reconstruction, scored);
                }
                batches.push(size);
                if scores.iter().any(|score| score.is_nan()) {
                    fault = Some("model: scores that are not numbers".to_owned());
                }
            }
            Err(error) => fault = Some(error.to_string()),
        }
    }
    let mut certificate = run.certificate();
    if fault.is_some() {
        // What was claimed before the fault may be sound, but nothing is built on a model that fails.
        otherwise = Reason::ModelFault;
        certificate.withdraw();
    }
    CertifiedDraws { certificate, scores, batches, otherwise, fault }
}
