//! A model that gives all three maps and is made for one timestep: its scores are Python's, and a bundle whose parts do
//! not fit each other is refused.

use std::path::{Path, PathBuf};

use certiscope::testing::bundle::Bundle;
use certiscope::testing::detector::Detector;
use certiscope::testing::diffusion::onnx::{OnUnavailable, Provider, Runtime, SessionSettings};
use image::{GrayImage, Luma};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::bundles::{BundleCopy, demo_line};
use crate::support::program::{Ran, certiscope, run};

/// The folder of the bundle, complete and calibrated: see tests/fixtures/make_three_maps.py. Tests must not write to it.
fn three_maps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/three-maps")
}

/// A copy that takes pictures of any brightness, since the model shall see them.
fn of_any_brightness() -> BundleCopy {
    let bundle = BundleCopy::of(&three_maps());
    bundle.edit(|table| {
        table["calibration"].as_table_mut().unwrap().remove("pictures");
    });
    bundle
}

/// A copy with another graph, and its right hash.
fn with_graph(name: &str) -> BundleCopy {
    let bundle = of_any_brightness();
    let variants = three_maps().with_file_name("three-maps-variants");
    let graph = std::fs::read(variants.join(format!("{name}.onnx"))).unwrap();
    bundle.forge("model.onnx", |bytes| *bytes = graph);
    bundle
}

/// A copy whose maps have no tensor with `word` in its name.
fn without_maps(word: &str) -> BundleCopy {
    let bundle = of_any_brightness();
    bundle.keep_tensors("maps.safetensors", |name| !name.contains(word));
    bundle
}

/// A picture of four pixels for each of the input's, grey between two values.
fn grey(seed: u64, from: u8, to: u8) -> GrayImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    GrayImage::from_fn(96, 64, |_, _| Luma([rng.random_range(from..=to)]))
}

fn inspect(bundle: &Path, pictures: &[GrayImage]) -> Ran {
    let folder = TempDir::new().unwrap();
    let files = pictures.iter().enumerate().map(|(at, picture)| {
        let file = folder.path().join(format!("{at}.png"));
        picture.save(&file).unwrap();
        file
    });
    run(certiscope("inspect")
        .args(["--json", "--bundle"])
        .arg(bundle)
        .arg("--heat-maps")
        .arg(folder.path())
        .args(files))
}

fn inspected(bundle: &Path, pictures: &[GrayImage]) -> Vec<Value> {
    inspect(bundle, pictures).succeeded().json().as_array().unwrap().clone()
}

/// The self-test compares the golden scores; those without training maps were computed in Python.
fn worst_golden_difference(bundle: &Path) -> f64 {
    let settings =
        SessionSettings { provider: Provider::Cpu, on_unavailable: OnUnavailable::Refuse, threads: 1 };
    let bundle = Bundle::load(bundle).unwrap();
    let (_, opened) = Detector::open(&bundle, &Runtime::load(None).unwrap(), &settings, 4).unwrap();
    opened.self_test.worst
}

#[test]
fn the_scores_are_those_of_python() {
    assert!(worst_golden_difference(&three_maps()) < 1e-5);
}

#[test]
fn a_graph_with_the_input_k_scores_as_one_without() {
    assert!(worst_golden_difference(with_graph("with-k").path()) < 1e-5);
}

