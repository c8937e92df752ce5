//! Writes an [`Inspection`] and its [`Parameters`] to their tables, and reads them back.
//!
//! Guarantees: what is read back is what was written. Every field is kept and every number is exact: an f32 fits into
//! SQLite's REAL without loss, and the bits of the scores are stored as a blob, so that a NaN survives. Equal parameters
//! share one row. A row that cannot be understood is an error that names the column.

use std::fmt::Display;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Result, Row, named_params};

use super::identity::Origin;
use crate::computation::Computation;
use crate::diffusion::seed::FrameSeed;
use crate::inspection::{Evidence, Inspection, Latency, Parameters};
use crate::smoothing::{Certificate, Prior, RuleSettings, Side};
use crate::verdict::{Reason, Verdict};

/// Returns the row of these parameters. Inserts it if there is none yet.
pub(super) fn parameters_row(connection: &Connection, parameters: &Parameters) -> Result<i64> {
    const COLUMNS: &str = "model, model_sha256, channels, height, width, k, sigma, threshold, alpha, target_radius, \
         required_radius, max_draws, deadline_ms, prior, provider, precision, onnxruntime, recipe, bundle_sha256, \
         batch, threads, cpu, region";
    const VALUES: &str = ":model, :model_sha256, :channels, :height, :width, :k, :sigma, :threshold, :alpha, \
         :target_radius, :required_radius, :max_draws, :deadline_ms, :prior, :provider, :precision, :onnxruntime, :recipe, \
         :bundle_sha256, :batch, :threads, :cpu, :region";
    let [channels, height, width] = parameters.input.map(|axis| axis as i64);
    let prior: Vec<u8> =
        parameters.rule.prior.components().iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    let values = named_params! {
        ":model": parameters.model,
        ":model_sha256": parameters.model_sha256,
        ":channels": channels,
        ":height": height,
        ":width": width,
        ":k": parameters.k as i64,
        ":sigma": parameters.sigma,
        ":threshold": parameters.threshold,
        ":alpha": parameters.rule.alpha,
        ":target_radius": parameters.rule.target_radius,
        ":required_radius": parameters.required_radius,
        ":max_draws": parameters.rule.max_draws,
        ":deadline_ms": parameters.deadline_ms.map(|limit| limit as i64),
        ":prior": prior,
        ":provider": parameters.computation.provider,
        ":precision": parameters.computation.precision,
        ":onnxruntime": parameters.computation.onnxruntime,
        ":recipe": parameters.recipe,
        ":bundle_sha256": parameters.bundle_sha256,
        ":batch": parameters.batch,
        ":threads": parameters.computation.threads as i64,
        ":cpu": parameters.computation.cpu,
        ":region": parameters.region.map(|region| region.to_string()),
    };
    // `IS`, not a UNIQUE key: two NULLs (no deadline, no recipe) are the same here.
    connection
        .prepare_cached(&format!(
            "INSERT INTO parameters ({COLUMNS}) SELECT {VALUES}
             WHERE NOT EXISTS (SELECT 1 FROM parameters WHERE ({COLUMNS}) IS ({VALUES}))"
        ))?
        .execute(values)?;
    connection
        .prepare_cached(&format!("SELECT id FROM parameters WHERE ({COLUMNS}) IS ({VALUES})"))?
        .query_row(values, |row| row.get(0))
}

