//! Prints the report as a table on the terminal.

use super::super::rounded_down;
use super::figures::{ALL, CategoryReport, ScoreFigures};
use super::report::{
    EvaluationReport, NO_INTERVAL, WHY_NO_INTERVAL, in_words, too_few, unusable_masks, value_of,
};
use crate::cli::output::print_line;

pub(super) fn print_table(report: &EvaluationReport) {
    for category in &report.categories {
        print_category(category, report.confidence);
    }
    for left in &report.left_out {
        print_line!("left out: {}: {}", left.name, left.why);
    }
    if report.categories.len() > 1 {
        print_line!(
            "{:<20} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "category",
            "certified",
            "empirical",
            "AUPR",
            "F1-max",
            "pixel",
            "AU-PRO",
            "cert.AUC"
        );
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        for row in &report.table {
            print_line!(
                "{:<20} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}",
                row.category,
                number(row.certified_auroc),
                number(row.empirical_auroc),
                number(row.certified_aupr),
                number(row.certified_f1_max),
                number(row.pixel_auroc),
                number(row.au_pro),
                number(row.certified_auc)
            );
        }
    }
}

fn print_category(category: &CategoryReport, confidence: f64) {
    print_line!(
        "{}: {} normal and {} defective pictures of {} and {} parts, {} left out; {}, {} draws a picture, alpha {}, {:.0} % bootstrap over parts",
        category.category,
        category.normal,
        category.defective,
        category.normal_parts,
        category.defective_parts,
        category.left_out.len(),
        category.bundle.label,
        category.draws,
        category.alpha,
        100.0 * confidence
    );
    print_line!(
        "{:<16} {:>8}   {:<23} {:<7} {:<7}  {:<23} {:<7} {:<7}",
        "",
        "",
        "certified (noisy draws)",
        "",
        "",
        "empirical (clean frame)",
        "",
        ""
    );
    print_line!(
        "{:<16} {:>8}   {:<23} {:<7} {:<7}  {:<23} {:<7} {:<7}",
        "kind",
        "pictures",
        "AUROC",
        "AUPR",
        "F1-max",
        "AUROC",
        "AUPR",
        "F1-max"
    );
    let score = |figures: &ScoreFigures| {
        let (aupr, f1) = (value_of(figures.aupr), value_of(figures.f1_max));
        format!("{:<23} {aupr:<7} {f1:<7}", in_words(figures.auroc))
    };
    for (kind, figures) in &category.image {
        let (certified, empirical) = (score(&figures.certified), score(&figures.empirical));
        print_line!("{kind:<16} {:>8}   {certified}  {empirical}", figures.pictures);
    }
    let aurocs = category.image.values().flat_map(|it| [it.certified.auroc, it.empirical.auroc]);
    if aurocs.map(in_words).any(|words| words.contains(NO_INTERVAL)) {
        print_line!("{WHY_NO_INTERVAL}");
    }
    let threshold = |figures: &ScoreFigures| figures.f1_threshold.map_or("-".into(), |t| format!("{t:.4}"));
    let all = &category.image[ALL];
    print_line!(
        "thresholds of F1-max, chosen on these scores: certified {}, empirical {}",
        threshold(&all.certified),
        threshold(&all.empirical)
    );
    if let Some(pixel) = &category.pixel {
        let [height, width] = pixel.resolution;
        print_line!(
            "pixels at the model input's {width}x{height}, {} masks: AUROC {:.3}, AU-PRO (0.3) {:.3}{}",
            pixel.masks,
            pixel.figures.auroc,
            pixel.figures.au_pro,
            unusable_masks(pixel)
        );
    }
    if let Some(why) = &category.no_pixel_figures {
        print_line!("no pixel figures: {why}");
    }
    let shown = [0.0, category.reference_radius];
    for at in category.certified_auc.iter().filter(|at| shown.contains(&at.radius)) {
        print_line!(
            "certified AUC at radius {:.4} (RMS {:.3} grey levels): {}{}",
            rounded_down(at.radius),
            at.rms_grey_levels,
            in_words(at.auc),
            too_few(at, category.draws)
        );
    }
    if let (Some(verdicts), Some(threshold)) = (&category.verdicts, category.bundle.threshold) {
        print_line!(
            "at the bundle's threshold {threshold:.4}, certified at radius 0: false alarms {:.1} %, misses {:.1} %, abstained {:.1} % of normal and {:.1} % of defective pictures",
            100.0 * verdicts.false_alarms,
            100.0 * verdicts.misses,
            100.0 * verdicts.normal_abstained,
            100.0 * verdicts.defective_abstained
        );
    }
    match category.ms_per_picture {
        Some(ms) => {
            print_line!(
                "{ms:.0} ms a picture in the detector; {} scores were there already",
                category.resumed
            );
        }
        None => print_line!("all scores were there already"),
    }
    if category.outside_range > 0 {
        print_line!(
            "{} pictures are not of the kind that the bundle was calibrated with: a station abstains (bad_frame), and they are in no figure here",
            category.outside_range
        );
    }
    for left in &category.left_out {
        print_line!("left out: {}: {}", left.name, left.why);
    }
}
