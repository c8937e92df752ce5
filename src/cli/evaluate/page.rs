//! The report as one HTML file, which needs neither network nor script: charts are SVG inside it, pictures are data URIs.

use std::io::Cursor;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::imageops::{FilterType, resize};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::rounded_down;
use super::figures::{ALL, CategoryReport, KindFigures, ScoreFigures, VerdictShares, grey_levels};
use super::kept::KeptScores;
use super::measure::{MeasuredCategory, ScoredPicture};
use super::report::{EvaluationReport, in_words, too_few, unusable_masks, value_of};
use crate::capture::decode::DecodeLimits;
use crate::capture::folder::read_frame;
use crate::evaluation::layout::LeftOut;
use crate::evaluation::roc;
use crate::heat_map::heat_beside_frame;
use crate::plot::{Axes, Corner, Curve, Marker, Sample, SecondAxis, histogram, lines};

/// How many of the worst pictures of each sort are shown.
const WORST: usize = 6;

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 84rem; margin: 2rem auto; padding: 0 1.5rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 2px solid #ddd; padding-top: 1.5rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; } .note { color: #555; font-size: .9rem; max-width: 60rem; }
.row { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; max-width: 100%; } figure svg, figure img { max-width: 100%; height: auto; }
figcaption { font-size: .9rem; color: #333; overflow-wrap: anywhere; max-width: 25rem; } .charts figcaption { max-width: 40rem; font-weight: 600; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; padding: 0; }
.facts div { background: #f4f6f8; border-radius: .5rem; padding: .8rem 1rem; } .facts b { display: block; font-size: 1.25rem; }
";

pub(super) fn page(report: &EvaluationReport, measured: &[MeasuredCategory], kept: &KeptScores) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "certiscope evaluate" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "How well it detects" }
                p.note {
                    (report.program) ", " (report.made_at) ". " (report.machine) "; " (report.provider) ". Intervals: "
                    (percent(report.confidence)) " bootstrap over parts, " (report.replicates) " replicates."
                }
                @if report.categories.len() > 1 { (table(report)) }
                @for (category, measured) in report.categories.iter().zip(measured) { (section(category, measured, kept)) }
                @if !report.left_out.is_empty() { h2 { "In no category" } (left_out(&report.left_out)) }
            }
        }
    }
    .into_string()
}

fn table(report: &EvaluationReport) -> Markup {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    html! {
        table {
            tr {
                th { "category" } th { "AUROC certified" } th { "AUROC empirical" } th { "AUPR" } th { "F1-max" }
                th { "pixel AUROC" } th { "AU-PRO" } th { "certified AUC" }
            }
            @for row in &report.table {
                tr {
                    td { (row.category) } td { (number(row.certified_auroc)) } td { (number(row.empirical_auroc)) }
                    td { (number(row.certified_aupr)) } td { (number(row.certified_f1_max)) }
                    td { (number(row.pixel_auroc)) } td { (number(row.au_pro)) } td { (number(row.certified_auc)) }
                }
            }
        }
        p.note { "Certified AUC at the radius whose RMS is that of 0.2 at 256x256x3. AUPR and F1-max of the certified score." }
    }
}

fn section(category: &CategoryReport, measured: &MeasuredCategory, kept: &KeptScores) -> Markup {
    html! {
        h2 { (category.category) }
        (summary(category))
        div.row.charts { (roc_chart(measured)) (radius_chart(category)) (histograms(category, measured)) }
        h3 { "By kind of defect" }
        (kinds(category))
        (worst(category, measured, kept))
        h3 { "Left out (" (category.left_out.len()) ")" }
        (left_out(&category.left_out))
    }
}

