//! The content of `report.json`, and how its figures are written for people.

use serde::Serialize;

use super::figures::{AtRadius, CategoryReport, CategoryRow, PixelReport};
use super::json;
use crate::evaluation::Estimate;
use crate::evaluation::layout::LeftOut;

/// What `report.json` holds.
#[derive(Serialize)]
pub(super) struct EvaluationReport {
    pub(super) format: u32,
    pub(super) program: String,
    pub(super) made_at: String,
    pub(super) machine: String,
    /// What ran the model.
    pub(super) provider: String,
    pub(super) confidence: f64,
    pub(super) replicates: usize,
    /// A row for each category, and their mean.
    pub(super) table: Vec<CategoryRow>,
    pub(super) categories: Vec<CategoryReport>,
    /// Files that belong to no category.
    #[serde(serialize_with = "json::left_out")]
    pub(super) left_out: Vec<LeftOut>,
}

/// Why nothing can be certified at a radius, for any scores.
pub(super) fn too_few(at: &AtRadius, draws: u32) -> String {
    match at.draws_needed {
        Some(needed) if needed <= draws => String::new(),
        Some(needed) => format!("; out of reach of {draws} draws, at least {needed} are needed"),
        None => "; out of reach of any number of draws".to_owned(),
    }
}

/// How many masks are missing from the pixel figures.
pub(super) fn unusable_masks(pixel: &PixelReport) -> String {
    match pixel.masks_unusable {
        0 => String::new(),
        unusable => format!("; {unusable} more defective pictures have no mask that can be used"),
    }
}

/// What a figure has instead of an interval, and why.
pub(super) const NO_INTERVAL: &str = "no interval";
pub(super) const WHY_NO_INTERVAL: &str = "no interval: almost all resamples of the parts give the same figure (a perfect score, or one part), which says nothing about other parts";

pub(super) fn in_words(estimate: Option<Estimate>) -> String {
    estimate.map_or("-".to_owned(), |e| {
        let [value, lower, upper] = [e.value, e.lower, e.upper].map(|it| format!("{it:.3}"));
        if lower == upper {
            format!("{value} ({NO_INTERVAL})")
        } else {
            format!("{value} ({lower} to {upper})")
        }
    })
}

pub(super) fn value_of(estimate: Option<Estimate>) -> String {
    estimate.map_or("-".to_owned(), |e| format!("{:.3}", e.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_interval_of_width_nought_is_printed() {
        let words = |lower, upper| in_words(Some(Estimate { value: 0.965, lower, upper }));
        assert_eq!(words(0.95, 0.98), "0.965 (0.950 to 0.980)");
        for (lower, upper) in [(0.965, 0.965), (0.9651, 0.9649)] {
            assert_eq!(words(lower, upper), "0.965 (no interval)");
        }
        assert_eq!(in_words(None), "-");
    }
}
