//! `trigger` of `[station.source]`: when a frame is taken.

use std::time::Duration;

use super::section::{Problems, Section};
use crate::capture::trigger::Trigger;

/// The allowed values of `interval_ms` and `trigger_limit_ms`: a millisecond to a day.
const ALLOWED_MS: std::ops::RangeInclusive<u64> = 1..=86_400_000;
const DEFAULT_LIMIT_MS: u32 = 1000;

/// Reads when a frame is taken. `None` if a key is missing, which is then among the problems.
pub(super) fn read_trigger(section: &mut Section<'_>, problems: &Problems) -> Option<Trigger> {
    #[derive(Clone, Copy, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum TriggerWord {
        Free,
        Interval,
        Triggered,
    }
    let word = section.or("trigger", "free");
    let interval = match word {
        TriggerWord::Interval => {
            section.required::<u64>("interval_ms", "the time from one frame to the next")
        }
        _ => section.optional::<u64>("interval_ms"),
    };
    let limit = section.given::<u64>("trigger_limit_ms", DEFAULT_LIMIT_MS);
    for (key, value, belongs_to, owner) in [
        ("interval_ms", interval, "interval", TriggerWord::Interval),
        ("trigger_limit_ms", limit, "triggered", TriggerWord::Triggered),
    ] {
        let Some(value) = value else { continue };
        if word != owner {
            problems
                .add(format!("{}: belongs to trigger = \"{belongs_to}\"; leave it out", section.key(key)));
        } else if !ALLOWED_MS.contains(&value) {
            problems.add(format!(
                "{} = {value}: {} to {} (a day) are allowed",
                section.key(key),
                ALLOWED_MS.start(),
                ALLOWED_MS.end()
            ));
        }
    }
    Some(match word {
        TriggerWord::Free => Trigger::Free,
        TriggerWord::Interval => Trigger::Interval(Duration::from_millis(interval?)),
        TriggerWord::Triggered => {
            Trigger::Triggered { limit: Duration::from_millis(limit.unwrap_or(DEFAULT_LIMIT_MS.into())) }
        }
    })
}