/// Writes the inspection and returns its row.
pub(super) fn insert(
    connection: &Connection,
    origin: &Origin,
    seq: i64,
    inspection: &Inspection,
    parameters_id: i64,
) -> Result<i64> {
    let certificate = inspection.certificate.as_ref();
    let side = certificate.and_then(|certificate| certificate.side).map(side_word);
    let scores: Vec<u8> = inspection.scores.iter().flat_map(|score| score.to_le_bytes()).collect();
    let batches: Vec<u8> = inspection.batches.iter().flat_map(|draws| draws.to_le_bytes()).collect();
    connection
        .prepare_cached(
            "INSERT INTO inspection (boot_id, station, seq, captured_at_us, source_seq, part_id, meas_id, verdict,
                 reason, fault, side, radius, draws, above, not_a_number, score, score_lower, score_upper,
                 empirical_score, frame_radius, seed, scores, batches, frame_width, frame_height, capture_ms,
                 queue_ms, infer_ms, total_ms, evidence, evidence_bytes, parameters_id, message)
             VALUES (:boot_id, :station, :seq, :captured_at_us, :source_seq, :part_id, :meas_id, :verdict,
                 :reason, :fault, :side, :radius, :draws, :above, :not_a_number, :score, :score_lower, :score_upper,
                 :empirical_score, :frame_radius, :seed, :scores, :batches, :frame_width, :frame_height, :capture_ms,
                 :queue_ms, :infer_ms, :total_ms, :evidence, :evidence_bytes, :parameters_id, '')",
        )?
        .insert(named_params! {
            ":boot_id": origin.boot_id.to_string(),
            ":station": &*origin.station,
            ":seq": seq,
            ":captured_at_us": inspection.captured_at.as_microsecond(),
            ":source_seq": inspection.source_seq as i64,
            ":part_id": inspection.part_id,
            ":meas_id": inspection.meas_id,
            ":verdict": inspection.verdict.word(),
            ":reason": inspection.verdict.reason().map(|reason| reason.word()),
            ":fault": inspection.fault,
            ":side": side,
            ":radius": certificate.map(|certificate| certificate.radius),
            ":draws": certificate.map(|certificate| certificate.draws),
            ":above": certificate.map(|certificate| certificate.above),
            ":not_a_number": certificate.map(|certificate| certificate.not_a_number),
            ":score": certificate.and_then(|certificate| certificate.score),
            ":score_lower": certificate.and_then(|certificate| certificate.score_lower),
            ":score_upper": certificate.and_then(|certificate| certificate.score_upper),
            ":empirical_score": inspection.empirical_score,
            ":frame_radius": inspection.frame_radius,
            ":seed": inspection.seed.0,
            ":scores": scores,
            ":batches": batches,
            ":frame_width": inspection.frame_px.map(|[width, _]| width),
            ":frame_height": inspection.frame_px.map(|[_, height]| height),
            ":capture_ms": inspection.latency.capture_ms,
            ":queue_ms": inspection.latency.queue_ms,
            ":infer_ms": inspection.latency.infer_ms,
            ":total_ms": inspection.latency.total_ms,
            ":evidence": inspection.evidence.as_ref().map(|evidence| &evidence.folder),
            ":evidence_bytes": inspection.evidence.as_ref().map(|evidence| evidence.bytes as i64),
            ":parameters_id": parameters_id,
        })
}

/// Parameters from a row of their table.
pub(super) fn parameters(row: &Row<'_>) -> Result<Parameters> {
    let axis = |column| row.get::<_, u32>(column).map(|axis| axis as usize);
    let region: Option<String> = row.get("region")?;
    let components: Vec<[f64; 3]> = numbers(row, "prior", f64::from_le_bytes)?
        .chunks_exact(3)
        .map(|beta| [beta[0], beta[1], beta[2]])
        .collect();
    Ok(Parameters {
        model: row.get("model")?,
        model_sha256: row.get("model_sha256")?,
        input: [axis("channels")?, axis("height")?, axis("width")?],
        k: axis("k")?,
        sigma: row.get("sigma")?,
        threshold: row.get("threshold")?,
        rule: RuleSettings {
            alpha: row.get("alpha")?,
            target_radius: row.get("target_radius")?,
            max_draws: row.get("max_draws")?,
            prior: Prior::new(&components).map_err(|why| refused(row, "prior", why))?,
        },
        required_radius: row.get("required_radius")?,
        deadline_ms: row.get::<_, Option<u32>>("deadline_ms")?.map(u64::from),
        computation: Computation {
            provider: row.get("provider")?,
            precision: row.get("precision")?,
            onnxruntime: row.get("onnxruntime")?,
            threads: axis("threads")?,
            cpu: row.get("cpu")?,
        },
        recipe: row.get("recipe")?,
        bundle_sha256: row.get("bundle_sha256")?,
        batch: row.get("batch")?,
        region: region.map(|region| region.parse().map_err(|why| refused(row, "region", why))).transpose()?,
    })
}

