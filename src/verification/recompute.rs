//! The recomputation itself: frame to input, input to scores, scores to verdict.

use std::path::Path;

use super::decision;
use super::report::{DrawingEnd, Finding, VerificationReport, VerificationStep};
use super::yardstick::Yardstick;
use crate::bundle::{Bundle, BundleError};
use crate::capture::decode::{DecodeLimits, decode};
use crate::computation::PRECISION;
use crate::detector::Detector;
use crate::evidence::{Files, INPUT};
use crate::inspection::{Inspection, Parameters};
use crate::picture_range::prepare;
use crate::preprocess::{Input, InputShape, Prepared, Preprocessor};
use crate::score::CertifiedScore;
use crate::tensors::{TensorError, Tensors};
use crate::verdict::{Reason, Verdict};

/// The bundle that the inspection names, with its model open.
pub(crate) struct VerificationModel<'a> {
    bundle: &'a Bundle,
    detector: &'a mut Detector,
    yardstick: Yardstick,
}

impl<'a> VerificationModel<'a> {
    /// The batch of `detector` must be at least the largest of the stored model calls.
    pub(crate) fn new(bundle: &'a Bundle, detector: &'a mut Detector) -> Result<Self, BundleError> {
        bundle.calibrated()?;
        let manifest = &bundle.manifest;
        let spread = manifest.calibration.as_ref().map_or(manifest.golden.raw_spread, |it| it.score_spread);
        let tolerance = manifest.golden.tolerance.get(PRECISION).copied().unwrap_or_default();
        Ok(Self { bundle, detector, yardstick: Yardstick { spread, tolerance } })
    }
}

/// Whether draws can be computed again: draws were made, and an input or a frame is kept.
pub(crate) fn needs_model(inspection: &Inspection, evidence: Option<&Files>) -> bool {
    !inspection.scores.is_empty()
        && evidence.is_some_and(|files| files.input.is_some() || files.frame.is_some())
}

/// Computes a stored inspection again, as far as its evidence allows. Needs `model` if [`needs_model`] returns true.
///
/// `bundle` is the one that the inspection names, or why it is not there: the value of white in 16-bit pictures and the range of
/// the calibration pictures are in it.
pub(crate) fn verify(
    inspection: &Inspection,
    evidence: Option<&Files>,
    bundle: Result<&Bundle, &str>,
    model: Option<VerificationModel<'_>>,
) -> VerificationReport {
    let parameters = &*inspection.parameters;
    let picture = match evidence.and_then(|files| files.frame.as_deref()) {
        Some(path) => prepared(path, parameters, bundle),
        None => Err(NoInput::Gone("no frame is kept".to_owned())),
    };
    if inspection.verdict == Verdict::Abstain(Reason::BadFrame) {
        let steps = vec![(VerificationStep::FrameToFault, same_fault(inspection, &picture, bundle))];
        return VerificationReport { steps, ending: Some(DrawingEnd::BadFrame) };
    }
    let kept = evidence.and_then(|files| files.input.as_deref()).map(|path| kept_input(path, parameters));
    let mut steps = vec![(VerificationStep::FrameToInput, same_input(inspection, &picture, kept.as_ref()))];
    let norm = picture.as_ref().ok().map(|prepared| prepared.norm);
    let input = kept.and_then(Result::ok).or(picture.ok().map(|prepared| prepared.input));
    let mut recomputed = None;
    match (model, input) {
        (Some(VerificationModel { bundle, detector, yardstick }), Some(input)) => {
            steps.insert(0, (VerificationStep::Parameters, same_parameters(bundle, parameters)));
            let drawn = draw_again(inspection, &input, detector);
            steps.push((VerificationStep::InputToScores, same_scores(&inspection.scores, &drawn, yardstick)));
            recomputed = drawn.ok().map(|scores| (scores, yardstick));
        }
        _ if inspection.scores.is_empty() => {}
        _ => steps.push((VerificationStep::InputToScores, Finding::Gone("no input is kept".to_owned()))),
    }

    let stored: Vec<_> = inspection.scores.iter().map(|&score| CertifiedScore::stored(score)).collect();
    let applied = decision::apply_rule(inspection, &stored);
    let ending = applied.as_ref().ok().map(|applied| applied.ending);
    let same = decision::compare(inspection, &applied, norm, Yardstick::BITS);
    steps.push((VerificationStep::StoredScoresToVerdict, same));
    if let Some((scores, yardstick)) = recomputed {
        let applied = decision::apply_rule(inspection, &scores);
        let same = decision::compare(inspection, &applied, norm, yardstick);
        steps.push((VerificationStep::RecomputedScoresToVerdict, same));
    }
    VerificationReport { steps, ending }
}