#[test]
fn the_feature_map_decides_and_its_fault_is_no_verdict() {
    let bundle = of_any_brightness();
    let mut blocks = grey(2, 78, 178);
    blocks.enumerate_pixels_mut().for_each(|(x, y, pixel)| {
        // Blocks of one pixel of the input: the grey of the part and its residual hardly change, its features do.
        if (32..64).contains(&x) && (16..48).contains(&y) {
            pixel.0[0] = if (x / 4 + y / 4) % 2 == 0 { 60 } else { 196 };
        }
    });
    let results =
        inspected(bundle.path(), &[grey(1, 78, 178), blocks.clone(), grey(3, 0, 2), grey(4, 78, 178)]);
    let verdicts: Vec<_> = results.iter().map(|result| result["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["normal", "anomalous", "abstain", "normal"], "{results:#?}");
    assert_eq!(results[2]["reason"], "model_fault", "{}", results[2]);
    assert!(results[2]["fault"].as_str().unwrap().contains("not numbers"), "{}", results[2]);
}

#[test]
fn a_bundle_whose_parts_do_not_fit_the_feature_map_is_refused() {
    let weights = |head: f64, feature: f64| {
        let bundle = of_any_brightness();
        bundle.set("score", "head_weight", head);
        bundle.set("score", "feature_weight", feature);
        bundle
    };
    let of_demo = BundleCopy::of(&demo_line());
    of_demo.set("score", "feature_weight", 0.2);
    let unweighed = with_graph("no-features");
    unweighed.set("score", "feature_weight", 0.0);
    let maps_of = |shape: fn(usize, usize) -> (usize, usize)| {
        let bundle = of_any_brightness();
        bundle.forge_tensors("maps.safetensors", move |name, map| {
            let (rows, columns) = shape(map.shape()[0], map.shape()[1]);
            if name == "feature_mean" { ndarray::ArrayD::zeros(vec![rows, columns]) } else { map }
        });
        bundle
    };
    let cases: &[(&str, BundleCopy, &[&str])] = &[
        (
            "a weight without the output",
            with_graph("no-features"),
            &[
                "score.feature_weight = 0.5, model with a bank of features: false",
                "output `feature_distance`",
            ],
        ),
        (
            "a weight for a model that never had the output",
            of_demo,
            &[
                "score.feature_weight = 0.2, model with a bank of features: false",
                "training maps that fit: true",
            ],
        ),
        (
            "maps of a model that had the output",
            unweighed,
            &[
                "score.feature_weight = 0, model with a bank of features: false, training maps that fit: false",
            ],
        ),
        (
            "weights above the whole",
            weights(0.6, 0.5),
            &[
                "head_weight = 0.6 and feature_weight = 0.5: more than the whole score; a sum of at most 1 is allowed",
            ],
        ),
        ("a weight below 0", weights(0.2, -0.5), &["score.feature_weight = -0.5: 0 (none) to 1"]),
        (
            "a weight that is no number",
            weights(0.2, f64::NAN),
            &["score.feature_weight = NaN: 0 (none) to 1"],
        ),
        (
            "a weight above 1",
            weights(0.0, 1.5),
            &["score.feature_weight = 1.5: 0 (none) to 1 (feature map alone) are allowed"],
        ),
        (
            "an output of another size",
            with_graph("half-size"),
            &["output feature_distance is", "1, 8, 12", "[-1, 1, 16, 24]"],
        ),
        (
            "an output of a size that only a call shows",
            with_graph("two-channels"),
            &["feature_distance has shape [2, 2, 16, 24]; [2, 1, 16, 24] is needed"],
        ),
        (
            "an input that nobody knows",
            with_graph("unknown-input"),
            &["model.onnx: input is `timestep`", "`x_k` and, unless the graph is made for one timestep, `k`"],
        ),
        (
            "no feature maps",
            without_maps("feature_"),
            &["model with a bank of features: true, training maps that fit: false", "calibrate again"],
        ),
        (
            "no feature maps of the empirical score",
            without_maps("empirical_feature_"),
            &["model with a bank of features: true, training maps that fit: false", "calibrate again"],
        ),
        (
            "a mean without its deviation",
            without_maps("feature_std"),
            &["maps.safetensors: no tensor `feature_std`", "calibrate again"],
        ),
        (
            "feature maps of another size",
            maps_of(|rows, columns| (columns, rows)),
            &["tensor `feature_mean` has shape [24, 16] where [16, 24] is needed"],
        ),
        (
            "feature maps of another model",
            maps_of(|rows, columns| (rows, columns)),
            &["golden vectors: the score differs by"],
        ),
    ];
    for (case, bundle, words) in cases {
        inspect(bundle.path(), &[grey(1, 78, 178)]).refused(case, words);
    }
}

#[test]
fn calibrate_makes_the_feature_maps() {
    let site = TempDir::new().unwrap();
    let (normal, done) = (site.path().join("normal"), site.path().join("done"));
    std::fs::create_dir(&normal).unwrap();
    for number in 0..40 {
        grey(number, 78, 178).save(normal.join(format!("part-{number:02}.png"))).unwrap();
    }
    // Of a bundle that was never calibrated, so that nothing of an earlier calibration can be left.
    let bundle = BundleCopy::of(&three_maps());
    bundle.edit(|table| drop(table.remove("calibration")));
    bundle.remove("maps.safetensors");
    run(certiscope("calibrate")
        .args(["--false-alarm-rate", "0.05", "--threads", "1", "--bundle"])
        .arg(bundle.path())
        .arg("--normal")
        .arg(&normal)
        .arg("--out")
        .arg(&done))
    .succeeded();
    let bytes = std::fs::read(done.join("maps.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    let mut wanted: Vec<String> = Vec::new();
    for score in ["", "empirical_"] {
        for kind in ["", "defect_", "feature_"] {
            wanted.extend(["mean", "std"].map(|part| format!("{score}{kind}{part}")));
        }
    }
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    let manifest = Bundle::load(&done).unwrap().manifest;
    assert_eq!((manifest.score.head_weight, manifest.score.feature_weight), (0.2, 0.5));
    assert!(worst_golden_difference(&done) < 1e-5);
    // Other parts of the same kind: most are normal, and each draw gives a score.
    let results = inspected(&done, &[grey(100, 78, 178), grey(101, 78, 178), grey(102, 78, 178)]);
    assert!(results.iter().filter(|result| result["verdict"] == "normal").count() >= 2, "{results:#?}");
}

/// Programs that do not know the key must still read the bundles that do not need it.
#[test]
fn a_feature_weight_of_0_is_not_written() {
    let text = std::fs::read_to_string(three_maps().join("bundle.toml")).unwrap();
    assert!(text.contains("feature_weight = 0.5"), "{text}");
    let bundle = Bundle::load(&demo_line()).unwrap();
    let again = toml::to_string(&bundle.manifest).unwrap();
    assert!(again.contains("head_weight") && !again.contains("feature_weight"), "{again}");
}
