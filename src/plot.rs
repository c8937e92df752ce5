//! Charts as SVG text: histograms and curves, for reports.
//!
//! Guarantees: the same values give the same text. Names and labels are escaped. Values that are not finite are counted
//! in the legend, never dropped silently. No installed font is needed: the widths of words are estimated, and the
//! viewer uses its own sans-serif font.
//! Leaves out: titles (the page has headings), interaction.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext, SeriesLabelPosition};
use plotters::coord::{CoordTranslate, Shift};
use plotters::element::{PathElement, Polygon, Rectangle};
use plotters::prelude::{DrawingArea, IntoDrawingArea, SVGBackend};
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, RGBColor, WHITE};

/// One named set of values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample<'a> {
    pub name: &'a str,
    pub values: &'a [f32],
}

/// A vertical line with a name, such as the threshold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marker<'a> {
    pub at: f64,
    pub name: &'a str,
}

/// One named curve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Curve<'a> {
    pub name: &'a str,
    /// (x, y), drawn in this order.
    pub points: &'a [(f64, f64)],
    /// (x, lower, upper): an interval shaded behind the curve; may be empty.
    pub band: &'a [(f64, f64, f64)],
}

/// Labels and ranges of the axes of [`lines`].
#[derive(Debug, Clone)]
pub(crate) struct Axes<'a> {
    pub x: &'a str,
    pub y: &'a str,
    pub x_range: Range<f64>,
    pub y_range: Range<f64>,
    /// The same x in another unit, along the top.
    pub second_x: Option<SecondAxis<'a>>,
    pub legend: Corner,
}

/// An axis whose values are those of x times a factor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SecondAxis<'a> {
    pub label: &'a str,
    pub per_x: f64,
}

/// The corner of the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corner {
    UpperRight,
    LowerRight,
}

const SIZE_PX: (u32, u32) = (640, 400);
const BARS: usize = 40;
const SMALL: (&str, u32) = ("sans-serif", 15);
const LARGE: (&str, u32) = ("sans-serif", 17);
/// Blue, vermillion, green, purple: colour-blind people can distinguish them too (Okabe and Ito 2008).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
/// Drawing into a string cannot fail.
const DRAWN: &str = "a string takes every shape";

/// A histogram of the values of each sample, with a line at `marker`. Far outliers are counted in the last bar, and the
/// label says so.
pub(crate) fn histogram(x: &str, y: &str, samples: &[Sample<'_>], marker: Option<Marker<'_>>) -> String {
    let range = shown(samples, marker);
    let counts: Vec<[usize; BARS]> = samples.iter().map(|sample| bars(sample.values, &range)).collect();
    let highest = counts.iter().flatten().copied().max().unwrap_or(0).max(1) as f64;
    let beyond = samples.iter().flat_map(|s| s.values).filter(|v| f64::from(**v) > range.end).count();
    let x = match beyond {
        0 => x.to_owned(),
        _ => format!("{x} ({beyond} higher ones in the last bar)"),
    };
    let width = (range.end - range.start) / BARS as f64;
    drawn(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(range.clone(), 0.0..1.08 * highest)
            .expect(DRAWN);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_desc(x)
            .y_desc(y)
            .y_label_formatter(&|count| format!("{count:.0}"))
            .label_style(SMALL)
            .axis_desc_style(LARGE)
            .draw()
            .expect(DRAWN);
        for ((sample, counts), colour) in samples.iter().zip(&counts).zip(colours()) {
            let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bar, &count)| {
                let left = range.start + bar as f64 * width;
                Rectangle::new([(left, 0.0), (left + width, count as f64)], colour.mix(0.5).filled())
            });
            chart.draw_series(filled).expect(DRAWN).label(named(sample)).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 18, y + 5)], colour.mix(0.5).filled())
            });
        }
        if let Some(Marker { at, name }) = marker {
            let line = PathElement::new([(at, 0.0), (at, 1.08 * highest)], BLACK.stroke_width(2));
            chart
                .draw_series([line])
                .expect(DRAWN)
                .label(name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLACK.stroke_width(2)));
        }
        draw_legend(&mut chart, SeriesLabelPosition::UpperRight);
    })
}

