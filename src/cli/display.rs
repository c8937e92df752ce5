//! Shows figures and progress to a person.

use std::fmt::Display;

use indicatif::{ProgressBar, ProgressStyle};

pub(in crate::cli) fn progress_bar(length: u64, what: &'static str) -> ProgressBar {
    let style = "{msg:14} {wide_bar} {human_pos}/{human_len} {elapsed} (still {eta})";
    ProgressBar::new(length)
        .with_style(ProgressStyle::with_template(style).expect("the template is a constant"))
        .with_message(what)
}

/// A radius for a person: rounded down, so never more than what is certified.
pub(in crate::cli) fn rounded_down(radius: f64) -> f64 {
    (radius * 1e4).floor() / 1e4
}

/// A number, or a dash where there is none.
pub(in crate::cli) fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
