//! Recomputes a stored verdict from its evidence: from the frame to the input, the scores, the verdict.
//!
//! Guarantees: every step is compared with what was stored for it and starts from what was stored before it, so a
//! difference shows where it arose; draws are made with the stored seed in model calls of the stored sizes, since
//! ONNX Runtime promises equal bits for equal shapes only. What may change bits without anybody's fault is named by
//! [`circumstances`], before anything is compared.
//! Leaves out: the empirical score and the heat map, on which no verdict depends; whether a deadline or a failing
//! model call could be repeated: they are taken from the log, and the draws that came before them are followed.
//! Costs: the inspection's own model calls; without evidence, microseconds.

mod decision;

use std::path::Path;

use crate::bundle::golden::difference;
use crate::bundle::tensors::Tensors;
use crate::bundle::{Bundle, BundleError};
use crate::capture::decode::decode;
use crate::detector::{Detector, PRECISION};
use crate::diffusion::onnx::ProviderReport;
use crate::evidence::Files;
use crate::inspection::{Inspection, Parameters};
use crate::machine;
use crate::preprocess::{Input, InputShape, Prepared, Preprocessor};
use crate::smoothing::CertifiedScore;
use crate::store::Record;
use crate::verdict::{Reason, Verdict};

pub use decision::Ending;

/// Something that was otherwise when the part was inspected, and may change bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstance {
    pub what: &'static str,
    /// Empty where the log does not know.
    pub stored: String,
    pub here: String,
}

/// Every difference between then and now; `model`: what computes here, where draws are computed at all.
pub fn circumstances(record: &Record, model: Option<(&Bundle, &ProviderReport)>) -> Vec<Circumstance> {
    let then = &*record.inspection.parameters;
    let mut list = vec![("certiscope", record.version.clone(), env!("CARGO_PKG_VERSION").to_owned())];
    if let Some((bundle, provider)) = model {
        list.extend([
            ("bundle.toml sha256", then.bundle_sha256.clone(), bundle.sha256.clone()),
            ("model sha256", then.model_sha256.clone(), bundle.manifest.model.sha256.clone()),
            ("ONNX Runtime", then.onnxruntime.clone(), provider.onnxruntime.clone()),
            ("provider", then.provider.clone(), provider.active.word().to_owned()),
            ("precision", then.precision.clone(), PRECISION.to_owned()),
            ("processor", then.cpu.clone(), machine::cpu_name()),
            ("threads", then.threads.to_string(), provider.threads.to_string()),
        ]);
    }
    list.into_iter()
        .filter(|(_, stored, here)| stored != here)
        .map(|(what, stored, here)| Circumstance { what, stored, here })
        .collect()
}

/// What one step of the recomputation came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
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
pub enum Step {
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
pub enum Outcome {
    Bits,
    Tolerance,
    /// What is still there holds.
    Gone,
    Different,
}

/// A recomputed inspection.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub steps: Vec<(Step, Finding)>,
    /// `None` where the stored draws contradict the rule.
    pub ending: Option<Ending>,
}

impl Report {
    pub fn outcome(&self) -> Outcome {
        let outcomes = self.steps.iter().map(|(_, finding)| match finding {
            Finding::Equal => Outcome::Bits,
            Finding::Within { .. } => Outcome::Tolerance,
            Finding::Gone(_) => Outcome::Gone,
            Finding::Different(_) => Outcome::Different,
        });
        outcomes.max().unwrap_or(Outcome::Gone)
    }
}

/// How far apart two scores may lie.
#[derive(Debug, Clone, Copy)]
struct Yardstick {
    /// Standard deviation of normal scores.
    spread: f64,
    /// As a share of the spread (of the score, where larger).
    tolerance: f64,
}

impl Yardstick {
    /// For scores that were not computed again.
    const BITS: Self = Self { spread: 1.0, tolerance: 0.0 };

    /// The difference as such a share; 0 for equal bits and for two values that are no numbers, NaN for one of them.
    fn difference(self, score: f32, stored: f32) -> f64 {
        let equal = score.to_bits() == stored.to_bits() || (score.is_nan() && stored.is_nan());
        if equal { 0.0 } else { difference(score, stored, self.spread) }
    }

    fn allows(self, difference: f64) -> bool {
        difference <= self.tolerance
    }

    fn finding(self, worst: f64) -> Finding {
        if worst == 0.0 { Finding::Equal } else { Finding::Within { worst, tolerance: self.tolerance } }
    }
}

/// The bundle that the inspection names, with its model open.
pub struct Model<'a> {
    bundle: &'a Bundle,
    detector: &'a mut Detector,
    yardstick: Yardstick,
}

impl<'a> Model<'a> {
    /// `detector` must make the largest of the stored model calls as one.
    pub fn new(bundle: &'a Bundle, detector: &'a mut Detector) -> Result<Self, BundleError> {
        bundle.calibrated()?;
        let manifest = &bundle.manifest;
        let spread = manifest.calibration.as_ref().map_or(manifest.golden.raw_spread, |it| it.score_spread);
        let tolerance = manifest.golden.tolerance.get(PRECISION).copied().unwrap_or_default();
        Ok(Self { bundle, detector, yardstick: Yardstick { spread, tolerance } })
    }
}

/// Whether draws can be computed again: there were some, and an input or a frame is kept.
pub fn needs_model(inspection: &Inspection, evidence: Option<&Files>) -> bool {
    !inspection.scores.is_empty()
        && evidence.is_some_and(|files| files.input.is_some() || files.frame.is_some())
}

