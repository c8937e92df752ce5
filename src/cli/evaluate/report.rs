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

pub(super) fn in_words(estimate: Option<Estimate>) -> String {
    // A part drawn again and again, or a perfect score, is the same in every resample: that bounds nothing.
    estimate.map_or("-".to_owned(), |e| match e.upper > e.lower {
        true => format!("{:.3} ({:.3} to {:.3})", e.value, e.lower, e.upper),
        false => format!("{:.3} (no interval)", e.value),
    })
}

pub(super) fn value_of(estimate: Option<Estimate>) -> String {
    estimate.map_or("-".to_owned(), |e| format!("{:.3}", e.value))
}
