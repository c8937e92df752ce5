//! Made-up inspections of every kind, for tests of the store and of the messages.

use std::sync::Arc;

use certiscope::testing::computation::Computation;
use certiscope::testing::diffusion::seed::FrameSeed;
use certiscope::testing::inspection::{Inspection, Latency, Parameters};
use certiscope::testing::smoothing::{Certificate, Prior, RuleSettings, Side};
use certiscope::testing::verdict::{Reason, Verdict};

pub(crate) fn parameters() -> Parameters {
    Parameters {
        model: "made-up@3".to_owned(),
        model_sha256: "ab".repeat(32),
        input: [1, 64, 64],
        k: 100,
        sigma: 0.0625,
        threshold: 3.25,
        rule: RuleSettings {
            max_draws: 400,
            prior: Prior::new(&[[0.9, 0.05, 2.0], [0.1, 1.0, 1.0]]).unwrap(),
            ..RuleSettings::new(0.03125)
        },
        required_radius: 0.03125,
        deadline_ms: None,
        computation: Computation {
            provider: "cpu".to_owned(),
            precision: "fp32".to_owned(),
            onnxruntime: "1.31.0".to_owned(),
            threads: 2,
            cpu: "made up".to_owned(),
        },
        recipe: None,
        bundle_sha256: "cd".repeat(32),
        batch: 8,
        region: None,
    }
}

/// The inspection of part `n`. By turns it is normal, anomalous, undecided, or has a broken picture.
pub(crate) fn inspection(n: u64, parameters: &Arc<Parameters>) -> Inspection {
    let (verdict, side) = match n % 4 {
        0 => (Verdict::Normal, Some(Side::Normal)),
        1 => (Verdict::Anomalous, Some(Side::Anomalous)),
        2 => (Verdict::Abstain(Reason::Undecided), None),
        _ => (Verdict::Abstain(Reason::BadFrame), None),
    };
    let readable = n % 4 != 3;
    let certificate = Certificate {
        side,
        radius: if side.is_some() { 0.0421 + 1e-4 * (n % 7) as f64 } else { 0.0 },
        draws: 3,
        above: 1,
        not_a_number: 1,
        score: Some(0.1 + n as f32),
        score_lower: Some(0.05),
        score_upper: None,
    };
    Inspection {
        captured_at: jiff::Timestamp::UNIX_EPOCH
            + jiff::SignedDuration::from_millis(1_790_000_000_000 + n as i64),
        source_seq: 2 * n,
        part_id: Some(format!("tile \"{n}\" ü\\{{}}.png")),
        meas_id: None,
        verdict,
        certificate: readable.then_some(certificate),
        empirical_score: None,
        frame_radius: side.map(|_| 0.5),
        fault: (!readable).then(|| "frame: cut off".to_owned()),
        seed: FrameSeed([n as u8; 32]),
        scores: if readable { vec![0.1 + n as f32, f32::NAN, 0.05] } else { Vec::new() },
        batches: if readable { vec![2, 1] } else { Vec::new() },
        frame_px: readable.then_some([640, 480]),
        latency: Latency { capture_ms: 1.25, queue_ms: 0.0, infer_ms: 31.0004, total_ms: 33.0 },
        evidence: None,
        parameters: Arc::clone(parameters),
    }
}
