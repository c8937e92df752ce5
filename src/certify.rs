//! From a model input to its certificate: makes draws, scores them and counts the scores until the rule stops.
//!
//! Guarantees: every draw counts, in the order they were made; none is dropped or repeated. If the model fails, or a score is
//! not a number, the certificate has no side.
//! Leaves out: where the input comes from; deadlines and the pulse, which the caller adds with `may_go_on`; heat maps, which
//! the caller adds with `see`.
//! Costs: one model call per batch of draws; everything else is below a millisecond at 64x64.

use crate::detector::{Detector, call_size};
use crate::diffusion::reconstruct::Reconstruction;
use crate::diffusion::seed::FrameSeed;
use crate::preprocess::Input;
use crate::score::ScoredDraw;
use crate::smoothing::{Certificate, SequentialRule, SequentialRun, StoppingState};
use crate::verdict::{Reason, Verdict};

/// The result of the draws of one input.
#[derive(Debug, Clone)]
pub struct CertifiedDraws {
    pub certificate: Certificate,
    /// The score of every draw, in the order they were made. NaN if the model gave NaN.
    pub scores: Vec<f32>,
    /// The number of draws of each model call, in the order of the calls. The sum is `scores.len()`.
    pub batches: Vec<u32>,
    /// The reason of the verdict abstain, if the certificate has no side.
    pub otherwise: Reason,
    /// How the model failed, for people; `None` if it did not.
    pub fault: Option<String>,
}

impl CertifiedDraws {
    pub fn verdict(&self) -> Verdict {
        Verdict::from_certificate(&self.certificate, self.otherwise)
    }
}

/// Makes draws with the noise of `seed` until the target radius is certified, cannot be certified any more, or all draws are
/// made. `may_go_on` is called before each model call and can give a reason to stop. `see` is called with every draw.
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
        // What was certified before the fault may be sound, but nothing is certified with a model that fails.
        otherwise = Reason::ModelFault;
        certificate.withdraw();
    }
    CertifiedDraws { certificate, scores, batches, otherwise, fault }
}
