//! How an [`Inspection`] and its [`Parameters`] lie in the tables.
//!
//! Guarantees: every field is kept, numbers exactly (an f32 widens to SQLite's REAL without loss, score
//! bits travel as a blob, so a NaN survives); equal parameters share one row.

use rusqlite::{Connection, Result, named_params};

use super::Origin;
use crate::inspection::{Inspection, Parameters};
use crate::smoothing::Side;

/// The row of these parameters, made where there is none yet.
pub(super) fn parameters_row(connection: &Connection, parameters: &Parameters) -> Result<i64> {
    const COLUMNS: &str = "model, model_sha256, channels, height, width, k, sigma, threshold, alpha, target_radius, \
         required_radius, max_draws, deadline_ms, prior, provider, precision, onnxruntime, recipe, bundle_sha256, \
         batch, threads, cpu, region";
    const VALUES: &str = ":model, :model_sha256, :channels, :height, :width, :k, :sigma, :threshold, :alpha, \
         :target_radius, :required_radius, :max_draws, :deadline_ms, :prior, :provider, :precision, :onnxruntime, :recipe, \
         :bundle_sha256, :batch, :threads, :cpu, :region";
    let [channels, height, width] = parameters.input.map(|axis| axis as i64);
    let prior: Vec<u8> = parameters.prior.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    let values = named_params! {
        ":model": parameters.model,
        ":model_sha256": parameters.model_sha256,
        ":channels": channels,
        ":height": height,
        ":width": width,
        ":k": parameters.k as i64,
        ":sigma": parameters.sigma,
        ":threshold": parameters.threshold,
        ":alpha": parameters.alpha,
        ":target_radius": parameters.target_radius,
        ":required_radius": parameters.required_radius,
        ":max_draws": parameters.max_draws,
        ":deadline_ms": parameters.deadline_ms.map(|limit| limit as i64),
        ":prior": prior,
        ":provider": parameters.provider,
        ":precision": parameters.precision,
        ":onnxruntime": parameters.onnxruntime,
        ":recipe": parameters.recipe,
        ":bundle_sha256": parameters.bundle_sha256,
        ":batch": parameters.batch,
        ":threads": parameters.threads as i64,
        ":cpu": parameters.cpu,
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
    message: &str,
) -> Result<i64> {
    let certificate = inspection.certificate.as_ref();
    let side = certificate.and_then(|certificate| certificate.side).map(|side| match side {
        Side::Normal => "normal",
        Side::Anomalous => "anomalous",
    });
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
                 :queue_ms, :infer_ms, :total_ms, :evidence, :evidence_bytes, :parameters_id, :message)",
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
            ":message": message,
        })
}