fn summary(category: &CategoryReport) -> Markup {
    let all = &category.image[ALL];
    let reference = category.certified_auc.iter().find(|at| at.radius == category.reference_radius);
    let bundle = &category.bundle;
    let [channels, height, width] = bundle.input;
    html! {
        div.facts {
            (fact("image AUROC, certified score", &in_words(all.certified.auroc)))
            (fact("image AUROC, empirical score", &in_words(all.empirical.auroc)))
            @if let Some(at) = reference {
                @let words = format!("certified AUC at radius {:.4}, RMS {:.3} grey levels{}", rounded_down(at.radius), at.rms_grey_levels, too_few(at, category.draws));
                (fact(&words, &in_words(at.auc)))
            }
            @if let Some(pixel) = &category.pixel {
                (fact("pixel AUROC / AU-PRO (0.3)", &format!("{:.3} / {:.3}", pixel.figures.auroc, pixel.figures.au_pro)))
            }
        }
        p {
            (category.normal) " normal and " (category.defective) " defective pictures of " (category.normal_parts)
            " and " (category.defective_parts) " parts. Bundle " b { (bundle.label) } ", input " (width) "x" (height) "x"
            (channels) ", k " (bundle.k) ", sigma " (bundle.sigma) ", " (category.draws) " draws a picture, alpha "
            (category.alpha) ", seed " (category.seed) ". "
            @match category.ms_per_picture {
                Some(ms) => { (format!("{ms:.0}")) " ms a picture in the detector; " (category.resumed) " scores were there already." }
                None => { "All scores were there already." }
            }
        }
        @if let (Some(verdicts), Some(threshold)) = (&category.verdicts, bundle.threshold) { (shares(verdicts, threshold)) }
        p.note {
            "Bundle sha256 " (bundle.sha256) ", model sha256 " (bundle.model_sha256) ". The certified score is the median over the
            noisy draws and never sees the clean picture; the empirical score does, and carries no certificate. "
            @if let Some(pixel) = &category.pixel {
                "Pixel figures compare maps and " (pixel.masks) " masks at the model input's size; regions are 8-connected"
                (unusable_masks(pixel)) ". "
            }
            @if let Some(why) = &category.no_pixel_figures { "No pixel figures: " (why) ". " }
        }
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { b { (value) } (name) } }
}

fn shares(verdicts: &VerdictShares, threshold: f32) -> Markup {
    html! {
        table {
            tr { th { "at threshold " (format!("{threshold:.4}")) ", radius 0" } th { "called the opposite" } th { "abstained" } }
            tr { td { "normal (false alarms)" } td { (percent(verdicts.false_alarms)) } td { (percent(verdicts.normal_abstained)) } }
            tr { td { "defective (misses)" } td { (percent(verdicts.misses)) } td { (percent(verdicts.defective_abstained)) } }
        }
        @if let Some(share) = verdicts.normal_certified_at_calibrated_radius {
            p.note { (percent(share)) " of the normal pictures are certified as normal at the radius of the calibration." }
        }
    }
}

fn roc_chart(measured: &MeasuredCategory) -> Markup {
    let curve = |score: fn(&ScoredPicture) -> f32| {
        let of = |normal: bool| -> Vec<f32> {
            measured.pictures.iter().filter(|p| p.is_normal() == normal).map(score).collect()
        };
        roc(&of(true), &of(false))
    };
    let (certified, empirical) = (curve(|p| p.certified), curve(|p| p.empirical));
    let axes = Axes {
        x: "false-positive rate",
        y: "true-positive rate",
        x_range: 0.0..1.0,
        y_range: 0.0..1.0,
        second_x: None,
        legend: Corner::LowerRight,
    };
    let curves = [
        Curve { name: "certified score", points: &certified, band: &[] },
        Curve { name: "empirical score", points: &empirical, band: &[] },
    ];
    chart("ROC", lines(&axes, &curves, None))
}

fn radius_chart(category: &CategoryReport) -> Markup {
    let values = category.bundle.input.iter().product();
    let at = || category.certified_auc.iter().filter_map(|at| Some((at.radius, at.auc?)));
    let points: Vec<_> = at().map(|(radius, auc)| (radius, auc.value)).collect();
    let band: Vec<_> = at().map(|(radius, auc)| (radius, auc.lower, auc.upper)).collect();
    let axes = Axes {
        x: "l2 radius at the model input, [0,1] units",
        y: "certified AUC",
        x_range: 0.0..category.certified_auc.iter().map(|at| at.radius).fold(0.0, f64::max),
        y_range: 0.0..1.0,
        second_x: Some(SecondAxis {
            label: "RMS of the change, grey levels",
            per_x: grey_levels(1.0, values),
        }),
        legend: Corner::UpperRight,
    };
    let curve = Curve { name: "certified AUC", points: &points, band: &band };
    let marker = Marker { at: category.reference_radius, name: "RMS of 0.2 at 256x256x3" };
    let name = format!("Certified AUC against radius, n = {}, alpha = {}", category.draws, category.alpha);
    chart(&name, lines(&axes, &[curve], Some(marker)))
}