/// For the fuzz target `evidence`: what is found of a kept frame and a kept input with this content.
pub(crate) fn findings_in(
    inspection: &Inspection,
    frame: &[u8],
    limits: DecodeLimits,
    input: &[u8],
) -> [Finding; 2] {
    let parameters = &*inspection.parameters;
    let bundle = Err("none is given");
    let picture = prepared_from(frame, limits, parameters, bundle);
    let kept = input_of(Tensors::parse(Path::new(INPUT), input), parameters);
    [same_fault(inspection, &picture, bundle), same_input(inspection, &picture, Some(&kept))]
}

/// Why there is no input from a kept frame.
enum NoInput {
    /// The frame is not there.
    Gone(String),
    /// The frame cannot be inspected. The text is that of an inspection's fault, without the name of the frame.
    Bad(String),
}

fn prepared(
    path: &Path,
    parameters: &Parameters,
    bundle: Result<&Bundle, &str>,
) -> Result<Prepared, NoInput> {
    let bytes = std::fs::read(path).map_err(|error| NoInput::Gone(format!("{}: {error}", path.display())))?;
    prepared_from(&bytes, DecodeLimits::default(), parameters, bundle)
}

fn prepared_from(
    bytes: &[u8],
    limits: DecodeLimits,
    parameters: &Parameters,
    bundle: Result<&Bundle, &str>,
) -> Result<Prepared, NoInput> {
    // A fault has the form `frame: NAME: why`, where NAME was the file that the frame came from.
    const NAME: &str = "kept";
    let picture = decode(NAME, bytes, limits)
        .map_err(|bad| NoInput::Bad(bad.to_string().replacen(&format!("frame: {NAME}: "), "", 1)))?;
    let prepared = match bundle {
        Ok(bundle) => {
            prepare(&picture, &bundle.preprocessor(parameters.region), bundle.picture_range().as_ref())
        }
        // Without it white is not known in 16 bits.
        Err(why) if picture.largest_of_sixteen_bits().is_some() => {
            return Err(NoInput::Gone(format!("the bundle: {why}")));
        }
        Err(_) => {
            let [channels, height, width] = parameters.input;
            let shape = InputShape { channels, height, width };
            prepare(&picture, &Preprocessor::new(shape, parameters.region), None)
        }
    };
    prepared.map_err(|error| NoInput::Bad(error.to_string()))
}

fn same_fault(
    inspection: &Inspection,
    picture: &Result<Prepared, NoInput>,
    bundle: Result<&Bundle, &str>,
) -> Finding {
    let fault = inspection.fault.as_deref().unwrap_or_default();
    if inspection.certificate.is_some() || !inspection.scores.is_empty() {
        return Finding::Different("a frame that cannot be inspected has draws in the log".to_owned());
    }
    match picture {
        Err(NoInput::Bad(why)) if fault.ends_with(why.as_str()) => Finding::Equal,
        Err(NoInput::Bad(why)) => Finding::Different(format!("the log says `{fault}`, here `{why}`")),
        Err(NoInput::Gone(what)) => Finding::Gone(what.clone()),
        Ok(_) => match bundle {
            Ok(_) => Finding::Different(format!("the log says `{fault}`, here the frame can be inspected")),
            Err(why) => Finding::Gone(format!("the bundle, which knows the range of its pictures: {why}")),
        },
    }
}

fn kept_input(path: &Path, parameters: &Parameters) -> Result<Input, String> {
    input_of(Tensors::read(path), parameters)
}

