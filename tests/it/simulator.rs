//! Tests that the simulated line is a fair test of detectors: too varied for naive ones, and with defects that are large
//! enough to be found in the noise of smoothing.

use std::time::Duration;

use certiscope::testing::capture::simulator::{DefectKind, Simulator, SimulatorSettings};
use certiscope::testing::capture::{FrameSource, Samples, SourceEvent};
use certiscope::testing::evaluation::auroc;
use certiscope::testing::preprocess::{InputShape, Preprocessor};

use crate::support::say;

/// What `demo-line` sees of a frame.
const MODEL: InputShape = InputShape { channels: 1, height: 64, width: 64 };
const BINS: usize = 64;
const GOOD: &str = "good";

/// One part, with the vectors that the naive detectors compare.
struct Part {
    kind: String,
    input: Vec<f32>,
    histogram: Vec<f32>,
}

fn parts(seed: u64, count: u64, defect_rate: f64, defect_contrast: f64) -> Vec<Part> {
    let mut line = Simulator::new(SimulatorSettings {
        seed,
        count: Some(count),
        defect_rate,
        defect_contrast,
        parts_per_second: None,
        ..SimulatorSettings::default()
    })
    .unwrap();
    let preprocessor = Preprocessor::new(MODEL, None);
    let mut parts = Vec::new();
    while let SourceEvent::Frame(frame) = line.next(Duration::ZERO).unwrap() {
        let picture = frame.picture.unwrap();
        let Samples::Eight(pixels) = &picture.samples else { panic!("not 8 bits") };
        let mut histogram = vec![0.0; BINS];
        for &pixel in pixels {
            histogram[usize::from(pixel) * BINS / 256] += 1.0 / pixels.len() as f32;
        }
        let input = preprocessor.apply(&picture).unwrap().input.view().iter().copied().collect();
        parts.push(Part { kind: frame.truth.unwrap().kind, input, histogram });
    }
    parts
}

fn mean<'a>(vectors: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut count = 0.0;
    let mut sum: Vec<f32> = Vec::new();
    for vector in vectors {
        sum.resize(vector.len(), 0.0);
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        count += 1.0;
    }
    sum.iter().map(|sum| sum / count).collect()
}

fn sum(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| of(a, b)).sum()
}

fn euclidean(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |a, b| (a - b).powi(2)).sqrt()
}

/// A naive detector: the distance of a part from normal parts.
type Distance<'a> = &'a dyn Fn(&Part) -> f32;

#[test]
fn naive_distances_find_no_defects_on_the_simulated_line() {
    let normal = parts(11, 200, 0.0, 1.0);
    let mean_input = mean(normal.iter().map(|part| part.input.as_slice()));
    let mean_histogram = mean(normal.iter().map(|part| part.histogram.as_slice()));
    let distances: [(&str, Distance<'_>); 3] = [
        ("pixels", &|part| euclidean(&part.input, &mean_input)),
        ("histogram l1", &|part| sum(&part.histogram, &mean_histogram, |a, b| (a - b).abs())),
        ("histogram chi2", &|part| {
            sum(&part.histogram, &mean_histogram, |a, b| (a - b).powi(2) / (a + b).max(f32::MIN_POSITIVE))
        }),
    ];
    let tested = parts(12, 500, 0.75, 1.0);
    for (name, distance) in distances {
        let scores = |chosen: &dyn Fn(&str) -> bool| -> Vec<f32> {
            tested.iter().filter(|part| chosen(&part.kind)).map(distance).collect()
        };
        let good = scores(&|kind| kind == GOOD);
        let all = auroc(&good, &scores(&|kind| kind != GOOD)).unwrap();
        let mut line = format!("simulator, {name} to the mean of 200 normal parts: AUROC {all:.3}");
        for defect in DefectKind::ALL.map(DefectKind::word) {
            let defective = scores(&|kind| kind == defect);
            assert!(defective.len() >= 40, "{defect}: only {} parts", defective.len());
            line += &format!(", {defect} {:.2}", auroc(&good, &defective).unwrap());
        }
        say(&line);
        assert!(all < 0.8, "{name}: AUROC {all} without any model");
    }
}

/// Smoothing adds noise of about 0.05 a pixel; a defect whose change of the model input has a norm of
/// eight times that is above that noise at any place.
#[test]
fn every_simulated_defect_stands_out_of_the_noise_at_the_model_input() {
    let defective = parts(13, 300, 1.0, 1.0);
    let without = parts(13, 300, 1.0, 0.0);
    for defect in DefectKind::ALL.map(DefectKind::word) {
        let mut norms: Vec<f32> = defective
            .iter()
            .zip(&without)
            .filter(|(part, _)| part.kind == defect)
            .map(|(part, twin)| euclidean(&part.input, &twin.input))
            .collect();
        norms.sort_by(f32::total_cmp);
        let [low, middle, high] = [0.05, 0.5, 0.95].map(|share| norms[(share * norms.len() as f64) as usize]);
        say(&format!("simulator, {defect}: change of norm {low:.2}, {middle:.2}, {high:.2} (5, 50, 95 %)"));
        assert!(low > 0.4, "{defect}: 5 % of the parts change the model input by less than {low}");
    }
}