/// The inspection of a row whose parameters are known.
pub(super) fn inspection(row: &Row<'_>, parameters: Arc<Parameters>) -> Result<Inspection> {
    let folder: Option<String> = row.get("evidence")?;
    let bytes: Option<i64> = row.get("evidence_bytes")?;
    let frame_px: (Option<u32>, Option<u32>) = (row.get("frame_width")?, row.get("frame_height")?);
    let ms = |column| row.get::<_, Option<f64>>(column).map(Option::unwrap_or_default);
    Ok(Inspection {
        captured_at: time(row, "captured_at_us")?,
        source_seq: row.get::<_, i64>("source_seq")? as u64,
        part_id: row.get("part_id")?,
        meas_id: row.get("meas_id")?,
        verdict: verdict(row)?,
        certificate: certificate(row)?,
        empirical_score: row.get("empirical_score")?,
        frame_radius: row.get("frame_radius")?,
        fault: row.get("fault")?,
        seed: FrameSeed(row.get("seed")?),
        scores: numbers(row, "scores", f32::from_le_bytes)?,
        batches: numbers(row, "batches", u32::from_le_bytes)?,
        frame_px: frame_px.0.zip(frame_px.1).map(|(width, height)| [width, height]),
        latency: Latency {
            capture_ms: ms("capture_ms")?,
            queue_ms: ms("queue_ms")?,
            infer_ms: ms("infer_ms")?,
            total_ms: ms("total_ms")?,
        },
        // Rows written by schema version 1 have no size.
        evidence: folder.map(|folder| Evidence { folder, bytes: bytes.unwrap_or_default() as u64 }),
        parameters,
    })
}

fn certificate(row: &Row<'_>) -> Result<Option<Certificate>> {
    let Some(draws) = row.get("draws")? else {
        return Ok(None);
    };
    let side: Option<String> = row.get("side")?;
    let side = side
        .map(|word| {
            let named = Side::BOTH.into_iter().find(|side| side_word(*side) == word);
            named.ok_or_else(|| {
                refused(row, "side", format!("{word:?} is no side; allowed are normal and anomalous"))
            })
        })
        .transpose()?;
    Ok(Some(Certificate {
        side,
        radius: row.get("radius")?,
        draws,
        above: row.get("above")?,
        not_a_number: row.get("not_a_number")?,
        score: row.get("score")?,
        score_lower: row.get("score_lower")?,
        score_upper: row.get("score_upper")?,
    }))
}

fn verdict(row: &Row<'_>) -> Result<Verdict> {
    let (word, reason): (String, Option<String>) = (row.get("verdict")?, row.get("reason")?);
    let abstained = Reason::ALL.into_iter().map(Verdict::Abstain);
    [Verdict::Normal, Verdict::Anomalous]
        .into_iter()
        .chain(abstained)
        .find(|verdict| verdict.word() == word && verdict.reason().map(Reason::word) == reason.as_deref())
        .ok_or_else(|| {
            refused(row, "verdict", format!("{word:?} with reason {reason:?} is not known to this version"))
        })
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Normal => "normal",
        Side::Anomalous => "anomalous",
    }
}

/// A blob of little-endian numbers.
fn numbers<const BYTES: usize, T>(
    row: &Row<'_>,
    column: &str,
    number: fn([u8; BYTES]) -> T,
) -> Result<Vec<T>> {
    let blob: Vec<u8> = row.get(column)?;
    let (numbers, rest) = blob.as_chunks();
    if rest.is_empty() {
        return Ok(numbers.iter().copied().map(number).collect());
    }
    Err(refused(row, column, "cut off within a number"))
}

pub(super) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(|error| refused(row, column, error))
}

/// The error for a value in the database that this version cannot understand.
pub(super) fn refused(row: &Row<'_>, column: &str, why: impl Display) -> Error {
    let index = row.as_ref().column_index(column).unwrap_or_default();
    Error::FromSqlConversionFailure(index, Type::Null, format!("{column}: {why}").into())
}
