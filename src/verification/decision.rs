//! Computes the verdict again from scores: applies the sequential rule with the stored parameters, and compares the result.

use std::fmt::Debug;

use super::report::{DrawingEnd, Finding};
use super::yardstick::Yardstick;
use crate::detector::call_size;
use crate::inspection::Inspection;
use crate::score::CertifiedScore;
use crate::smoothing::{Certificate, SequentialRule, SequentialRun, StoppingState};
use crate::verdict::{Reason, Verdict};

/// How much a radius may differ between two machines because of their logarithms, in units of sigma.
const RADIUS_ROUNDING: f64 = 1e-9;

/// The result of applying the rule to a list of scores.
pub(super) struct AppliedRule {
    certificate: Certificate,
    verdict: Verdict,
    pub(super) ending: DrawingEnd,
}

/// Applies the rule to `scores`, one stored model call after the other. An error if the rule would have made other calls.
pub(super) fn apply_rule(inspection: &Inspection, scores: &[CertifiedScore]) -> Result<AppliedRule, String> {
    let parameters = &*inspection.parameters;
    let rule = SequentialRule::new(&parameters.rule, parameters.threshold, parameters.sigma)
        .map_err(|error| error.to_string())?;
    let mut run = SequentialRun::new(&rule);
    let mut rest = scores;
    for &draws in &inspection.batches {
        let done = run.draws();
        let not_a_number = scores[..done as usize].iter().any(|score| score.value().is_nan());
        if run.state() != StoppingState::Continue || not_a_number {
            return Err(format!("the rule stops after {done} draws; the log holds {}", scores.len()));
        }
        // Rows written by schema version 1 do not have the batch size.
        let expected = call_size(parameters.batch, rule.max_draws() - done);
        if parameters.batch > 0 && draws != expected {
            return Err(format!(
                "a model call of {draws} draws after {done}; the rule makes one of {expected}"
            ));
        }
        let (call, after) = rest
            .split_at_checked(draws as usize)
            .ok_or_else(|| format!("{} scores are fewer than the draws of the model calls", scores.len()))?;
        call.iter().for_each(|score| run.count_against_threshold(*score));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(format!("{} scores are more than the draws of the model calls", scores.len()));
    }
    let ending = if scores.iter().any(|score| score.value().is_nan()) {
        DrawingEnd::NotANumber
    } else if inspection.verdict == Verdict::Abstain(Reason::ModelFault) {
        DrawingEnd::CallFailed
    } else if run.state() != StoppingState::Continue {
        DrawingEnd::Rule(run.state())
    } else if parameters.deadline_ms.is_some() {
        DrawingEnd::Deadline
    } else {
        return Err(format!(
            "the rule would continue after {} draws, and there was no deadline",
            run.draws()
        ));
    };
    let mut certificate = run.certificate();
    let otherwise = match ending {
        DrawingEnd::Rule(_) => Reason::Undecided,
        DrawingEnd::Deadline => Reason::Deadline,
        DrawingEnd::BadFrame => Reason::BadFrame,
        DrawingEnd::NotANumber | DrawingEnd::CallFailed => {
            certificate.withdraw();
            Reason::ModelFault
        }
    };
    let verdict = Verdict::from_certificate(&certificate, otherwise);
    Ok(AppliedRule { certificate, verdict, ending })
}

/// Compares the result with what is stored. `norm` is the norm of the map from the frame to the input, if the frame is there.
pub(super) fn compare(
    inspection: &Inspection,
    applied: &Result<AppliedRule, String>,
    norm: Option<f64>,
    yardstick: Yardstick,
) -> Finding {
    let AppliedRule { certificate: here, verdict, .. } = match applied {
        Ok(applied) => applied,
        Err(why) => return Finding::Different(why.clone()),
    };
    if *verdict != inspection.verdict {
        return different("verdict", Some(inspection.verdict), Some(*verdict));
    }
    let Some(stored) = &inspection.certificate else {
        // Before the first draw nothing is certified.
        return if here.draws == 0 { Finding::Equal } else { different("draws", Some(0), Some(here.draws)) };
    };
    if stored.side != here.side {
        return different("side", stored.side, here.side);
    }
    let counts = |it: &Certificate| [it.draws, it.above, it.not_a_number];
    if counts(stored) != counts(here) {
        return different(
            "[draws, above the threshold, not a number]",
            Some(counts(stored)),
            Some(counts(here)),
        );
    }
    let mut radii = vec![("radius", Some(stored.radius), Some(here.radius))];
    if let Some(norm) = norm {
        radii.push(("frame_radius", inspection.frame_radius, here.frame_radius(norm)));
    }
    let mut worst = Finding::Equal;
    for (what, stored, here) in radii {
        let difference = match (stored, here) {
            _ if stored.map(f64::to_bits) == here.map(f64::to_bits) => continue,
            (Some(stored), Some(here)) => (stored - here).abs() / inspection.parameters.sigma,
            _ => f64::INFINITY,
        };
        if difference.is_nan() || difference > RADIUS_ROUNDING {
            return different(what, stored, here);
        }
        worst = Finding::Within { worst: difference, tolerance: RADIUS_ROUNDING };
    }
    let mut largest = 0.0;
    for (what, stored, here) in [
        ("score", stored.score, here.score),
        ("score_lower", stored.score_lower, here.score_lower),
        ("score_upper", stored.score_upper, here.score_upper),
    ] {
        match (stored, here) {
            (None, None) => {}
            (Some(value), Some(other)) if yardstick.allows(yardstick.difference(other, value)) => {
                largest = yardstick.difference(other, value).max(largest);
            }
            _ => return different(what, stored, here),
        }
    }
    if largest > 0.0 { yardstick.finding(largest) } else { worst }
}

fn different<T: Debug>(what: &str, stored: Option<T>, here: Option<T>) -> Finding {
    let shown = |value: Option<T>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:?}"));
    Finding::Different(format!("{what}: {} in the log, {} here", shown(stored), shown(here)))
}
