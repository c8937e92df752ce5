//! `[store]` and `[evidence]`: for which inspections evidence is kept, and how long evidence and rows are kept.

use std::num::NonZeroU32;

use super::section::{Problems, Section};
use crate::evidence::Keep;
use crate::retention::Bounds;

const MB: u64 = 1_000_000;

/// The default bounds, in the units of the file.
pub(super) struct DefaultBounds {
    pub days: u32,
    pub max_mb: u32,
    pub min_free_mb: u32,
}

pub(super) const ROWS: DefaultBounds = DefaultBounds { days: 365, max_mb: 20_000, min_free_mb: 200 };
pub(super) const EVIDENCE: DefaultBounds = DefaultBounds { days: 90, max_mb: 20_000, min_free_mb: 1_000 };
const ONE_IN: u32 = 100;

pub(super) fn read_bounds(section: &mut Section<'_>, default: DefaultBounds) -> Bounds {
    let mut megabytes = |key, default: u32| u64::from(section.or::<u32>(key, default)) * MB;
    let (bytes, min_free_bytes) =
        (megabytes("max_mb", default.max_mb), megabytes("min_free_mb", default.min_free_mb));
    Bounds { days: section.or("days", default.days), bytes, min_free_bytes }
}

pub(super) fn read_keep(section: &mut Section<'_>, problems: &Problems) -> Keep {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum KeepWord {
        Flagged,
        All,
        OneInN,
    }
    let n = section.given::<NonZeroU32>("n", ONE_IN);
    match section.or("keep", "one_in_n") {
        KeepWord::OneInN => Keep::OneInN(n.unwrap_or(NonZeroU32::new(ONE_IN).expect("100 is above 0"))),
        word => {
            if n.is_some() {
                problems.add(format!("{}: belongs to keep = \"one_in_n\"; leave it out", section.key("n")));
            }
            if matches!(word, KeepWord::All) { Keep::All } else { Keep::Flagged }
        }
    }
}
