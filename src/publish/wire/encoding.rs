//! How values are written in every message: JSON, times, rounded numbers.
//!
//! Guarantees: radii are rounded down to six digits, so that no message claims more than was certified. A number that is NaN
//! or infinite is written as `null`.

use jiff::Timestamp;
use serde::Serialize;

/// Decimal digits of a radius on the wire.
const RADIUS_DIGITS: i32 = 6;

/// The version of the message format, the key `v` of every message.
pub(super) const V: u8 = 1;

pub(super) fn json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("wire types have string keys and cannot fail to serialise")
}

/// RFC 3339, UTC, always with six digits after the second: the resolution of the store.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// Rounded to a microsecond.
pub(super) fn milliseconds(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The largest decimal of [`RADIUS_DIGITS`] digits that is not above `radius`.
pub(super) fn rounded_down(radius: f64) -> f64 {
    let scale = 10f64.powi(RADIUS_DIGITS);
    let nearest = (radius * scale).round();
    if nearest / scale <= radius { nearest / scale } else { (nearest - 1.0) / scale }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_radius_is_rounded_down_and_a_short_one_stays() {
        for exact in [0.0, 0.29, 0.3, 0.03125, 1.1, 255.0] {
            assert_eq!(rounded_down(exact), exact);
        }
        assert_eq!(rounded_down(0.1234569), 0.123456);
        assert_eq!(rounded_down(0.3f64.next_down()), 0.299999);
    }

    proptest! {
        #[test]
        fn a_radius_on_the_wire_never_claims_more(radius in 0.0..300.0f64) {
            let sent = rounded_down(radius);
            prop_assert!(sent <= radius && radius - sent < 1.000001e-6, "{radius} was sent as {sent}");
        }
    }

    #[test]
    fn a_time_keeps_its_digits() {
        let at: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        assert_eq!(time(at), "2026-11-22T10:00:00.000000Z");
    }
}
