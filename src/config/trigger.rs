//! `trigger` of `[station.source]`: when a frame is taken.

use std::time::Duration;

use super::Delivery;
use super::section::{Problems, Section};
use crate::capture::trigger::Trigger;

/// Of an interval and of a limit: a millisecond to a day.
const ALLOWED_MS: std::ops::RangeInclusive<u64> = 1..=86_400_000;

/// `None` where something is missing, which is told.
pub(super) fn read_trigger(
    section: &mut Section<'_>,
    delivery: Option<Delivery>,
    problems: &Problems,
) -> Option<Trigger> {
    #[derive(Clone, Copy, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Free,
        Interval,
        Triggered,
    }
    let word = section.or("trigger", Word::Free);
    let interval = match word {
        Word::Interval => section.required::<u64>("interval_ms", "the time from one frame to the next"),
        _ => section.optional::<u64>("interval_ms"),
    };
    let limit = section.optional::<u64>("trigger_limit_ms");
    for (key, value, belongs_to, owner) in [
        ("interval_ms", interval, "interval", Word::Interval),
        ("trigger_limit_ms", limit, "triggered", Word::Triggered),
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
    if word == Word::Triggered && delivery == Some(Delivery::Latest) {
        problems.add(format!(
            "{} = \"latest\": a part that the line asked for would give way to the next; \"every\" is allowed, or leave it out",
            section.key("delivery")
        ));
    }
    Some(match word {
        Word::Free => Trigger::Free,
        Word::Interval => Trigger::Interval(Duration::from_millis(interval?)),
        Word::Triggered => Trigger::Triggered { limit: Duration::from_millis(limit.unwrap_or(1000)) },
    })
}

/// What the line asked for is inspected, whatever is usual for the source.
pub(super) fn delivery(trigger: Trigger, usual: Delivery) -> Delivery {
    if matches!(trigger, Trigger::Triggered { .. }) { Delivery::Every } else { usual }
}