fn histograms(category: &CategoryReport, measured: &MeasuredCategory) -> Markup {
    let of = |normal: bool, score: fn(&ScoredPicture) -> f32| -> Vec<f32> {
        measured.pictures.iter().filter(|p| p.is_normal() == normal).map(score).collect()
    };
    let drawn = |x: &str, score: fn(&ScoredPicture) -> f32, marker: Option<Marker<'_>>| {
        let (normal, defective) = (of(true, score), of(false, score));
        let samples =
            [Sample { name: "normal", values: &normal }, Sample { name: "defective", values: &defective }];
        histogram(x, "pictures", &samples, marker)
    };
    let threshold =
        category.bundle.threshold.map(|at| Marker { at: f64::from(at), name: "threshold of the bundle" });
    html! {
        (chart("Certified scores", drawn("certified score", |p| p.certified, threshold)))
        (chart("Empirical scores", drawn("empirical score", |p| p.empirical, None)))
    }
}

fn chart(name: &str, svg: String) -> Markup {
    html! { figure { figcaption { (name) } (PreEscaped(svg)) } }
}

fn kinds(category: &CategoryReport) -> Markup {
    let cells = |figures: &ScoreFigures| {
        html! {
            td { (in_words(figures.auroc)) } td { (value_of(figures.aupr)) } td { (value_of(figures.f1_max)) }
        }
    };
    let row = |kind: &str, figures: &KindFigures| {
        html! {
            tr { td { (kind) } td { (figures.pictures) } (cells(&figures.certified)) (cells(&figures.empirical)) }
        }
    };
    html! {
        table {
            tr { th { "" } th { "" } th colspan="3" { "certified score" } th colspan="3" { "empirical score" } }
            tr {
                th { "kind" } th { "pictures" } th { "AUROC" } th { "AUPR" } th { "F1-max" } th { "AUROC" } th { "AUPR" } th { "F1-max" }
            }
            @for (kind, figures) in &category.image { (row(kind, figures)) }
        }
    }
}

/// The defects that scored lowest and the normal parts that scored highest.
fn worst(category: &CategoryReport, measured: &MeasuredCategory, kept: &KeptScores) -> Markup {
    let mut pictures: Vec<&ScoredPicture> = measured.pictures.iter().collect();
    pictures.sort_by(|a, b| a.certified.total_cmp(&b.certified));
    let missed: Vec<_> = pictures.iter().filter(|p| !p.is_normal()).take(WORST).collect();
    let alarmed: Vec<_> = pictures.iter().rev().filter(|p| p.is_normal()).take(WORST).collect();
    let shown = |pictures: &[&&ScoredPicture]| {
        html! {
            div.row { @for scored in pictures { (picture(category, scored, kept)) } }
        }
    };
    html! {
        h3 { "Defects with the lowest certified scores" }
        (shown(&missed))
        h3 { "Normal parts with the highest certified scores" }
        (shown(&alarmed))
        p.note { "Left the picture, right the same under its heat map: colour begins at a quarter of the threshold and is full red at it." }
    }
}

fn picture(category: &CategoryReport, scored: &ScoredPicture, kept: &KeptScores) -> Markup {
    let [_, height, width] = category.bundle.input;
    let red = category.bundle.threshold.or(category.image[ALL].certified.f1_threshold).unwrap_or(1.0);
    let sheet = read_frame(&scored.listed.path, 0, DecodeLimits::default())
        .picture
        .ok()
        .zip(kept.map(&scored.key, [height, width]))
        .map(|(picture, map)| heat_beside_frame(&picture, &map, red));
    let side = match category.bundle.threshold {
        Some(threshold) if scored.certified > threshold => ", above the threshold",
        Some(_) => ", not above the threshold",
        None => "",
    };
    html! {
        figure {
            @if let Some(sheet) = sheet {
                @let small = resize(&sheet, sheet.width() / 2, sheet.height() / 2, FilterType::Triangle);
                img src=(data_uri(&small)) alt={ (scored.listed.name) " beside its heat map" };
            }
            figcaption { (scored.listed.name) ": " (format!("{:.4}", scored.certified)) (side) }
        }
    }
}

fn data_uri(picture: &image::RgbImage) -> String {
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).expect("memory takes any PNG");
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png.into_inner()))
}

fn left_out(list: &[LeftOut]) -> Markup {
    html! {
        @if list.is_empty() { p { "Nothing." } }
        ul { @for left in list { li { b { (left.name) } ": " (left.why) } } }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