/// Curves over one x axis, which may have labels in two units.
pub(crate) fn lines(axes: &Axes<'_>, curves: &[Curve<'_>], marker: Option<Marker<'_>>) -> String {
    drawn(|area| {
        let mut builder = ChartBuilder::on(area);
        builder.margin(12).margin_right(24).x_label_area_size(44).y_label_area_size(56);
        if axes.second_x.is_some() {
            builder.top_x_label_area_size(44);
        }
        let per_x = axes.second_x.map_or(1.0, |second| second.per_x);
        let second_range = axes.x_range.start * per_x..axes.x_range.end * per_x;
        let mut chart = builder
            .build_cartesian_2d(axes.x_range.clone(), axes.y_range.clone())
            .expect(DRAWN)
            .set_secondary_coord(second_range, axes.y_range.clone());
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(axes.x)
            .y_desc(axes.y)
            .label_style(SMALL)
            .axis_desc_style(LARGE)
            .draw()
            .expect(DRAWN);
        if let Some(second) = axes.second_x {
            chart
                .configure_secondary_axes()
                .x_desc(second.label)
                .label_style(SMALL)
                .axis_desc_style(LARGE)
                .draw()
                .expect(DRAWN);
        }
        for (curve, colour) in curves.iter().zip(colours()) {
            let upper = curve.band.iter().map(|&(x, _, upper)| (x, upper));
            let lower = curve.band.iter().rev().map(|&(x, lower, _)| (x, lower));
            let outline: Vec<_> = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(outline, colour.mix(0.15).filled())]).expect(DRAWN);
            chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)))
                .expect(DRAWN)
                .label(curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        if let Some(Marker { at, name }) = marker {
            let ends = [(at, axes.y_range.start), (at, axes.y_range.end)];
            chart
                .draw_series([PathElement::new(ends, BLACK.stroke_width(1))])
                .expect(DRAWN)
                .label(name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLACK.stroke_width(1)));
        }
        let corner = match axes.legend {
            Corner::UpperRight => SeriesLabelPosition::UpperRight,
            Corner::LowerRight => SeriesLabelPosition::LowerRight,
        };
        draw_legend(&mut chart, corner);
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn drawn(draw: impl FnOnce(&Area<'_>)) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE_PX).into_drawing_area();
        area.fill(&WHITE).expect(DRAWN);
        draw(&area);
        area.present().expect(DRAWN);
    }
    svg
}

fn draw_legend<'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, C>,
    position: SeriesLabelPosition,
) {
    chart
        .configure_series_labels()
        .position(position)
        .label_font(SMALL)
        .background_style(WHITE.mix(0.85))
        .draw()
        .expect(DRAWN);
}

fn colours() -> impl Iterator<Item = RGBColor> {
    COLOURS.into_iter().cycle()
}

/// The name in the legend, with the number of values that are not finite and so in no bar.
fn named(sample: &Sample<'_>) -> String {
    match sample.values.iter().filter(|value| !value.is_finite()).count() {
        0 => sample.name.to_owned(),
        lost => format!("{} ({lost} not finite)", sample.name),
    }
}