/// Follows a stored inspection again, as far as its evidence goes; `model` where [`needs_model`] says so.
pub fn verify(inspection: &Inspection, evidence: Option<&Files>, model: Option<Model<'_>>) -> Report {
    let parameters = &*inspection.parameters;
    let picture = match evidence.and_then(|files| files.frame.as_deref()) {
        Some(path) => prepared(path, parameters),
        None => Err(NoInput::Gone("no frame is kept".to_owned())),
    };
    if inspection.verdict == Verdict::Abstain(Reason::BadFrame) {
        let steps = vec![(Step::FrameToFault, same_fault(inspection, &picture))];
        return Report { steps, ending: Some(Ending::BadFrame) };
    }
    let kept = evidence.and_then(|files| files.input.as_deref()).map(|path| kept_input(path, parameters));
    let mut steps = vec![(Step::FrameToInput, same_input(inspection, &picture, kept.as_ref()))];
    let norm = picture.as_ref().ok().map(|prepared| prepared.norm);
    let input = kept.and_then(Result::ok).or(picture.ok().map(|prepared| prepared.input));
    let mut recomputed = None;
    match (model, input) {
        (Some(Model { bundle, detector, yardstick }), Some(input)) => {
            steps.insert(0, (Step::Parameters, same_parameters(bundle, parameters)));
            let drawn = draw_again(inspection, &input, detector);
            steps.push((Step::InputToScores, same_scores(&inspection.scores, &drawn, yardstick)));
            recomputed = drawn.ok().map(|scores| (scores, yardstick));
        }
        _ if inspection.scores.is_empty() => {}
        _ => steps.push((Step::InputToScores, Finding::Gone("no input is kept".to_owned()))),
    }

    let stored: Vec<_> = inspection.scores.iter().map(|&score| CertifiedScore::stored(score)).collect();
    let followed = decision::follow(inspection, &stored);
    let ending = followed.as_ref().ok().map(|followed| followed.ending);
    let same = decision::same(inspection, &followed, norm, Yardstick::BITS);
    steps.push((Step::StoredScoresToVerdict, same));
    if let Some((scores, yardstick)) = recomputed {
        let followed = decision::follow(inspection, &scores);
        let same = decision::same(inspection, &followed, norm, yardstick);
        steps.push((Step::RecomputedScoresToVerdict, same));
    }
    Report { steps, ending }
}

/// Why a kept frame gives no input.
enum NoInput {
    Gone(String),
    /// In the words of a fault of an inspection, without the name that the frame had.
    Bad(String),
}

fn prepared(path: &Path, parameters: &Parameters) -> Result<Prepared, NoInput> {
    // A fault reads `frame: NAME: why`; the name was that of the file it came from.
    const NAME: &str = "kept";
    let bytes = std::fs::read(path).map_err(|error| NoInput::Gone(format!("{}: {error}", path.display())))?;
    let picture = decode(NAME, &bytes)
        .map_err(|bad| NoInput::Bad(bad.to_string().replacen(&format!("frame: {NAME}: "), "", 1)))?;
    let [channels, height, width] = parameters.input;
    Preprocessor::new(InputShape { channels, height, width }, parameters.region)
        .apply(&picture)
        .map_err(|error| NoInput::Bad(error.to_string()))
}

fn same_fault(inspection: &Inspection, picture: &Result<Prepared, NoInput>) -> Finding {
    let fault = inspection.fault.as_deref().unwrap_or_default();
    if inspection.certificate.is_some() || !inspection.scores.is_empty() {
        return Finding::Different("a frame that cannot be inspected has draws in the log".to_owned());
    }
    match picture {
        Err(NoInput::Bad(why)) if fault.ends_with(why.as_str()) => Finding::Equal,
        Err(NoInput::Bad(why)) => Finding::Different(format!("the log says `{fault}`, here `{why}`")),
        Err(NoInput::Gone(what)) => Finding::Gone(what.clone()),
        Ok(_) => Finding::Different(format!("the log says `{fault}`, here the frame can be inspected")),
    }
}

fn kept_input(path: &Path, parameters: &Parameters) -> Result<Input, String> {
    let values = Tensors::read(path)
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
        // A model call that never came back leaves a frame without an input.
        (Ok(_), None) if inspection.scores.is_empty() => Finding::Equal,
        (Ok(_), None) => Finding::Gone("no input is kept; the frame's stands in for it".to_owned()),
        (Ok(prepared), Some(Ok(kept))) => {
            let pairs = prepared.input.view();
            let apart = pairs.iter().zip(kept.view()).filter(|(here, kept)| here.to_bits() != kept.to_bits());
            match apart.count() {
                0 => Finding::Equal,
                count => Finding::Different(format!(
                    "{count} of {} values of the kept input are not those of the kept frame",
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

/// The draws of the stored seed, in model calls of the stored sizes.
fn draw_again(
    inspection: &Inspection,
    input: &Input,
    detector: &mut Detector,
) -> Result<Vec<CertifiedScore>, String> {
    let mut scores = Vec::with_capacity(inspection.scores.len());
    for &draws in &inspection.batches {
        let start = scores.len() as u32;
        let pairs = detector
            .reconstruct(input, inspection.seed, start..start.saturating_add(draws))
            .map_err(|error| error.to_string())?;
        scores.extend(pairs.iter().map(|pair| detector.certified(pair)));
    }
    Ok(scores)
}

fn same_scores(stored: &[f32], drawn: &Result<Vec<CertifiedScore>, String>, yardstick: Yardstick) -> Finding {
    let drawn = match drawn {
        Err(why) => return Finding::Different(format!("the model fails here: {why}")),
        Ok(drawn) if drawn.len() != stored.len() => {
            return Finding::Different(format!("{} scores in calls of {} draws", stored.len(), drawn.len()));
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