fn input_of(tensors: Result<Tensors, TensorError>, parameters: &Parameters) -> Result<Input, String> {
    let values = tensors
        .and_then(|tensors| tensors.get("input", &parameters.input))
        .map_err(|error| error.to_string())?;
    let values = values.into_dimensionality().expect("three dimensions were asked for");
    Input::from_unit_range(values).map_err(|error| error.to_string())
}

fn same_input(
    inspection: &Inspection,
    picture: &Result<Prepared, NoInput>,
    kept: Option<&Result<Input, String>>,
) -> Finding {
    match (picture, kept) {
        (_, Some(Err(why))) => Finding::Different(format!("the kept input is damaged: {why}")),
        (Err(NoInput::Gone(what)), _) => Finding::Gone(what.clone()),
        (Err(NoInput::Bad(why)), _) => {
            Finding::Different(format!("the kept frame cannot be inspected: {why}"))
        }
        // If a model call did not return, only the frame is kept, without an input.
        (Ok(_), None) if inspection.scores.is_empty() => Finding::Equal,
        (Ok(_), None) => Finding::Gone("no input is kept; the frame's is used instead".to_owned()),
        (Ok(prepared), Some(Ok(kept))) => {
            let pairs = prepared.input.view();
            let apart = pairs.iter().zip(kept.view()).filter(|(here, kept)| here.to_bits() != kept.to_bits());
            match apart.count() {
                0 => Finding::Equal,
                count => Finding::Different(format!(
                    "{count} of {} values of the kept input differ from those of the kept frame",
                    pairs.len()
                )),
            }
        }
    }
}

fn same_parameters(bundle: &Bundle, parameters: &Parameters) -> Finding {
    let threshold = bundle.calibrated.as_ref().map(|calibrated| calibrated.threshold);
    let apart = [
        (
            "threshold",
            parameters.threshold.to_string(),
            threshold.map_or_else(String::new, |it| it.to_string()),
        ),
        ("sigma", parameters.sigma.to_string(), bundle.level.sigma().to_string()),
        ("k", parameters.k.to_string(), bundle.level.k().0.to_string()),
        ("input", format!("{:?}", parameters.input), format!("{:?}", bundle.manifest.input_shape())),
    ]
    .into_iter()
    .find(|(_, stored, here)| stored != here);
    match apart {
        None => Finding::Equal,
        Some((what, stored, here)) => {
            Finding::Different(format!("{what} is {stored} in the log and {here} in the bundle"))
        }
    }
}

/// Makes the draws again, with the stored seed, in model calls of the stored sizes.
fn draw_again(
    inspection: &Inspection,
    input: &Input,
    detector: &mut Detector,
) -> Result<Vec<CertifiedScore>, String> {
    let mut draws = detector.draws(input, inspection.seed);
    let mut scores = Vec::with_capacity(inspection.scores.len());
    for &count in &inspection.batches {
        let call = draws.next(count).map_err(|error| error.to_string())?;
        scores.extend(call.iter().map(|pair| draws.detector().certified(pair)));
    }
    Ok(scores)
}

fn same_scores(stored: &[f32], drawn: &Result<Vec<CertifiedScore>, String>, yardstick: Yardstick) -> Finding {
    let drawn = match drawn {
        Err(why) => return Finding::Different(format!("the model fails here: {why}")),
        Ok(drawn) if drawn.len() != stored.len() => {
            return Finding::Different(format!(
                "{} scores are stored, but the stored model calls have {} draws",
                stored.len(),
                drawn.len()
            ));
        }
        Ok(drawn) => drawn,
    };
    let differences: Vec<f64> = drawn
        .iter()
        .zip(stored)
        .map(|(score, &stored)| yardstick.difference(score.value(), stored))
        .collect();
    let mut apart = (0..stored.len()).filter(|&at| !yardstick.allows(differences[at]));
    match apart.next() {
        None => yardstick.finding(differences.into_iter().fold(0.0, f64::max)),
        Some(at) => Finding::Different(format!(
            "{} of {} scores, first draw {}: {} in the log, {} here",
            1 + apart.count(),
            stored.len(),
            at + 1,
            stored[at],
            drawn[at].value()
        )),
    }
}