/// The range of the bars: from the lowest value to the highest, but at most three times the range that holds the marker
/// and 98 % of the sample with the shorter tail. So a few far outliers cannot squeeze all other values into one bar.
fn shown(samples: &[Sample<'_>], marker: Option<Marker<'_>>) -> Range<f64> {
    let sorted = samples.iter().map(|sample| {
        let mut finite: Vec<f64> =
            sample.values.iter().map(|&v| f64::from(v)).filter(|v| v.is_finite()).collect();
        finite.sort_unstable_by(f64::total_cmp);
        finite
    });
    let sorted: Vec<Vec<f64>> = sorted.filter(|values| !values.is_empty()).collect();
    let marks = || marker.iter().map(|marker| marker.at);
    let lowest = sorted.iter().map(|values| values[0]).chain(marks()).fold(f64::INFINITY, f64::min);
    let highest =
        sorted.iter().map(|values| values[values.len() - 1]).chain(marks()).fold(f64::NEG_INFINITY, f64::max);
    let bulk = sorted.iter().map(|values| values[((values.len() - 1) * 98).div_ceil(100)]).reduce(f64::min);
    let bulk = bulk.into_iter().chain(marks()).fold(lowest, f64::max);
    let end = if bulk > lowest { highest.min(lowest + 3.0 * (bulk - lowest)) } else { highest };
    match (lowest.is_finite(), end > lowest) {
        (false, _) => 0.0..1.0,
        (true, false) => lowest - 0.5..lowest + 0.5,
        (true, true) => lowest..end,
    }
}

/// How many values are in each bar; values above the range are in the last one.
fn bars(values: &[f32], range: &Range<f64>) -> [usize; BARS] {
    let mut counts = [0; BARS];
    for value in values.iter().map(|&value| f64::from(value)).filter(|value| value.is_finite()) {
        let place = (value - range.start) / (range.end - range.start) * BARS as f64;
        counts[(place as usize).min(BARS - 1)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample<'a>(name: &'a str, values: &'a [f32]) -> Sample<'a> {
        Sample { name, values }
    }

    #[test]
    fn every_value_falls_into_one_bar() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
        let range = shown(&[sample("a", &values)], None);
        assert_eq!(bars(&values, &range).iter().sum::<usize>(), 1000);
        assert_eq!(
            bars(&[0.0, 0.99, 1.0, 40.0], &(0.0..1.0))[BARS - 1],
            3,
            "the end and what lies beyond it"
        );
        assert_eq!(bars(&[0.0], &(0.0..1.0))[0], 1);
    }

    #[test]
    fn far_outliers_do_not_squeeze_the_bulk_and_are_told() {
        let normal: Vec<f32> = (0..100).map(|i| i as f32 / 100.0).collect();
        let samples = [sample("normal", &normal), sample("defective", &[0.5, 900.0, 2.0, 1000.0])];
        let range = shown(&samples, Some(Marker { at: 1.5, name: "threshold" }));
        assert_eq!(range, 0.0..4.5);
        let svg = histogram("score", "parts", &samples, None);
        assert!(svg.contains("(2 higher ones in the last bar)"), "{svg}");
        assert!(!histogram("score", "parts", &samples[..1], None).contains("higher"));
    }

    #[test]
    fn values_that_do_not_vary_or_do_not_exist_still_make_a_chart() {
        assert_eq!(shown(&[sample("a", &[2.0, 2.0])], None), 1.5..2.5);
        assert_eq!(shown(&[], None), 0.0..1.0);
        assert_eq!(shown(&[sample("a", &[f32::NAN])], None), 0.0..1.0);
        let svg = histogram("score", "parts", &[sample("a", &[f32::NAN, 1.0, f32::INFINITY])], None);
        assert!(svg.contains("a (2 not finite)"), "{svg}");
    }

    #[test]
    fn words_are_escaped_and_in_the_chart() {
        let marker = Some(Marker { at: 0.5, name: "threshold <0.5>" });
        let svg = histogram("score & more", "parts", &[sample("<script>", &[0.0, 1.0])], marker);
        for words in ["&lt;script&gt;", "score &amp; more", "threshold &lt;0.5&gt;", ">parts<"] {
            let flat = svg.replace('\n', "");
            assert!(flat.contains(words), "no {words} in {svg}");
        }
        assert!(!svg.contains("<script>"));
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn the_second_axis_is_the_first_in_another_unit() {
        let axes = Axes {
            x: "radius",
            y: "certified AUC",
            x_range: 0.0..0.1,
            y_range: 0.0..1.0,
            second_x: Some(SecondAxis { label: "grey levels", per_x: 70.0 }),
            legend: Corner::UpperRight,
        };
        let points = [(0.0, 0.9), (0.05, 0.7), (0.1, 0.0)];
        let curve = Curve { name: "model", points: &points, band: &[(0.0, 0.8, 1.0), (0.1, 0.0, 0.1)] };
        let svg = lines(&axes, &[curve], None);
        let flat = svg.replace('\n', "");
        for words in [">radius<", ">grey levels<", ">certified AUC<", ">model<", ">0.05<", ">5.0<"] {
            assert!(flat.contains(words), "no {words} in {svg}");
        }
        let plain = lines(&Axes { second_x: None, ..axes }, &[curve], None);
        assert!(!plain.contains("grey levels") && !plain.replace('\n', "").contains(">5.0<"), "{plain}");
    }
}
